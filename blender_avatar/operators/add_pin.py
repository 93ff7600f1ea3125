"""Pin a point of the head to where it is in the picture: with two clicks, or with numbers from a script."""
# ruff: noqa: F722, F821  (annotations are values here, see props.py)

from bpy.props import FloatProperty, IntProperty
from bpy.types import Operator

from ..backend_link import backend_module
from ..pins import Pin, with_pin

REACH_PX = 25
"""How far from the mouse, px of the screen, a point of the head may be to be picked."""

DRAG_PX = 6
"""Moved less than this between press and release is a click: the next click says where the point should be."""


class VIDEO_AVATAR_OT_add_pin(Operator):
    """Click a point of the head, then click (or drag it to) where it is in the picture. Look through the clip's camera"""

    bl_idname = "video_avatar.add_pin"
    bl_label = "Add pin"
    bl_options = {"REGISTER", "UNDO"}

    vertex_id: IntProperty(name="Point", description="Vertex of the head; -1 = the active vertex in edit mode", default=-1, min=-1, options={"SKIP_SAVE"})
    x_px: FloatProperty(name="X", description="In the clip's picture, px from the left", options={"SKIP_SAVE"})
    y_px: FloatProperty(name="Y", description="In the clip's picture, px from the top", options={"SKIP_SAVE"})
    frame: IntProperty(name="Frame", description="Scene frame; -1 = the current one", default=-1, min=-1, options={"SKIP_SAVE"})

    def execute(self, context):
        from ..scene import chosen_root, head_of, pins_of, read_record, recorded_actions, root_of, set_pins

        try:
            root = chosen_root(context.scene, root_of(context.object))
            head = head_of(root)
            vertex = self.vertex_id if self.vertex_id >= 0 else active_vertex(context, head)
            if vertex is None:
                raise ValueError("Which point? Give vertex_id, or select a vertex of the head in edit mode.")
            if head is None or vertex >= len(head.data.vertices):
                raise ValueError(f"The head has no point {vertex}.")
            if not (self.properties.is_property_set("x_px") and self.properties.is_property_set("y_px")):
                raise ValueError("Where is the point in the picture? Give x_px and y_px.")
            width, height = int(root["clip_width_px"]), int(root["clip_height_px"])
            if not (0 <= self.x_px <= width and 0 <= self.y_px <= height):
                raise ValueError(f"({self.x_px:.0f}, {self.y_px:.0f}) lies outside the picture of {width} × {height} px.")
            performance = read_record(recorded_actions(root)[0].action)
            frame = context.scene.frame_current if self.frame < 0 else self.frame
            samples = performance.samples_between(frame - 0.5, frame + 0.5)
            if not len(samples):
                raise ValueError(f"The clip has no picture at frame {frame}: it runs from {performance.frames[0]:g} to {performance.frames[-1]:g}.")
            nearest = min(samples, key=lambda sample: abs(float(performance.frames[sample]) - frame))
            set_pins(root, with_pin(pins_of(root), Pin(int(performance.time_index[nearest]), vertex, self.x_px, self.y_px)))
        except (ValueError, backend_module("errors").AvatarError) as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        return {"FINISHED"}

    # --- with the mouse -------------------------------------------------------------------------------------------

    def invoke(self, context, event):
        from ..scene import chosen_root, head_of, root_of

        try:
            root = chosen_root(context.scene, root_of(context.object))
            self._area, self._region = view_through(context, root)
        except ValueError as problem:
            self.report({"ERROR"}, str(problem))
            return {"CANCELLED"}
        self._root_name, self._press = root.name, None
        if self.vertex_id < 0:
            active = active_vertex(context, head_of(root))
            self.vertex_id = -1 if active is None else active
        self._tell(context)
        context.window.cursor_modal_set("CROSSHAIR")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        from ..scene import clip_view

        if event.type in ("ESC", "RIGHTMOUSE"):
            return self._end(context, {"CANCELLED"})
        if event.type not in ("LEFTMOUSE", "MOUSEMOVE"):
            return {"PASS_THROUGH"}  # zooming and panning go on
        root = context.scene.objects.get(self._root_name)
        if root is None or self._area.spaces.active.region_3d.view_perspective != "CAMERA":
            self.report({"WARNING"}, "Pins are set while looking through the clip's camera")
            return self._end(context, {"CANCELLED"})
        mouse = (event.mouse_x - self._region.x, event.mouse_y - self._region.y)
        if event.type == "LEFTMOUSE" and event.value == "PRESS" and not self._is_in_picture(event):
            return {"RUNNING_MODAL"}
        depsgraph = context.evaluated_depsgraph_get()
        view = clip_view(root, depsgraph)
        place, px_per_screen_px = picture_place(self._region, self._area.spaces.active.region_3d, view, mouse)
        state = context.window_manager.video_avatar
        if self.vertex_id < 0:
            if event.type == "LEFTMOUSE" and event.value == "PRESS":
                self._pick(context, root, depsgraph, view, place, px_per_screen_px, mouse)
            return {"RUNNING_MODAL"}
        state.draft_vertex, state.draft_px = self.vertex_id, place
        self._area.tag_redraw()
        is_dragged = self._press is not None and max(abs(mouse[0] - self._press[0]), abs(mouse[1] - self._press[1])) > DRAG_PX
        if event.type == "LEFTMOUSE" and (event.value == "PRESS" or (event.value == "RELEASE" and is_dragged)):
            self.x_px, self.y_px = place
            self._end(context, set())
            return self.execute(context)
        return {"RUNNING_MODAL"}

    def cancel(self, context):
        """Blender ends the operator itself, for instance because another file is opened."""
        self._end(context, set())

    def _is_in_picture(self, event):
        """Whether the mouse is over the 3D view, and not over the sidebar or a header that lies on top of it."""
        inside = lambda region: 0 <= event.mouse_x - region.x < region.width and 0 <= event.mouse_y - region.y < region.height  # noqa: E731
        covering = [region for region in self._area.regions if region.type != "WINDOW" and region.width > 1 and region.height > 1]
        return inside(self._region) and not any(inside(region) for region in covering)

    def _pick(self, context, root, depsgraph, view, place, px_per_screen_px, mouse):
        from ..scene import HeadPoints

        found = HeadPoints(root, depsgraph).nearest_visible(*place, view, REACH_PX * px_per_screen_px)
        if found is None:
            self.report({"WARNING"}, "There is no point of the head under the mouse")
            return
        self.vertex_id, self._press = found, mouse
        self._tell(context)

    def _tell(self, context):
        step = "Click a point of the head" if self.vertex_id < 0 else "Click where this point is in the picture"
        context.workspace.status_text_set(f"{step}   ·   Esc: cancel")

    def _end(self, context, answer):
        context.window.cursor_modal_restore()
        context.workspace.status_text_set(None)
        context.window_manager.video_avatar.draft_vertex = -1
        self._area.tag_redraw()
        return answer


