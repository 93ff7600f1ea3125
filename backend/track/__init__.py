"""A ``Capture`` becomes a ``Track``: who it is, and how the head moves in every frame."""
