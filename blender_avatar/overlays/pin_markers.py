"""Pins of the current frame over the clip: a line from the point of the head to a cross where it should be."""

import bpy

from ..active import active_pins, active_record, active_root, scene_frame_of

ARM_PX = 7
COLOUR, DRAFT_COLOUR = (1.0, 0.85, 0.1, 1.0), (0.3, 0.9, 1.0, 1.0)

_handles = []


def pins_here(context):
    """(vertex_id, x_px, y_px, colour) of the pins that belong to the current frame, and of the one being placed."""
    record, state = active_record(context), context.window_manager.video_avatar
    frame = context.scene.frame_current
    found = []
    for pin in active_pins(context) if record is not None else ():
        at = scene_frame_of(record, pin.frame)
        if at is not None and abs(at - frame) <= 0.5:
            found.append((pin.vertex_id, pin.x_px, pin.y_px, COLOUR))
    if state.draft_vertex >= 0:
        found.append((state.draft_vertex, *state.draft_px, DRAFT_COLOUR))
    return found


def draw():
    """Draw handler: runs at every redraw of a 3D view."""
    context = bpy.context
    space, root = context.space_data, None
    if context.scene.video_avatar.show_pins and space.overlay.show_overlays and space.region_3d.view_perspective == "CAMERA":
        root = active_root(context)
    pins = pins_here(context) if root else []
    if pins:
        _draw_lines(*lines_of(context, root, pins))


def lines_of(context, root, pins):
    """End points (px of the region) and colours of the markers' lines."""
    from bpy_extras.view3d_utils import location_3d_to_region_2d

    from ..scene import camera_of, clip_view, head_of

    space, head = context.space_data, head_of(root)
    camera = space.camera if space.use_local_camera else context.scene.camera
    if head is None or camera is None or camera != camera_of(root):
        return [], []
    depsgraph = context.evaluated_depsgraph_get()
    view = clip_view(root, depsgraph)
    evaluated = head.evaluated_get(depsgraph)
    vertices, scale = evaluated.data.vertices, context.preferences.system.ui_scale
    points, colours = [], []
    for vertex_id, x_px, y_px, colour in pins:
        target = location_3d_to_region_2d(context.region, space.region_3d, view.world_from_px(x_px, y_px))
        if target is None:
            continue
        arm = ARM_PX * scale
        ends = [(target.x - arm, target.y - arm), (target.x + arm, target.y + arm), (target.x - arm, target.y + arm), (target.x + arm, target.y - arm)]
        if vertex_id < len(vertices):
            source = location_3d_to_region_2d(context.region, space.region_3d, evaluated.matrix_world @ vertices[vertex_id].co)
            if source is not None:
                small = 0.4 * arm
                square = [(source.x + i * small, source.y + j * small) for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
                ends += [tuple(source), tuple(target)] + [square[corner] for k in range(4) for corner in (k, (k + 1) % 4)]
        points += ends
        colours += [colour] * len(ends)
    return points, colours


def _draw_lines(points, colours):
    if not points:
        return
    import gpu
    from gpu_extras.batch import batch_for_shader

    shader = gpu.shader.from_builtin("POLYLINE_FLAT_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.bind()
    viewport = gpu.state.viewport_get()
    shader.uniform_float("viewportSize", (viewport[2], viewport[3]))
    shader.uniform_float("lineWidth", 2.0)
    batch_for_shader(shader, "LINES", {"pos": [(x, y, 0.0) for x, y in points], "color": colours}).draw(shader)
    gpu.state.blend_set("NONE")


def register():
    _handles.append(bpy.types.SpaceView3D.draw_handler_add(draw, (), "WINDOW", "POST_PIXEL"))


def unregister():
    while _handles:
        bpy.types.SpaceView3D.draw_handler_remove(_handles.pop(), "WINDOW")
