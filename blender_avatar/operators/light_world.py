"""Use clip light as World: lights the scene as the clip was lit. Never done by an import."""

import bpy
from bpy.types import Operator

from .. import session
from ..backend_link import backend_module
from ..client.job import Failure


class VIDEO_AVATAR_OT_light_world(Operator):
    """Light the scene with the light that was found in the clip. The World in use before is kept in the file"""

    bl_idname = "video_avatar.light_world"
    bl_label = "Use clip light as World"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..scene import chosen_root, root_of, use_clip_light

        if context.mode not in ("OBJECT", "POSE") and bpy.ops.object.mode_set.poll():
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            made = use_clip_light(context.scene, chosen_root(context.scene, root_of(context.object)))
        except ValueError as problem:  # no avatar, or several and none selected
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        except backend_module("errors").AvatarError as error:
            session.show_failure(Failure(error.code, error.message, error.hint, error.detail))
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        session.clear_messages()
        kept = f" instead of {made.before}, which is kept" if made.before else ""
        added = f"; {100 * made.energy_change:.1f} % more light than in the clip, where it could not be dark enough" if made.energy_change > 0.001 else ""
        self.report({"INFO"}, f"World {made.world}{kept}{added}")
        return {"FINISHED"}
