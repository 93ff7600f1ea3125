"""Go to a range of frames, and take it as the range to track again or smooth."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

from bpy.props import IntProperty
from bpy.types import Operator


class VIDEO_AVATAR_OT_choose_range(Operator):
    """Go there, and take these frames as the range to track again"""

    bl_idname = "video_avatar.choose_range"
    bl_label = "Choose range"
    bl_options = {"UNDO", "INTERNAL"}

    frame_start: IntProperty(name="From", options={"SKIP_SAVE"})
    frame_end: IntProperty(name="To", options={"SKIP_SAVE"})

    def execute(self, context):
        settings = context.scene.video_avatar
        settings.range_start, settings.range_end = sorted((self.frame_start, self.frame_end))
        context.scene.frame_set((settings.range_start + settings.range_end) // 2)
        return {"FINISHED"}
