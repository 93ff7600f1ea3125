"""Deliver: make the scene fit the clip, light it, bake, and bring the avatar to other programs."""

from bpy.types import Panel

from ..active import active_root
from ..tile_sizes import wrong_sizes
from .new_avatar import draw_outcome, draw_progress, is_busy
from .text import draw_text

MARK = "video_avatar"  # custom property of an avatar's root object, written by the import
DYNAMIC, AS_FILMED = "dynamic", "as_filmed"  # custom properties of the head


class DeliverPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"

    @classmethod
    def poll(cls, context):
        return has_avatar(context)


class VIDEO_AVATAR_PT_deliver(DeliverPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_deliver"
    bl_label = "Deliver"
    bl_order = 2

    def draw(self, context):
        column = self.layout.column(align=True)
        column.operator("video_avatar.match_scene", icon="CAMERA_DATA")
        column.operator("video_avatar.match_colours", icon="COLOR")
        column.operator("video_avatar.light_world", icon="WORLD")
        self.layout.operator("video_avatar.export_avatar", icon="EXPORT")


class VIDEO_AVATAR_PT_texture(DeliverPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_texture"
    bl_parent_id = "VIDEO_AVATAR_PT_deliver"
    bl_label = "Texture"
    bl_order = 0

    @classmethod
    def poll(cls, context):
        return active_head(context) is not None

    def draw(self, context):
        layout, settings, state, head = self.layout, context.scene.video_avatar, context.window_manager.video_avatar, active_head(context)
        column = layout.column(align=True)
        column.prop(head, f'["{AS_FILMED}"]', text="Original light", slider=True)
        if DYNAMIC not in head:
            return
        column.prop(head, f'["{DYNAMIC}"]', text="Dynamic", slider=True)
        for line in wrong_sizes():
            draw_text(layout, context, f"{line}: its tiles are no longer found. Undo that, or import the avatar again.", "ERROR")
        if state.job_kind == "bake_textures":
            if is_busy(state):
                draw_progress(layout, state)
                return
            draw_outcome(layout, context, state)
        column = layout.column(align=True)
        row = column.row(align=True)
        row.prop(settings, "bake_format", expand=True)
        column.prop(settings, "bake_use_view")
        column.operator_context = "INVOKE_DEFAULT"
        column.operator("video_avatar.bake_images", icon="RENDER_ANIMATION")
        if state.error_code == "asset_missing" or settings.avatar_folder:
            column.prop(settings, "avatar_folder")
        row = column.row(align=True)
        row.operator_context = "INVOKE_DEFAULT"
        row.operator("video_avatar.apply_baked_images", text="From folder", icon="FILE_FOLDER")
        row.operator("video_avatar.live_texture", icon="LOOP_BACK")


class VIDEO_AVATAR_PT_bake(DeliverPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_bake"
    bl_parent_id = "VIDEO_AVATAR_PT_deliver"
    bl_label = "Shape keys"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        column = self.layout.column(align=True)
        row = column.row(align=True)
        row.operator("video_avatar.bake_keyframes", icon="KEYFRAME_HLT")
        row.operator("video_avatar.bake_keyframes", text="", icon="LOOP_BACK").clear = True
        column.operator_context = "INVOKE_DEFAULT"
        column.operator("video_avatar.free_shape_keys", icon="UNLINKED")


def has_avatar(context):
    """Whether there is an avatar to deliver: a marked root in a collection of its name, or above the active object."""
    ob = context.object
    while ob is not None:
        if MARK in ob:
            return True
        ob = ob.parent
    # not all objects of the scene: a panel's poll runs at every redraw
    return any(MARK in root for c in context.scene.collection.children if (root := c.objects.get(c.name)) is not None)


def active_head(context):
    """Head mesh of the avatar that is meant, or None. By name first: an object's children are found by looking at all objects."""
    root = active_root(context)
    if root is None:
        return None
    if context.object is not None and AS_FILMED in context.object:
        return context.object
    for collection in root.users_collection:
        named = collection.objects.get(f"{root.name}.head")
        if named is not None and AS_FILMED in named:
            return named
    return next((ob for ob in root.children_recursive if AS_FILMED in ob), None)
