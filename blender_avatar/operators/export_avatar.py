"""Export: rig, head, motion and static texture for other programs."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

import os

import bpy
from bpy.props import IntProperty, StringProperty
from bpy.types import Operator

from ..reporting import attempt, chosen_avatar, scene_range

ONCE = {"SKIP_SAVE"}


class VIDEO_AVATAR_OT_export_avatar(Operator):
    """Write the avatar as glTF (.glb, .gltf) or FBX: skin, named morph targets, the motion in use, the static texture"""

    bl_idname = "video_avatar.export_avatar"
    bl_label = "Export avatar"
    bl_options = {"REGISTER"}

    filepath: StringProperty(name="File", description="Ends in .glb, .gltf or .fbx", subtype="FILE_PATH", options=ONCE)
    frame_start: IntProperty(name="From", description="First frame; the scene's when not given", options=ONCE)
    frame_end: IntProperty(name="To", description="Last frame, included; the scene's when not given", options=ONCE)
    filter_glob: StringProperty(default="*.glb;*.gltf;*.fbx", options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context, event):
        root = chosen_avatar(self, context)
        if root is None:
            return {"CANCELLED"}
        if not self.filepath:
            beside = os.path.dirname(bpy.data.filepath) if bpy.data.filepath else os.path.expanduser("~")
            self.filepath = os.path.join(beside, f"{root.name}.glb")
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context):
        from ..runtime import export_avatar

        root = chosen_avatar(self, context)
        path = os.path.abspath(bpy.path.abspath(self.filepath)) if self.filepath else ""
        made = attempt(self, export_avatar, root, context.scene, path, *scene_range(self, context.scene)) if root else None
        if made is None:
            return {"CANCELLED"}
        self.report({"INFO"}, f"Wrote {os.path.basename(made.path)}: {len(made.morph_targets)} morph targets, frames {made.frame_start} to {made.frame_end}")
        return {"FINISHED"}
