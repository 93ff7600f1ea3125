"""Head models behind one type, ``RigModel``: the default head, FLAME and ICT-FaceKit."""
