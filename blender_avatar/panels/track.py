"""Track: where the track is weak, tracking a range again, pins, smoothing."""

from bpy.types import Panel

from ..active import active_pins, active_record, confidence_of, regions_of, scene_frame_of
from ..confidence import weak_ranges
from .new_avatar import draw_outcome, draw_progress, is_busy

MOST_ROWS = 10
"""Longest list of weak ranges; the worst ones when there are more."""


class TrackPanel:
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Video Avatar"

    @classmethod
    def poll(cls, context):
        return active_record(context) is not None


class VIDEO_AVATAR_PT_track(TrackPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_track"
    bl_label = "Track"
    bl_order = 1

    def draw(self, context):
        layout, settings, state = self.layout, context.scene.video_avatar, context.window_manager.video_avatar
        _draw_weak(layout, settings, active_record(context))
        column = layout.column(align=True)
        row = column.row(align=True)
        row.prop(settings, "range_start")
        row.prop(settings, "range_end")
        if state.job_kind == "track_again":
            if is_busy(state):
                draw_progress(layout, state)
                return
            draw_outcome(layout, context, state)
        button = column.row()
        button.scale_y = 1.3
        button.operator_context = "INVOKE_DEFAULT"
        button.enabled = settings.range_end >= settings.range_start
        button.operator("video_avatar.track_again", icon="FILE_REFRESH")
        if state.error_code == "asset_missing" or settings.avatar_folder:
            layout.prop(settings, "avatar_folder")
        if (state.job_kind == "track_again" and state.error_code == "bad_input") or settings.moved_video:
            layout.prop(settings, "moved_video")


class VIDEO_AVATAR_PT_pins(TrackPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_pins"
    bl_parent_id = "VIDEO_AVATAR_PT_track"
    bl_label = "Pins"
    bl_order = 0

    def draw_header_preset(self, context):
        number = len(active_pins(context))
        self.layout.label(text=str(number) if number else "")

    def draw(self, context):
        layout, record = self.layout, active_record(context)
        row = layout.row(align=True)
        row.operator_context = "INVOKE_DEFAULT"
        row.operator("video_avatar.add_pin", icon="PINNED")
        row.prop(context.scene.video_avatar, "show_pins", text="", icon="HIDE_OFF")
        rows = layout.column(align=True)
        for index, pin in enumerate(active_pins(context)):
            frame = scene_frame_of(record, pin.frame)
            row = rows.row(align=True)
            place = f"({pin.x_px:.0f}, {pin.y_px:.0f})"
            if frame is None:
                row.label(text=f"Not in the clip: point {pin.vertex_id}", icon="ERROR")
            else:
                go = row.operator("video_avatar.choose_range", text=f"{frame:g}: point {pin.vertex_id} → {place}")
                go.frame_start = go.frame_end = round(frame)
            row.operator("video_avatar.remove_pin", text="", icon="X").index = index


class VIDEO_AVATAR_PT_smooth(TrackPanel, Panel):
    bl_idname = "VIDEO_AVATAR_PT_smooth"
    bl_parent_id = "VIDEO_AVATAR_PT_track"
    bl_label = "Smoothing"
    bl_order = 1
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        layout, settings, record = self.layout, context.scene.video_avatar, active_record(context)
        layout.prop(settings, "smooth_frames")
        grid = layout.grid_flow(columns=2, align=True)
        grid.prop(settings, "smooth_channels")
        column = layout.column(align=True)
        column.operator_context = "INVOKE_DEFAULT"
        column.operator("video_avatar.smooth_animation", text=f"Smooth {settings.range_start} to {settings.range_end}", icon="MOD_SMOOTH")
        whole = column.operator("video_avatar.smooth_animation", text="Smooth the whole clip")
        frames = record["frames"]
        whole.frame_start, whole.frame_end = int(frames[0]), int(frames[len(frames) - 1]) + 1


def _draw_weak(layout, settings, record):
    head = layout.row(align=True)
    ranges = weak_ranges(*confidence_of(record), settings.weak_below, *regions_of(record))
    head.label(text=f"{len(ranges)} weak range{'' if len(ranges) == 1 else 's'}" if ranges else "No weak frames", icon="ERROR" if ranges else "CHECKMARK")
    head.prop(settings, "weak_below", text="Below")
    head.prop(settings, "show_confidence", text="", icon="ACTION")
    shown = sorted(sorted(ranges, key=lambda weak: weak.lowest)[:MOST_ROWS], key=lambda weak: weak.start)
    rows = layout.column(align=True)
    for weak in shown:
        row = rows.row(align=True)
        is_chosen = (settings.range_start, settings.range_end) == (int(weak.start), round(weak.end))
        text = f"{weak.start:.0f} – {weak.end:.0f}" if weak.end > weak.start else f"{weak.start:.0f}"
        what = "no face" if weak.lowest <= 0 else f"{weak.lowest * 100:.0f} %" + (f", {weak.region.replace('_', ' ')}" if weak.region else "")
        button = row.operator("video_avatar.choose_range", text=f"{text}   ·   {what}", depress=is_chosen)
        button.frame_start, button.frame_end = int(weak.start), round(weak.end)
    if len(ranges) > len(shown):
        rows.label(text=f"and {len(ranges) - len(shown)} less weak ones")
