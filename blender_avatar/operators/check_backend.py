"""Start the backend and ask what this machine offers."""

import bpy
from bpy.types import Operator

from .. import session
from ..client.job import State


class VIDEO_AVATAR_OT_check_backend(Operator):
    """Start the backend and see what it can use here"""

    bl_idname = "video_avatar.check_backend"
    bl_label = "Check backend"

    @classmethod
    def poll(cls, context):
        return context.window_manager.video_avatar.job_state not in ("starting", "running", "cancelling")

    def execute(self, context):
        failure = session.current().start("probe", {})
        if failure:
            self.report({"ERROR"}, f"{failure.message} {failure.hint}".strip())
            return {"CANCELLED"}
        if not bpy.app.background:
            return {"FINISHED"}
        job = session.current().wait()
        if job.state is State.FAILED:
            self.report({"ERROR"}, f"{job.failure.message} {job.failure.hint}".strip())
        return {"FINISHED"} if job.state is State.DONE else {"CANCELLED"}
