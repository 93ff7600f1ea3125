"""Remove a pin."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

from bpy.props import IntProperty
from bpy.types import Operator


class VIDEO_AVATAR_OT_remove_pin(Operator):
    """Remove this pin"""

    bl_idname = "video_avatar.remove_pin"
    bl_label = "Remove pin"
    bl_options = {"REGISTER", "UNDO"}

    index: IntProperty(name="Pin", description="Place in the list; -1 = all", default=-1, min=-1, options={"SKIP_SAVE"})

    def execute(self, context):
        from ..scene import chosen_root, pins_of, root_of, set_pins

        try:
            root = chosen_root(context.scene, root_of(context.object))
            pins = pins_of(root)
            if not -1 <= self.index < len(pins):
                raise ValueError(f"There is no pin number {self.index}: this avatar has {len(pins)}.")
            set_pins(root, [] if self.index == -1 else [*pins[: self.index], *pins[self.index + 1 :]])
        except ValueError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}
