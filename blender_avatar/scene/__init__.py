"""An avatar package becomes datablocks. Imports bpy, numpy and the backend's package reader; knows no operators, panels or client."""

from .importer import import_avatar
from .matching import is_empty, match_clip_colours, match_scene_to_clip
from .names import ImportedAvatar, avatar_roots, camera_of, rig_of, root_of

__all__ = ["ImportedAvatar", "avatar_roots", "camera_of", "import_avatar", "is_empty", "match_clip_colours", "match_scene_to_clip", "rig_of", "root_of"]
