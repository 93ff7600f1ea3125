"""Reconstruct from video: starts the job; in background mode waits for it."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import os

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy.types import Operator

from .. import session
from ..client.job import State
from ..client.request import Choices, missing_choice, reconstruct_settings
from ..props import DEVICE_ITEMS, HEAD_MODEL_ITEMS, MOTION_ITEMS, QUALITY_ITEMS

ONCE = {"SKIP_SAVE"}  # no value, least of all the consent, is remembered for the next call


class VIDEO_AVATAR_OT_reconstruct(Operator):
    """Make an animated head from the video. Runs beside Blender: you can go on working"""

    bl_idname = "video_avatar.reconstruct"
    bl_label = "Reconstruct from video"

    video: StringProperty(name="Video", description="Path of the clip", subtype="FILE_PATH", options=ONCE)
    quality: EnumProperty(name="Quality", items=QUALITY_ITEMS, default="STANDARD", options=ONCE)
    consent: BoolProperty(name="Consent", description="The person in the clip is you, or agreed", default=False, options=ONCE)
    out: StringProperty(name="Output", description="NAME.avatar, or the folder to put it in; empty = beside the clip", subtype="DIR_PATH", options=ONCE)
    head_model: EnumProperty(name="Head", items=HEAD_MODEL_ITEMS, default="ANNY", options=ONCE)
    head_model_path: StringProperty(name="File", description="FLAME file or ICT FaceKit folder", subtype="FILE_PATH", options=ONCE)
    device: EnumProperty(name="Compute on", items=DEVICE_ITEMS, default="AUTO", options=ONCE)
    overwrite: BoolProperty(name="Replace", description="Replace an avatar of that name", default=False, options=ONCE)
    motion: EnumProperty(name="Motion", items=MOTION_ITEMS, default="HEAD", options=ONCE)
    use_import: BoolProperty(name="Import", description="Put the result into the scene", default=True, options=ONCE)

    @classmethod
    def poll(cls, context):
        if context.window_manager.video_avatar.job_state in ("starting", "running", "cancelling"):
            cls.poll_message_set("An avatar is being made already")
            return False
        return True

    def invoke(self, context, event):
        """From the sidebar: what was not given comes from the scene's choices."""
        settings = context.scene.video_avatar
        names = {"consent": "has_consent"}
        for name in ("video", "quality", "consent", "out", "head_model", "head_model_path", "device", "overwrite", "motion"):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(settings, names.get(name, name)))
        return self.execute(context)

    def execute(self, context):
        choices = choices_of(self)
        problem = missing_choice(choices)
        if problem:
            self.report({"ERROR"}, problem)
            return {"CANCELLED"}
        follow_up = ("import_avatar", {"head_moves": self.motion == "HEAD"}) if self.use_import else None
        failure = session.current().start("reconstruct", reconstruct_settings(choices), follow_up)
        if failure:
            self.report({"ERROR"}, f"{failure.message} {failure.hint}".strip())
            return {"CANCELLED"}
        return self._wait() if bpy.app.background else {"FINISHED"}

    def _wait(self):
        job = session.current().wait()
        if job.state is State.DONE:
            if self.use_import:
                return bpy.ops.video_avatar.import_avatar(directory=job.result["folder"], head_moves=self.motion == "HEAD")
            self.report({"INFO"}, f"The avatar is {job.result['folder']}")
            return {"FINISHED"}
        if job.state is State.FAILED:
            self.report({"ERROR"}, f"{job.failure.message} {job.failure.hint}".strip())
        return {"CANCELLED"}


def choices_of(properties):
    """An operator's properties as ``Choices``, with absolute paths."""
    return Choices(
        video=_absolute(properties.video),
        quality=properties.quality,
        has_consent=properties.consent,
        out=_absolute(properties.out),
        head_model=properties.head_model,
        head_model_path=_absolute(properties.head_model_path),
        device=properties.device,
        overwrite=properties.overwrite,
    )


def _absolute(path):
    """Blender's ``//`` paths and relative ones; a folder without its last slash; empty stays empty."""
    return os.path.abspath(bpy.path.abspath(path)) if path else ""
