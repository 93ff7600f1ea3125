"""The sidebar tab. Panels draw what ``props`` holds and call nothing slow."""

import bpy

from .backend import VIDEO_AVATAR_PT_backend
from .deliver import VIDEO_AVATAR_PT_bake, VIDEO_AVATAR_PT_deliver, VIDEO_AVATAR_PT_texture
from .new_avatar import VIDEO_AVATAR_PT_advanced, VIDEO_AVATAR_PT_new, VIDEO_AVATAR_PT_remarks
from .track import VIDEO_AVATAR_PT_pins, VIDEO_AVATAR_PT_smooth, VIDEO_AVATAR_PT_track

CLASSES = (
    VIDEO_AVATAR_PT_new, VIDEO_AVATAR_PT_remarks, VIDEO_AVATAR_PT_advanced, VIDEO_AVATAR_PT_track, VIDEO_AVATAR_PT_pins, VIDEO_AVATAR_PT_smooth,
    VIDEO_AVATAR_PT_deliver, VIDEO_AVATAR_PT_texture, VIDEO_AVATAR_PT_bake, VIDEO_AVATAR_PT_backend,
)  # fmt: skip


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister():
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
