"""An avatar package becomes datablocks. Imports bpy, numpy and the backend's package reader; knows no operators, panels or client."""

from .importer import import_avatar
from .matching import chosen_root, is_empty, match_clip_colours, match_scene_to_clip
from .names import ImportedAvatar, avatar_roots, camera_of, rig_of, root_of
from .package_place import package_folder_of
from .patch_file import read_patch
from .performance import GROUPS, Performance, read_record, recorded_actions
from .pin_places import ClipView, HeadPoints, clip_view, head_of, pins_of, set_pins
from .retrack import Applied, apply_patch
from .smoothing import Changed, no_tracked_frame, smooth_animation
from .world_light import LightWorld, light_of, use_clip_light

__all__ = [
    "GROUPS", "Applied", "Changed", "ClipView", "HeadPoints", "ImportedAvatar", "LightWorld", "Performance", "apply_patch", "avatar_roots", "camera_of", "chosen_root",
    "clip_view", "head_of", "import_avatar", "is_empty", "light_of", "match_clip_colours", "match_scene_to_clip", "no_tracked_frame", "package_folder_of", "pins_of",
    "read_patch", "read_record", "recorded_actions", "rig_of", "root_of", "set_pins", "smooth_animation", "use_clip_light",
]  # fmt: skip
