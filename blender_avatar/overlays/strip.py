"""The confidence strip, under the frame numbers of timeline and dope sheet."""

import bpy

from ..active import active_record, confidence_of
from ..confidence import strip_bars

SCRUBBER_PX, HEIGHT_PX = 24, 6
"""Height of Blender's row of frame numbers, and of the strip; at a user interface scale of 1."""

_handles = []


def bars_for(context):
    """The rectangles for the region being drawn; empty when the strip is off or there is no avatar."""
    settings = context.scene.video_avatar
    space = context.space_data
    if not settings.show_confidence or space is None or space.type != "DOPESHEET_EDITOR" or space.mode not in ("TIMELINE", "DOPESHEET", "ACTION"):
        return []
    record = active_record(context)
    if record is None:
        return []
    region, scale = context.region, context.preferences.system.ui_scale
    view = tuple(region.view2d.region_to_view(x_px, 0)[0] for x_px in (0, region.width))
    height_px = HEIGHT_PX * scale
    bottom_px = max(0.0, region.height - SCRUBBER_PX * scale - height_px)  # in the lowest of timelines it lies over the numbers
    return strip_bars(*confidence_of(record), view, region.width, bottom_px, height_px, settings.weak_below)


def draw():
    """Draw handler: runs at every redraw of the editor."""
    bars = bars_for(bpy.context)
    if not bars:
        return
    import gpu
    from gpu_extras.batch import batch_for_shader

    corners, colours, triangles = [], [], []
    for bar in bars:
        first = len(corners)
        corners += [(bar.left_px, bar.bottom_px), (bar.right_px, bar.bottom_px), (bar.right_px, bar.top_px), (bar.left_px, bar.top_px)]
        colours += [bar.colour] * 4
        triangles += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    shader = gpu.shader.from_builtin("FLAT_COLOR")
    gpu.state.blend_set("ALPHA")
    batch_for_shader(shader, "TRIS", {"pos": corners, "color": colours}, indices=triangles).draw(shader)
    gpu.state.blend_set("NONE")


def register():
    _handles.append(bpy.types.SpaceDopeSheetEditor.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL"))


def unregister():
    while _handles:
        bpy.types.SpaceDopeSheetEditor.draw_handler_remove(_handles.pop(), "WINDOW")
