"""New avatar: clip, quality, consent, button; and in the button's place the progress, or what went wrong."""

from bpy.types import Panel

from ..active import active_record
from .text import draw_text


class VIDEO_AVATAR_PT_new(Panel):
    bl_idname = "VIDEO_AVATAR_PT_new"
    bl_label = "New avatar"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_order = 0

    def draw(self, context):
        layout, state, settings = self.layout, context.window_manager.video_avatar, context.scene.video_avatar
        if state.backend == "MISSING":
            _draw_without_backend(layout, context, state)
            return
        choices = layout.column()
        choices.enabled = not is_busy(state)
        choices.prop(settings, "video")
        quality = choices.split(factor=0.22)
        quality.label(text="Quality:")
        quality.row(align=True).prop(settings, "quality", expand=True)
        is_elsewhere = state.job_kind in ("track_again", "bake_textures") and active_record(context) is not None  # the panel Track tells it then
        if is_busy(state):
            if not is_elsewhere:
                draw_progress(layout, state)
            return
        if not is_elsewhere:
            draw_outcome(layout, context, state)
        layout.prop(settings, "has_consent")
        button = layout.row()
        button.scale_y = 1.4
        button.enabled = bool(settings.video) and settings.has_consent
        button.operator_context = "INVOKE_DEFAULT"
        button.operator("video_avatar.reconstruct", icon="PLAY")
        layout.operator("video_avatar.import_avatar", text="Import avatar…", icon="IMPORT")


class VIDEO_AVATAR_PT_remarks(Panel):
    bl_idname = "VIDEO_AVATAR_PT_remarks"
    bl_parent_id = "VIDEO_AVATAR_PT_new"
    bl_label = "Clip check"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_options = {"DEFAULT_CLOSED"}
    bl_order = 0

    @classmethod
    def poll(cls, context):
        return bool(context.window_manager.video_avatar.remarks)

    def draw_header_preset(self, context):
        number = len(context.window_manager.video_avatar.remarks.splitlines())
        self.layout.label(text=f"{number} hint{'s' if number > 1 else ''}")

    def draw(self, context):
        column = self.layout.column()
        for remark in context.window_manager.video_avatar.remarks.splitlines():
            draw_text(column, context, remark, "DOT", inset_px=20)


class VIDEO_AVATAR_PT_advanced(Panel):
    bl_idname = "VIDEO_AVATAR_PT_advanced"
    bl_parent_id = "VIDEO_AVATAR_PT_new"
    bl_label = "Advanced"
    bl_order = 1
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"
    bl_options = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context):
        return context.window_manager.video_avatar.backend != "MISSING"

    def draw(self, context):
        layout, settings = self.layout, context.scene.video_avatar
        layout.use_property_split = True
        layout.use_property_decorate = False
        layout.enabled = context.window_manager.video_avatar.job_state not in ("starting", "running", "cancelling")
        layout.prop(settings, "head_model")
        if settings.head_model != "ANNY":
            layout.prop(settings, "head_model_path")
        layout.prop(settings, "device")
        layout.prop(settings, "motion")
        layout.prop(settings, "out")
        if settings.out:
            layout.prop(settings, "overwrite")


def is_busy(state):
    """Whether a job is on its way."""
    return state.job_state in ("starting", "running", "cancelling")


def draw_progress(layout, state):
    """How far the job is, and the button that stops it."""
    column = layout.column(align=True)
    column.label(text=state.status)
    text = f"{state.share * 100:.0f} %"
    column.progress(factor=state.share, type="BAR", text=f"{text}  ·  {state.time_left}" if state.time_left else text)
    row = layout.row()
    row.enabled = state.job_state != "cancelling"
    row.operator("video_avatar.cancel", icon="X")


def draw_outcome(layout, context, state):
    """What went wrong and what to do about it, or a note."""
    if state.error:
        box = layout.box()
        head = box.row()
        text = head.column()
        text.alert = True
        draw_text(text, context, state.error, "CANCEL", inset_px=36)
        head.operator("video_avatar.dismiss", text="", icon="X", emboss=False)
        if state.hint:
            draw_text(box, context, state.hint)
        if state.error_code == "environment":
            draw_backend_fields(box, context)
        if state.log_path:
            box.operator("wm.path_open", text="Open log", icon="TEXT").filepath = state.log_path
    elif state.note:
        box = layout.box()
        draw_text(box, context, state.note, "INFO")
        if state.avatar_folder:
            box.operator("video_avatar.import_avatar", text="Import it here", icon="IMPORT").directory = state.avatar_folder


def _draw_without_backend(layout, context, state):
    draw_text(layout, context, "To play avatars nothing is needed. To make one, Video Avatar needs its backend.", "INFO")
    draw_text(layout, context, state.backend_text)
    draw_backend_fields(layout, context)
    layout.operator("video_avatar.import_avatar", text="Import avatar…", icon="IMPORT")


def draw_backend_fields(layout, context):
    """The preferences that say where the backend is, when the add-on has preferences (in a script it may have none)."""
    add_on = context.preferences.addons.get(__package__.rpartition(".")[0])
    if not add_on:
        return
    column = layout.column(align=True)
    if context.window_manager.video_avatar.is_program_missing or add_on.preferences.backend_folder:
        column.label(text="Backend folder:")
        column.prop(add_on.preferences, "backend_folder", text="")
    column.label(text="Use my Python:")
    column.prop(add_on.preferences, "backend_python", text="")
