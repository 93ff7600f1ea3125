"""Smooth the tracked motion, or bring the raw motion back."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import bpy
from bpy.props import EnumProperty, FloatProperty, IntProperty
from bpy.types import Operator

from ..backend_link import backend_module
from ..props import ALL_CHANNELS, CHANNEL_ITEMS

EVERYTHING = 1_048_574  # Blender's last frame


class VIDEO_AVATAR_OT_smooth_animation(Operator):
    """Smooth the tracked keys of the range, without delay, always from the raw track; strength 0 brings the raw keys back"""

    bl_idname = "video_avatar.smooth_animation"
    bl_label = "Smooth"
    bl_options = {"REGISTER", "UNDO"}

    strength_frames: FloatProperty(
        name="Strength", description="Standard deviation in frames; 0 = the raw track", default=1.0, min=0.0, max=50.0, soft_max=8.0, options={"SKIP_SAVE"}
    )
    channels: EnumProperty(name="Channels", items=CHANNEL_ITEMS, options={"ENUM_FLAG", "SKIP_SAVE"}, default=ALL_CHANNELS)
    frame_start: IntProperty(name="From", description="First scene frame", default=-EVERYTHING, options={"SKIP_SAVE"})
    frame_end: IntProperty(name="To", description="Last scene frame, included", default=EVERYTHING, options={"SKIP_SAVE"})

    def invoke(self, context, event):
        """From the sidebar: what was not given comes from the scene's choices."""
        settings = context.scene.video_avatar
        stored = {"strength_frames": "smooth_frames", "channels": "smooth_channels", "frame_start": "range_start", "frame_end": "range_end"}
        for name, setting in stored.items():
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(settings, setting))
        return self.execute(context)

    def execute(self, context):
        from ..scene import chosen_root, root_of, smooth_animation

        if not self.channels:
            self.report({"ERROR"}, "Choose at least one kind of channels to smooth.")
            return {"CANCELLED"}
        if context.mode not in ("OBJECT", "POSE") and bpy.ops.object.mode_set.poll():
            bpy.ops.object.mode_set(mode="OBJECT")  # undo in the other modes knows nothing of animation
        try:
            root = chosen_root(context.scene, root_of(context.object))
            changed = smooth_animation(root, self.strength_frames, frozenset(self.channels), self.frame_start, self.frame_end)
        except ValueError as problem:  # no avatar, or several and none selected
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        except backend_module("errors").AvatarError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        what = f"Smoothed over {self.strength_frames:g} frames" if self.strength_frames else "Raw keys are back"
        left = f"; {len(changed.locked)} locked channels left alone" if changed.locked else ""
        self.report({"INFO"}, f"{what} ({changed.num_keys} keys on {changed.num_curves} channels){left}")
        return {"FINISHED"}
