"""What an artist does with an imported avatar: bake it, free it, bring it to other programs. Imports bpy, numpy and ``scene``; no operators, no client."""

from .bake_images import BakedImages, baked_pictures, use_baked_images, use_live_texture, write_texture_frames
from .bake_keys import BakedKeys, bake_keyframes, free_shape_keys, unbake_keyframes
from .export import Exported, export_avatar

__all__ = [
    "BakedImages", "BakedKeys", "Exported", "bake_keyframes", "baked_pictures", "export_avatar", "free_shape_keys", "unbake_keyframes", "use_baked_images", "use_live_texture",
    "write_texture_frames",
]  # fmt: skip
