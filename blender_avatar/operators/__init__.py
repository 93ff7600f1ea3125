"""One file per thing the user can do. Thin: they ask ``session``, ``client`` or ``scene`` and report."""

import bpy

from .add_pin import VIDEO_AVATAR_OT_add_pin
from .bake_images import VIDEO_AVATAR_OT_apply_baked_images, VIDEO_AVATAR_OT_bake_images, VIDEO_AVATAR_OT_live_texture
from .bake_keys import VIDEO_AVATAR_OT_bake_keyframes, VIDEO_AVATAR_OT_free_shape_keys
from .cancel import VIDEO_AVATAR_OT_cancel
from .check_backend import VIDEO_AVATAR_OT_check_backend
from .choose_range import VIDEO_AVATAR_OT_choose_range
from .dismiss import VIDEO_AVATAR_OT_dismiss
from .export_avatar import VIDEO_AVATAR_OT_export_avatar
from .import_avatar import VIDEO_AVATAR_OT_import_avatar, draw_import_menu
from .light_world import VIDEO_AVATAR_OT_light_world
from .match_colours import VIDEO_AVATAR_OT_match_colours
from .match_scene import VIDEO_AVATAR_OT_match_scene
from .reconstruct import VIDEO_AVATAR_OT_reconstruct
from .remove_pin import VIDEO_AVATAR_OT_remove_pin
from .smooth_animation import VIDEO_AVATAR_OT_smooth_animation
from .track_again import VIDEO_AVATAR_OT_apply_track, VIDEO_AVATAR_OT_track_again

CLASSES = (
    VIDEO_AVATAR_OT_reconstruct,
    VIDEO_AVATAR_OT_cancel,
    VIDEO_AVATAR_OT_dismiss,
    VIDEO_AVATAR_OT_import_avatar,
    VIDEO_AVATAR_OT_match_scene,
    VIDEO_AVATAR_OT_match_colours,
    VIDEO_AVATAR_OT_light_world,
    VIDEO_AVATAR_OT_bake_keyframes,
    VIDEO_AVATAR_OT_free_shape_keys,
    VIDEO_AVATAR_OT_bake_images,
    VIDEO_AVATAR_OT_apply_baked_images,
    VIDEO_AVATAR_OT_live_texture,
    VIDEO_AVATAR_OT_export_avatar,
    VIDEO_AVATAR_OT_check_backend,
    VIDEO_AVATAR_OT_choose_range,
    VIDEO_AVATAR_OT_track_again,
    VIDEO_AVATAR_OT_apply_track,
    VIDEO_AVATAR_OT_smooth_animation,
    VIDEO_AVATAR_OT_add_pin,
    VIDEO_AVATAR_OT_remove_pin,
)


def register():
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    bpy.types.TOPBAR_MT_file_import.append(draw_import_menu)


def unregister():
    bpy.types.TOPBAR_MT_file_import.remove(draw_import_menu)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
