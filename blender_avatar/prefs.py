"""Add-on preferences: where the backend is."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import bpy
from bpy.props import StringProperty
from bpy.types import AddonPreferences

from .session import look_for_backend


def _look_again(self, context):
    look_for_backend()


class VIDEO_AVATAR_preferences(AddonPreferences):
    bl_idname = __package__

    backend_python: StringProperty(
        name="Python",
        description="Python of the backend's environment: the program, or the folder of a virtual environment",
        subtype="FILE_PATH",
        update=_look_again,
    )
    backend_folder: StringProperty(
        name="Backend folder",
        description="Only for the light build: a folder with the backend, such as a checkout of the project",
        subtype="DIR_PATH",
        update=_look_again,
    )

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "backend_python")
        layout.prop(self, "backend_folder")
        layout.label(text=context.window_manager.video_avatar.backend_text)


def register():
    bpy.utils.register_class(VIDEO_AVATAR_preferences)


def unregister():
    bpy.utils.unregister_class(VIDEO_AVATAR_preferences)
