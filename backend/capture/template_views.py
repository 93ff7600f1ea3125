"""Pictures of a rig's template, plain but recognisable to a face detector, that remember which surface point each pixel shows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import torch

from ..geometry.cameras import intrinsics
from ..render.meshes import rasterise
from ..rig.model import RigModel
from ..rig.posing import posable_head

IRIS_RADIUS_M = 0.00585
PUPIL_RADIUS_M = 0.002
JAW_OPEN_RAD = 0.4
"""How far a jaw bone turns for jawOpen 1 on a model that has the bone instead of the control."""
SKIN, LIPS, BROWS = (0.80, 0.60, 0.50), (0.66, 0.36, 0.34), (0.30, 0.20, 0.15)
SCLERA, IRIS, LIMBUS, PUPIL = (0.92, 0.90, 0.88), (0.36, 0.25, 0.16), (0.20, 0.14, 0.10), (0.03, 0.03, 0.03)
LASH_LINE, LIP_SEAM, MOUTH_INSIDE, TEETH, TONGUE, BACKGROUND = (0.36, 0.24, 0.20), (0.40, 0.18, 0.17), (0.22, 0.08, 0.08), (0.62, 0.58, 0.52), (0.38, 0.16, 0.15), (0.45, 0.48, 0.52)


@dataclasses.dataclass(frozen=True)
class View:
    """One pose of the template before one camera.

    yaw_deg, pitch_deg: turn of the head; positive yaw turns it to its own left. controls: name -> value.
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    controls: tuple[tuple[str, float], ...] = ()

    @property
    def is_neutral(self) -> bool:
        return not self.controls


@dataclasses.dataclass(frozen=True)
class Picture:
    """What the camera saw.

    rgb: (H, W, 3) uint8. triangle_ids: (H s, W s) int32, s = ``samples_per_px``, -1 = nothing; lashes (cards that
        would look like make-up) and corneas left out.
    barycentric: (H s, W s, 3) float32. vertices_px: (V, 2), vertices_cam_m: (V, 3) posed vertices.
    facing: (F,) cosine between each triangle's normal and the direction to the camera.
    """

    view: View
    rgb: np.ndarray
    triangle_ids: np.ndarray
    barycentric: np.ndarray
    vertices_px: np.ndarray
    vertices_cam_m: np.ndarray
    facing: np.ndarray
    samples_per_px: int


