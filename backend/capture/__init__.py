"""A video becomes a ``Capture``: decoded frames, landmarks, masks, camera prior, split."""
