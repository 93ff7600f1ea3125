"""Track a range again: starts the job; in background mode waits for it and takes the result in."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import dataclasses
import os
import uuid

import bpy
from bpy.props import IntProperty, StringProperty
from bpy.types import Operator

from .. import session
from ..backend_link import backend_module
from ..client.job import Failure, State
from ..client.request import track_again_settings

ONCE = {"SKIP_SAVE"}


class VIDEO_AVATAR_OT_track_again(Operator):
    """Follow the face again in these frames, with the pins set there. Changes only their keys; runs beside Blender"""

    bl_idname = "video_avatar.track_again"
    bl_label = "Track again"

    frame_start: IntProperty(name="From", description="First scene frame", options=ONCE)
    frame_end: IntProperty(name="To", description="Last scene frame, included", options=ONCE)
    video: StringProperty(name="Clip", description="Where the clip lies now; empty = where it was", subtype="FILE_PATH", options=ONCE)
    folder: StringProperty(name="Avatar folder", description="Where NAME.avatar lies now; empty = where it was", subtype="DIR_PATH", options=ONCE)

    @classmethod
    def poll(cls, context):
        if context.window_manager.video_avatar.job_state in ("starting", "running", "cancelling"):
            cls.poll_message_set("Another job is running")
            return False
        return True

    def invoke(self, context, event):
        """From the sidebar: what was not given comes from the scene's choices."""
        settings = context.scene.video_avatar
        for name, stored in (("frame_start", "range_start"), ("frame_end", "range_end"), ("video", "moved_video"), ("folder", "avatar_folder")):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(settings, stored))
        return self.execute(context)

    def execute(self, context):
        from ..scene import chosen_root, root_of

        try:
            root = chosen_root(context.scene, root_of(context.object))
            settings = self._settings(root)
        except ValueError as problem:  # no avatar, or several and none selected
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        except backend_module("errors").AvatarError as error:
            return _refuse(self, Failure(error.code, error.message, error.hint, error.detail))
        options = {"avatar": root.name, "folder": settings["folder"]}
        failure = session.current().start("track_again", settings, ("apply_track", options))
        if failure:
            return _refuse(self, failure)
        if not bpy.app.background:
            return {"FINISHED"}
        job = session.current().wait()
        if job.state is State.DONE:
            return bpy.ops.video_avatar.apply_track("EXEC_DEFAULT", True, patch=job.result["patch"], **options)
        if job.state is State.FAILED:
            self.report({"ERROR"}, f"{job.failure.message} {job.failure.hint}".strip())
        return {"CANCELLED"}

    def _settings(self, root):
        from ..scene import no_tracked_frame, package_folder_of, pins_of, read_record, recorded_actions

        performance = read_record(recorded_actions(root)[0].action)
        samples = performance.samples_between(self.frame_start, self.frame_end)
        if not len(samples):
            raise no_tracked_frame(performance, self.frame_start, self.frame_end)
        first, last = (int(performance.time_index[samples[place]]) for place in (0, -1))
        video = os.path.abspath(bpy.path.abspath(self.video)) if self.video else ""
        out = os.path.join(bpy.app.tempdir, f"video_avatar_track_{uuid.uuid4().hex}.npz")
        pins = [dataclasses.asdict(pin) for pin in pins_of(root)]
        known = session.current().package_folders.get(root["source_sha256"], "")
        return track_again_settings(str(package_folder_of(root, self.folder, known)), video, first, last, pins, out)


class VIDEO_AVATAR_OT_apply_track(Operator):
    """Take newly tracked frames into the animation"""

    bl_idname = "video_avatar.apply_track"
    bl_label = "Track again"  # the name of the undo step
    bl_options = {"UNDO", "INTERNAL"}

    patch: StringProperty(subtype="FILE_PATH", options=ONCE)
    avatar: StringProperty(options=ONCE)
    folder: StringProperty(subtype="DIR_PATH", options=ONCE)

    def execute(self, context):
        from pathlib import Path

        from ..scene import apply_patch, read_patch

        root = context.scene.objects.get(self.avatar)
        if root is None:
            return _refuse(self, Failure("bad_input", f"{self.avatar} is not in the scene any more.", "Undo its removal, then track again."))
        if context.mode not in ("OBJECT", "POSE") and bpy.ops.object.mode_set.poll():
            bpy.ops.object.mode_set(mode="OBJECT")  # undo in the other modes knows nothing of animation
        try:
            patch = read_patch(Path(self.patch))
            package = backend_module("package.read").read_package(Path(self.folder))
            applied = apply_patch(root, patch, package)
        except backend_module("errors").AvatarError as error:
            return _refuse(self, Failure(error.code, error.message, error.hint, error.detail))
        if os.path.dirname(os.path.abspath(self.patch)) == os.path.abspath(bpy.app.tempdir):
            os.remove(self.patch)
        session.show_note(applied.text)
        self.report({"INFO"}, applied.text)
        return {"FINISHED"}


def _refuse(operator, failure):
    session.show_failure(failure)
    operator.report({"ERROR"}, f"{failure.message} {failure.hint}".strip())
    return {"CANCELLED"}
