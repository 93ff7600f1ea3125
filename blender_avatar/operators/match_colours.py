"""Match clip colours: the view transform that leaves the clip's colours as they are."""

from bpy.types import Operator


class VIDEO_AVATAR_OT_match_colours(Operator):
    """Show colours as in the clip: view transform Standard, no look, exposure 0"""

    bl_idname = "video_avatar.match_colours"
    bl_label = "Match clip colours"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..scene import match_clip_colours

        changes = match_clip_colours(context.scene)
        self.report({"INFO"}, "; ".join(changes) or "The colours fit the clip already")
        return {"FINISHED"}
