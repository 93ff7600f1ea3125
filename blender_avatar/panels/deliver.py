"""Deliver: make the scene fit the clip."""

from bpy.types import Panel

MARK = "video_avatar"  # custom property of an avatar's root object, written by the import


class VIDEO_AVATAR_PT_deliver(Panel):
    bl_idname = "VIDEO_AVATAR_PT_deliver"
    bl_label = "Deliver"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_order = 2

    @classmethod
    def poll(cls, context):
        return has_avatar(context)

    def draw(self, context):
        column = self.layout.column(align=True)
        column.operator("video_avatar.match_scene", icon="CAMERA_DATA")
        column.operator("video_avatar.match_colours", icon="COLOR")


def has_avatar(context):
    """Whether there is an avatar to deliver: a marked root in a collection of its name, or above the active object."""
    ob = context.object
    while ob is not None:
        if MARK in ob:
            return True
        ob = ob.parent
    # not all objects of the scene: a panel's poll runs at every redraw
    return any(MARK in root for c in context.scene.collection.children if (root := c.objects.get(c.name)) is not None)
