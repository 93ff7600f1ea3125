"""Bake to keyframes, take that back, or free the shape keys for good."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import bpy
from bpy.props import BoolProperty, IntProperty
from bpy.types import Operator

from ..reporting import attempt, chosen_avatar, scene_range

ONCE = {"SKIP_SAVE"}


class VIDEO_AVATAR_OT_bake_keyframes(Operator):
    """Write expressions and texture weights of the scene's range as keyframes, so that they play without drivers. Can be taken back"""

    bl_idname = "video_avatar.bake_keyframes"
    bl_label = "Bake to keyframes"
    bl_options = {"REGISTER", "UNDO"}

    frame_start: IntProperty(name="From", description="First frame; the scene's when not given", options=ONCE)
    frame_end: IntProperty(name="To", description="Last frame, included; the scene's when not given", options=ONCE)
    clear: BoolProperty(name="Take back", description="Remove what was baked and let the drivers work again", default=False, options=ONCE)

    def execute(self, context):
        from ..runtime import bake_keyframes, unbake_keyframes

        root = chosen_avatar(self, context)
        if root is None:
            return {"CANCELLED"}
        if self.clear:
            num_keys = unbake_keyframes(root)
            self.report({"INFO"}, f"{num_keys} shape keys follow the controls again" if num_keys else "Nothing was baked")
            return {"FINISHED"}
        baked = attempt(self, bake_keyframes, root, context.scene, *scene_range(self, context.scene))
        if baked is None:
            return {"CANCELLED"}
        self.report({"INFO"}, f"Baked {baked.num_keys} shape keys, frames {baked.frame_start} to {baked.frame_end}")
        return {"FINISHED"}


class VIDEO_AVATAR_OT_free_shape_keys(Operator):
    """Bake the shape keys and remove their drivers for good: the mesh's own sliders work, the controls on the bone face do nothing any more"""

    bl_idname = "video_avatar.free_shape_keys"
    bl_label = "Free shape keys"
    bl_options = {"REGISTER", "UNDO"}

    frame_start: IntProperty(name="From", description="First frame; the scene's when not given", options=ONCE)
    frame_end: IntProperty(name="To", description="Last frame, included; the scene's when not given", options=ONCE)

    def invoke(self, context, event):
        return context.window_manager.invoke_confirm(self, event) if not bpy.app.background else self.execute(context)

    def execute(self, context):
        from ..runtime import free_shape_keys

        root = chosen_avatar(self, context)
        baked = attempt(self, free_shape_keys, root, context.scene, *scene_range(self, context.scene)) if root else None
        if baked is None:
            return {"CANCELLED"}
        self.report({"INFO"}, f"{baked.num_keys} shape keys are free, with keyframes from {baked.frame_start} to {baked.frame_end}")
        return {"FINISHED"}
