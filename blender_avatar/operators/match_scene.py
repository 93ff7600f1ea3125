"""Match scene to clip: frame rate, range, resolution, camera."""

from bpy.types import Operator

from ..backend_link import backend_module


class VIDEO_AVATAR_OT_match_scene(Operator):
    """Set frame rate, frame range, resolution and camera of the scene as in the avatar's clip"""

    bl_idname = "video_avatar.match_scene"
    bl_label = "Match scene to clip"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..scene import match_scene_to_clip

        try:
            match_scene_to_clip(context.scene)
        except backend_module("errors").AvatarError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}
