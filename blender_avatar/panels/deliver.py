"""Deliver: make the scene fit the clip."""

from bpy.types import Panel


class VIDEO_AVATAR_PT_deliver(Panel):
    bl_idname = "VIDEO_AVATAR_PT_deliver"
    bl_label = "Deliver"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_order = 2

    @classmethod
    def poll(cls, context):
        return has_avatar(context.scene)

    def draw(self, context):
        column = self.layout.column(align=True)
        column.operator("video_avatar.match_scene", icon="CAMERA_DATA")
        column.operator("video_avatar.match_colours", icon="COLOR")


def has_avatar(scene):
    """Whether the scene holds an avatar: imported collections carry a mark."""
    return any("video_avatar" in collection for collection in scene.collection.children)
