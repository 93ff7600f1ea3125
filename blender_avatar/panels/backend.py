"""Backend: is there one, and does it run."""

from bpy.types import Panel

from .new_avatar import draw_backend_fields

ICONS = {"UNKNOWN": "QUESTION", "MISSING": "ERROR", "FOUND": "RADIOBUT_OFF", "READY": "RADIOBUT_ON"}


class VIDEO_AVATAR_PT_backend(Panel):
    bl_idname = "VIDEO_AVATAR_PT_backend"
    bl_label = "Backend"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_order = 3
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return context.window_manager.video_avatar.backend != "MISSING"

    def draw(self, context):
        layout, state = self.layout, context.window_manager.video_avatar
        layout.label(text=state.backend_text or "Not looked for yet", icon=ICONS[state.backend])
        layout.operator("video_avatar.check_backend")
        draw_backend_fields(layout, context)
