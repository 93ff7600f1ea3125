"""Bake images: the exact network paints whole textures in the backend; then the materials show them. And the way back."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import os
import uuid
from pathlib import Path

import bpy
from bpy.props import BoolProperty, EnumProperty, IntProperty, StringProperty
from bpy.types import Operator

from .. import session
from ..backend_link import backend_module
from ..client.job import Failure, State
from ..client.request import bake_textures_settings
from ..props import BAKE_FORMAT_ITEMS
from ..reporting import attempt, chosen_avatar, refuse, scene_range

ONCE = {"SKIP_SAVE"}


class VIDEO_AVATAR_OT_bake_images(Operator):
    """Paint one whole texture per frame with the exact network and show these pictures. Runs beside Blender"""

    bl_idname = "video_avatar.bake_images"
    bl_label = "Bake images"

    frame_start: IntProperty(name="From", description="First frame; the scene's when not given", options=ONCE)
    frame_end: IntProperty(name="To", description="Last frame, included; the scene's when not given", options=ONCE)
    use_view: BoolProperty(name="Follow view", description="The texture also follows how the head is turned to the clip's camera, for renders through it", default=False, options=ONCE)
    file_format: EnumProperty(name="Format", items=BAKE_FORMAT_ITEMS, default="PNG", options=ONCE)
    out: StringProperty(name="Folder", description="Folder to make; empty = NAME.textures beside the avatar", subtype="DIR_PATH", options=ONCE)
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
        for name, stored in (("use_view", "bake_use_view"), ("file_format", "bake_format"), ("folder", "avatar_folder")):
            if not self.properties.is_property_set(name):
                setattr(self, name, getattr(settings, stored))
        return self.execute(context)

    def execute(self, context):
        root = chosen_avatar(self, context)
        if root is None:
            return {"CANCELLED"}
        try:
            settings = self._settings(context, root)
        except backend_module("errors").AvatarError as error:
            return refuse(self, Failure(error.code, error.message, error.hint, error.detail))
        failure = session.current().start("bake_textures", settings, ("apply_baked_images", {"avatar": root.name}))
        if failure:
            return refuse(self, failure)
        if not bpy.app.background:
            return {"FINISHED"}
        job = session.current().wait()
        _forget(settings["frames"])
        if job.state is State.DONE:
            return bpy.ops.video_avatar.apply_baked_images("EXEC_DEFAULT", True, folder=job.result["folder"], avatar=root.name)
        if job.state is State.FAILED:
            self.report({"ERROR"}, f"{job.failure.message} {job.failure.hint}".strip())
        return {"CANCELLED"}

    def _settings(self, context, root):
        from ..runtime import write_texture_frames
        from ..scene import package_folder_of

        package = package_folder_of(root, self.folder, session.current().package_folders.get(root["source_sha256"], ""))
        out = os.path.abspath(bpy.path.abspath(self.out)) if self.out else str(package.with_suffix(".textures"))
        frames = Path(bpy.app.tempdir) / f"video_avatar_frames_{uuid.uuid4().hex}.npz"
        write_texture_frames(frames, root, context.scene, *scene_range(self, context.scene), use_view=self.use_view)
        return bake_textures_settings(str(package), str(frames), out, self.file_format)


class VIDEO_AVATAR_OT_apply_baked_images(Operator):
    """Show a folder of baked textures on the avatar"""

    bl_idname = "video_avatar.apply_baked_images"
    bl_label = "Baked images from folder"
    bl_options = {"REGISTER", "UNDO"}

    folder: StringProperty(name="Folder", description="A folder that Bake images has made", subtype="DIR_PATH", options=ONCE)
    avatar: StringProperty(name="Avatar", description="Name of its root; empty = the one that is meant", options=ONCE)
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    directory: StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        if self.folder:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        from ..runtime import use_baked_images

        root = context.scene.objects.get(self.avatar) if self.avatar else chosen_avatar(self, context)
        if root is None:
            if self.avatar:
                return refuse(self, Failure("bad_input", f"{self.avatar} is not in the scene any more.", "Undo its removal, then choose the folder of the images."))
            return {"CANCELLED"}
        made = attempt(self, use_baked_images, root, Path(os.path.abspath(bpy.path.abspath(self.folder or self.directory))))
        if made is None:
            return {"CANCELLED"}
        self.report({"INFO"}, f"{root.name} shows baked images, frames {made.first} to {made.last}")
        return {"FINISHED"}


class VIDEO_AVATAR_OT_live_texture(Operator):
    """Let the texture follow the controls again instead of showing baked images"""

    bl_idname = "video_avatar.live_texture"
    bl_label = "Live texture"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..runtime import use_live_texture

        root = chosen_avatar(self, context)
        if root is None:
            return {"CANCELLED"}
        self.report({"INFO"}, "The texture follows the controls again" if use_live_texture(root) else "The texture follows the controls already")
        return {"FINISHED"}


def _forget(path):
    """Removes the file of frames, which only this job needed."""
    if os.path.dirname(os.path.abspath(path)) == os.path.abspath(bpy.app.tempdir) and os.path.exists(path):
        os.remove(path)
