"""Use clip light as World: lights the scene as the clip was lit. Never done by an import."""

from bpy.types import Operator

from ..reporting import attempt, chosen_avatar


class VIDEO_AVATAR_OT_light_world(Operator):
    """Light the scene with the light that was found in the clip. The World in use before is kept in the file"""

    bl_idname = "video_avatar.light_world"
    bl_label = "Use clip light as World"
    bl_options = {"REGISTER", "UNDO"}

    def execute(self, context):
        from ..scene import use_clip_light

        root = chosen_avatar(self, context)
        made = attempt(self, use_clip_light, context.scene, root) if root else None
        if made is None:
            return {"CANCELLED"}
        kept = f" instead of {made.before}, which is kept" if made.before else ""
        added = f"; {100 * made.energy_change:.1f} % more light than in the clip, where it could not be dark enough" if made.energy_change > 0.001 else ""
        self.report({"INFO"}, f"World {made.world}{kept}{added}")
        return {"FINISHED"}