class TemplateStudio:
    """Renders views of one rig.

    Args:
        rig: any rig model. size_px: side of the square picture. samples_per_px: supersampling per axis.
    """

    def __init__(self, rig: RigModel, size_px: int = 512, samples_per_px: int = 2):
        self.rig, self.size_px, self.samples_per_px = rig, size_px, samples_per_px
        self.head = posable_head(rig)
        self.triangles, _, owner = rig.triangles_of_quads()
        part = rig.quad_parts[owner]
        self.part_names = np.array(rig.part_names)[part]
        self.solid = ~np.isin(self.part_names, ["lashes", "cornea_left", "cornea_right"])
        face = rig.template[rig.regions["face"]]
        self.centre = (face.min(0) + face.max(0)) / 2
        self.centre[2] -= 0.05
        self.height_m = float(np.ptp(face[:, 1]))
        self.eye_centres = {side: (rig.joint_regressor @ rig.template)[rig.joint_names.index(f"eye_{side}")] for side in ("left", "right")}
        self.outside = np.ones(len(self.triangles), bool)
        self.brow_outlines: tuple[np.ndarray, ...] = ()
        seen = np.zeros(len(self.triangles), bool)
        for yaw, pitch in itertools.product((-60, -25, 0, 25, 60), (-25, 0, 25)):
            ids = self._fragments(self._posed(View(yaw, pitch)), self.solid)[0]
            seen[np.unique(ids[ids >= 0])] = True
        self.outside = seen & np.isin(self.part_names, ["skin", "scalp"])
        """(F,) bool: skin that can be seen from in front while the mouth is shut: not the sockets, not the inside of the mouth."""
        on_outside = np.zeros(rig.num_vertices, bool)
        on_outside[self.triangles[self.outside].ravel()] = True
        self.vertex_inside = ~on_outside

    def _posed(self, view: View) -> np.ndarray:
        """(V, 3) m, camera frame (x right, y down, z forward)."""
        controls = torch.zeros(len(self.rig.expression_names))
        for name, value in view.controls:
            if name in self.rig.expression_names:
                controls[self.rig.expression_names.index(name)] = value
        rotations = torch.zeros(len(self.rig.joint_names), 3)
        if "jawOpen" not in self.rig.expression_names and "jaw" in self.rig.joint_names:
            rotations[self.rig.joint_names.index("jaw"), 0] = JAW_OPEN_RAD * dict(view.controls).get("jawOpen", 0.0)
        vertices = self.head.pose(controls, rotations).numpy().astype(np.float64)
        yaw, pitch = np.radians([view.yaw_deg, view.pitch_deg])
        about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        turned = (vertices - self.centre) @ (about_x @ about_y).T
        return turned * [1, -1, -1] + [0, 0, 4.5 * self.height_m]

    @property
    def px_from_cam(self) -> np.ndarray:
        """(3, 3) K: the face fills about 45 % of the picture's height at 4.5 times its height away."""
        return intrinsics(0.45 * 4.5 * self.size_px, (self.size_px / 2, self.size_px / 2))

    def _fragments(self, vertices_cam: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scale = np.diag([self.samples_per_px, self.samples_per_px, 1.0])
        side = self.size_px * self.samples_per_px
        ids = np.flatnonzero(chosen)
        fragments = rasterise(
            torch.from_numpy(vertices_cam).float(), torch.from_numpy(np.ascontiguousarray(self.triangles[ids], dtype=np.int32)),
            torch.from_numpy(scale @ self.px_from_cam).float(), (side, side),
        )
        local = np.asarray(fragments.triangle_ids)
        return np.where(local >= 0, ids[local], -1), np.asarray(fragments.barycentric)

    def picture(self, view: View) -> Picture:
        """Renders one view."""
        vertices = self._posed(view)
        ids, barycentric = self._fragments(vertices, self.solid)
        shading = self._shading(vertices)
        colour = np.empty((*ids.shape, 3), np.float32)
        colour[:] = BACKGROUND
        hit = ids >= 0
        corners = self.triangles[ids[hit]]
        weights = barycentric[hit]
        light = np.einsum("nc,nc->n", shading[corners], weights)
        colour[hit] = self._albedo(ids[hit], corners, weights) * light[:, None]
        s, side = self.samples_per_px, self.size_px
        linear = colour.reshape(side, s, side, s, 3).mean((1, 3))
        rgb = (np.clip(linear, 0, 1) * 255 + 0.5).astype(np.uint8)
        posed = vertices[self.triangles]
        normal = np.cross(posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0])
        to_camera = -posed.mean(1)
        facing = (normal * to_camera).sum(1) / (np.linalg.norm(normal, axis=1) * np.linalg.norm(to_camera, axis=1) + 1e-12)
        flat = vertices @ self.px_from_cam.T
        return Picture(view, rgb, ids, barycentric, flat[:, :2] / flat[:, 2:], vertices, facing, s)

    def _shading(self, vertices_cam: np.ndarray) -> np.ndarray:
        """(V,) brightness: a soft light from above the camera over an even base; the same on both sides."""
        posed = vertices_cam[self.triangles]
        normal = np.cross(posed[:, 1] - posed[:, 0], posed[:, 2] - posed[:, 0])
        total = np.zeros_like(vertices_cam)
        for corner in range(3):
            np.add.at(total, self.triangles[:, corner], normal)
        total /= np.linalg.norm(total, axis=1, keepdims=True) + 1e-12
        above = np.array([0.0, -0.75, -0.7])
        front = np.array([0.0, 0.1, -1.0])
        lit = [np.clip(total @ (direction / np.linalg.norm(direction)), 0, 1) for direction in (above, front)]
        return (0.36 + 0.56 * lit[0] + 0.10 * lit[1]).astype(np.float32)

    def _albedo(self, ids: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(N, 3) colour of surface points given as triangle and weights."""
        rig = self.rig
        parts = self.part_names[ids]
        share = lambda mask: np.einsum("nc,nc->n", mask[corners].astype(np.float32), weights)  # noqa: E731
        colour = np.empty((len(ids), 3), np.float32)
        colour[:] = SKIN
        is_skin = np.isin(parts, ["skin", "scalp"])
        rest = np.einsum("ncx,nc->nx", rig.template[corners], weights)
        for outline in self.brow_outlines:
            inside = is_skin & _inside(rest[:, :2], outline[:, :2]) & (rest[:, 2] > outline[:, 2].min() - 0.01)
            colour[inside] = BROWS
        colour[is_skin & (share(rig.regions["lips_upper"] | rig.regions["lips_lower"]) > 0.5)] = LIPS
        seam = rig.regions["lip_inner_upper"] | rig.regions["lip_inner_lower"]
        colour[is_skin & (share(seam) > 0.6)] = LIP_SEAM
        rims = np.any([rig.regions[name] for name in ("lid_upper_left", "lid_upper_right", "lid_lower_left", "lid_lower_right")], axis=0)
        colour[is_skin & (share(rims) > 0.5)] = LASH_LINE
        # A lip rim also borders the red of the lip; only what is turned inwards is dark.
        colour[is_skin & (share(self.vertex_inside) > 0.5)] = MOUTH_INSIDE
        colour[np.isin(parts, ["teeth_upper", "teeth_lower"])] = TEETH
        colour[parts == "tongue"] = TONGUE
        for side, centre in self.eye_centres.items():
            eye = parts == f"eye_{side}"
            from_axis = np.linalg.norm(rest[eye, :2] - centre[:2], axis=1)
            from_axis[rest[eye, 2] < centre[2]] = 1
            paint = np.empty((len(from_axis), 3), np.float32)
            paint[:] = SCLERA
            paint[from_axis < IRIS_RADIUS_M] = LIMBUS
            paint[from_axis < 0.88 * IRIS_RADIUS_M] = IRIS
            paint[from_axis < PUPIL_RADIUS_M] = PUPIL
            colour[eye] = paint
        return colour


def _inside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    from ..rig.rims import inside_polygon

    return inside_polygon(points, polygon)
