"""Stop the running job."""

from bpy.types import Operator

from .. import session


class VIDEO_AVATAR_OT_cancel(Operator):
    """Stop. Finished steps are kept and used when you start again"""

    bl_idname = "video_avatar.cancel"
    bl_label = "Cancel"

    @classmethod
    def poll(cls, context):
        return context.window_manager.video_avatar.job_state in ("starting", "running")

    def execute(self, context):
        session.current().backend.cancel()
        session.current().show()
        return {"FINISHED"}