def active_vertex(context, head):
    """Index of the active (else the first selected) vertex while the head is in edit mode; None otherwise."""
    if head is None or head.mode != "EDIT":
        return None
    import bmesh

    mesh = bmesh.from_edit_mesh(head.data)
    active = mesh.select_history.active
    if isinstance(active, bmesh.types.BMVert):
        return active.index
    return next((vertex.index for vertex in mesh.verts if vertex.select), None)


def view_through(context, root):
    """Area and region of a 3D view that looks through the avatar's camera. Raises ValueError when there is none."""
    from ..scene import camera_of

    areas = [context.area] if context.area and context.area.type == "VIEW_3D" else [area for area in context.screen.areas if area.type == "VIEW_3D"]
    for area in areas:
        space = area.spaces.active
        camera = space.camera if space.use_local_camera else context.scene.camera
        if space.region_3d.view_perspective == "CAMERA" and camera is not None and camera == camera_of(root):
            return area, next(region for region in area.regions if region.type == "WINDOW")
    raise ValueError("Look through the clip's camera first: make it the scene's camera (Match scene to clip) and press Numpad 0.")


def picture_place(region, region_3d, view, mouse):
    """The place in the clip's picture under the mouse, and how many of its pixels one pixel of the screen is."""
    from bpy_extras.view3d_utils import location_3d_to_region_2d

    # three corners on the screen give the (affine) map: the view looks along the camera's own axis
    width, height = view.size_px
    corners = [location_3d_to_region_2d(region, region_3d, view.world_from_px(*corner)) for corner in ((0, 0), (width, 0), (0, height))]
    origin, right, down = corners
    x_px = (mouse[0] - origin.x) / (right.x - origin.x) * width
    y_px = (mouse[1] - origin.y) / (down.y - origin.y) * height
    return (x_px, y_px), abs(width / (right.x - origin.x))
