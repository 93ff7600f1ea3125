"""One file per thing the user can do. Thin: they ask ``session``, ``client`` or ``scene`` and report."""

import bpy

from .cancel import VIDEO_AVATAR_OT_cancel
from .check_backend import VIDEO_AVATAR_OT_check_backend
from .dismiss import VIDEO_AVATAR_OT_dismiss
from .import_avatar import VIDEO_AVATAR_OT_import_avatar, draw_import_menu
from .match_colours import VIDEO_AVATAR_OT_match_colours
from .match_scene import VIDEO_AVATAR_OT_match_scene
from .reconstruct import VIDEO_AVATAR_OT_reconstruct

CLASSES = (
    VIDEO_AVATAR_OT_reconstruct,
    VIDEO_AVATAR_OT_cancel,
    VIDEO_AVATAR_OT_dismiss,
    VIDEO_AVATAR_OT_import_avatar,
    VIDEO_AVATAR_OT_match_scene,
    VIDEO_AVATAR_OT_match_colours,
    VIDEO_AVATAR_OT_check_backend,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_file_import.append(draw_import_menu)


def unregister():
    bpy.types.TOPBAR_MT_file_import.remove(draw_import_menu)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
