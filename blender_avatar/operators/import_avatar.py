"""Import an avatar package into the scene."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import os

import bpy
from bpy.props import BoolProperty, EnumProperty, StringProperty
from bpy.types import Operator

from .. import session
from ..backend_link import backend_module
from ..client.job import Failure

MATCH_ITEMS = (
    ("AUTO", "In an empty scene", "Set frame rate, range, resolution, camera and view transform when the scene is empty"),
    ("ALWAYS", "Always", "Set them even when the scene holds something"),
    ("NEVER", "Never", "Leave the scene's settings alone"),
)


class VIDEO_AVATAR_OT_import_avatar(Operator):
    """Put an avatar folder into the scene as ordinary objects, materials and keyframes"""

    bl_idname = "video_avatar.import_avatar"
    bl_label = "Import avatar"
    bl_options = {"REGISTER", "UNDO"}

    directory: StringProperty(name="Avatar", description="The folder NAME.avatar", subtype="DIR_PATH", options={"SKIP_SAVE"})
    filepath: StringProperty(name="File", description="Or any file in it, such as avatar.json", subtype="FILE_PATH", options={"SKIP_SAVE"})
    head_moves: BoolProperty(name="Head moves", description="On: the head moves, the camera stands. Off: the camera moves around the head", default=True)
    match: EnumProperty(name="Match scene", description="Set the scene up like the clip", items=MATCH_ITEMS, default="AUTO")
    filter_folder: BoolProperty(default=True, options={"HIDDEN", "SKIP_SAVE"})
    filter_glob: StringProperty(default="avatar.json", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        if self.directory or self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        from ..scene import import_avatar  # loads numpy: only when something is imported

        folder = package_folder(self.directory, self.filepath)
        if context.mode != "OBJECT" and bpy.ops.object.mode_set.poll():
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            avatar = import_avatar(context, folder, head_moves=self.head_moves, match={"AUTO": None, "ALWAYS": True, "NEVER": False}[self.match])
        except backend_module("errors").AvatarError as error:
            session.show_failure(Failure(error.code, error.message, error.hint, error.detail))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        session.clear_messages()
        session.current().package_folders[context.scene.objects[avatar.root]["source_sha256"]] = folder
        for warning in avatar.warnings:
            self.report({"WARNING"}, warning)
        self.report({"INFO"}, f"Imported {avatar.name}")
        return {"FINISHED"}


def package_folder(directory, filepath):
    """The avatar folder meant by what the file browser or a script gave."""
    path = os.path.abspath(bpy.path.abspath(directory or filepath))
    return os.path.dirname(path) if os.path.isfile(path) else path


def draw_import_menu(self, context):
    self.layout.operator(VIDEO_AVATAR_OT_import_avatar.bl_idname, text="Video Avatar (.avatar)")
