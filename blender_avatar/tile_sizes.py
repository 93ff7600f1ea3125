"""Pictures that an artist may paint on but whose size must stay: whether it has. For panels, so nothing but bpy is loaded."""

import bpy

SIZE_MARK = "video_avatar_size_px"
"""Custom property of an image whose size must not change: [width, height]."""


def wrong_sizes():
    """What is wrong with edited pictures of this file, one line each, for the user."""
    lines = []
    for image in bpy.data.images:
        wanted = image.get(SIZE_MARK)
        if wanted is not None and image.users and list(wanted) != list(image.size):
            lines.append(f"{image.name} has {image.size[0]} × {image.size[1]} pixels instead of {wanted[0]} × {wanted[1]}")
    return lines
