"""Put an error message away."""

from bpy.types import Operator

from .. import session


class VIDEO_AVATAR_OT_dismiss(Operator):
    """Hide this message"""

    bl_idname = "video_avatar.dismiss"
    bl_label = "Dismiss"

    def execute(self, context):
        session.clear_messages()
        return {"FINISHED"}
