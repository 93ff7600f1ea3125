"""Pins in the scene: which point of the head is under the mouse, and where a place in the picture lies in space."""

from __future__ import annotations

import dataclasses

import bpy
import numpy as np
from mathutils import Vector
from mathutils.bvhtree import BVHTree

from ..pins import PINS, Pin, read_pins, write_pins
from .names import camera_of, rig_of

SEE_THROUGH = ("Lashes", "Cornea")
"""Materials that hide nothing and are never pinned."""

HIDDEN_BY_M = 0.002
"""A point counts as hidden when something is this much nearer to the camera."""


@dataclasses.dataclass(frozen=True)
class ClipView:
    """The clip's camera at one frame: world_from_cam (4, 4) in Blender's camera axes, focal_px, principal_px, size_px (width, height)."""

    world_from_cam: np.ndarray
    focal_px: float
    principal_px: np.ndarray
    size_px: tuple[int, int]

    def world_from_px(self, x_px: float, y_px: float, depth_m: float = 1.0) -> np.ndarray:
        """(3,) the point in the world behind a place in the picture, ``depth_m`` in front of the camera."""
        x, y = (np.array([x_px, y_px]) - self.principal_px) / self.focal_px
        return self.world_from_cam[:3, :3] @ (depth_m * np.array([x, -y, -1.0])) + self.world_from_cam[:3, 3]

    def px_from_world(self, points_m: np.ndarray) -> np.ndarray:
        """(N, 3) world points to (N, 2) px; NaN behind the camera."""
        local = (points_m - self.world_from_cam[:3, 3]) @ self.world_from_cam[:3, :3]
        depth = np.where(local[:, 2] < -1e-6, -local[:, 2], np.nan)
        return np.stack([local[:, 0], -local[:, 1]], -1) / depth[:, None] * self.focal_px + self.principal_px


def clip_view(root: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> ClipView:
    """The clip's camera at the current frame, its scale taken out. Raises ValueError when the avatar has no camera any more."""
    camera = camera_of(root)
    if camera is None:
        raise ValueError("The camera of this avatar has been deleted.")
    evaluated = camera.evaluated_get(depsgraph)
    matrix = np.array(evaluated.matrix_world, dtype=np.float64)
    matrix[:3, :3] /= np.linalg.norm(matrix[:3, :3], axis=0)
    width, height = int(root["clip_width_px"]), int(root["clip_height_px"])
    longer = max(width, height)
    data = evaluated.data
    sensor = data.sensor_width if data.sensor_fit == "HORIZONTAL" else data.sensor_height
    principal = np.array([0.5 * width - data.shift_x * longer, 0.5 * height + data.shift_y * longer])
    return ClipView(matrix, data.lens * longer / sensor, principal, (width, height))


class HeadPoints:
    """The posed head: places of its vertices, and what hides what. Made once per click or drawing."""

    def __init__(self, root: bpy.types.Object, depsgraph: bpy.types.Depsgraph) -> None:
        head = head_of(root)
        if head is None:
            raise ValueError("The head of this avatar has been deleted.")
        evaluated = head.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        try:
            coordinates = np.empty(3 * len(mesh.vertices), np.float32)
            mesh.vertices.foreach_get("co", coordinates)
            matrix = np.array(head.matrix_world)
            self._all = coordinates.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
            clear = {index for index, slot in enumerate(head.material_slots) if slot.material and slot.material.name.split(".")[-1] in SEE_THROUGH}
            self._faces = [tuple(face.vertices) for face in mesh.polygons if face.material_index not in clear]
        finally:
            evaluated.to_mesh_clear()
        count = len(head.data.vertices)  # a subdivided mesh has its original vertices first
        self.points_m = self._all[:count].astype(np.float64)
        worn = np.zeros(len(self._all), bool)
        for face in self._faces:
            worn[list(face)] = True
        self.can_be_pinned = worn[:count]
        self._tree: BVHTree | None = None

    def is_visible(self, vertex_id: int, view: ClipView) -> bool:
        """Whether the camera sees the vertex."""
        if self._tree is None:
            self._tree = BVHTree.FromPolygons(self._all.tolist(), self._faces)
        origin, point = Vector(view.world_from_cam[:3, 3]), Vector(self.points_m[vertex_id])
        distance = (point - origin).length
        hit = self._tree.ray_cast(origin, (point - origin).normalized(), distance)
        return hit[0] is None or hit[3] > distance - HIDDEN_BY_M

    def nearest_visible(self, x_px: float, y_px: float, view: ClipView, within_px: float) -> int | None:
        """The visible vertex nearest to a place in the picture, or None when there is none within ``within_px``."""
        away = np.linalg.norm(view.px_from_world(self.points_m) - [x_px, y_px], axis=-1)
        away[~self.can_be_pinned | ~np.isfinite(away)] = np.inf
        for vertex_id in np.argsort(away, kind="stable"):
            if away[vertex_id] > within_px:
                return None
            if self.is_visible(int(vertex_id), view):
                return int(vertex_id)
        return None


def head_of(root: bpy.types.Object) -> bpy.types.Object | None:
    """The head mesh whose vertices are those of the package."""
    return next((ob for ob in root.children_recursive if ob.type == "MESH" and ob.data.shape_keys), None)


def pins_of(root: bpy.types.Object) -> list[Pin]:
    """Pins of an avatar, by frame."""
    rig = rig_of(root)
    return read_pins(str(rig.get(PINS, ""))) if rig else []


def set_pins(root: bpy.types.Object, pins: list[Pin]) -> None:
    """Stores the pins of an avatar; none leaves no property behind."""
    rig = rig_of(root)
    if rig is None:
        raise ValueError("The rig of this avatar has been deleted.")
    if pins:
        rig[PINS] = write_pins(pins)
    elif PINS in rig:
        del rig[PINS]
