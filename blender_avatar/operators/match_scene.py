"""Match scene to clip: frame rate, range, resolution, camera."""

from bpy.types import Operator


class VIDEO_AVATAR_OT_match_scene(Operator):
    """Set frame rate, frame range, resolution and camera of the scene as in the avatar's clip"""

    bl_idname = "video_avatar.match_scene"
    bl_label = "Match scene to clip"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..scene import match_scene_to_clip, root_of

        try:
            changes = match_scene_to_clip(context.scene, root_of(context.object))
        except ValueError as error:  # no avatar, or several and none selected
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, "; ".join(changes) or "The scene fits the clip already")
        return {"FINISHED"}
