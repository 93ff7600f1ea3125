"""Where things are on a rig's template: what the painter and the hairdresser need to know, found from regions and joints."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ..render.surface_normals import vertex_normals
from ..rig.landmark_names import BROW_LEFT, BROW_RIGHT, LIP_OUTER_LOWER, LIP_OUTER_UPPER
from ..rig.model import RigModel
from ..rig.solid_parts import solid_mask
from .occlusion import ambient_openness

# Half outline of the hair in side view: (forward of the eyes, above the eyes), in units of the height from the eyes to the crown.
_HAIRLINE = (
    (0.42, 0.62), (0.1, 0.615), (-0.06, 0.56), (-0.24, 0.47), (-0.385, 0.36), (-0.45, 0.21), (-0.46, -0.02), (-0.56, -0.02), (-0.6, 0.18),
    (-0.68, 0.26), (-0.93, 0.27), (-1.1, 0.1), (-1.18, -0.2), (-1.26, -0.5), (-1.5, -0.66), (-2.2, -0.7), (-2.2, 3.0), (0.42, 3.0),
)
HAIR_EDGE_M = 0.006


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Landmarks of a template, root frame, m.

    eyes: (2, 3) centres, left then right. crown_m: height of the crown.
    brows: two (P, 3) closed outlines, left then right. nose_tip, chin: (3,).
    normals: (V, 3). openness: (V,) ambient openness with the face at rest.
    lips, is_inside: (V,) float32 in [0, 1]: the red of the lips; what cannot be seen with the face at rest.
    lip_outline: (P, 3) closed outline of the red, from the landmark embedding, or None.
    """

    eyes: np.ndarray
    crown_m: float
    brows: tuple[np.ndarray, np.ndarray]
    nose_tip: np.ndarray
    chin: np.ndarray
    normals: np.ndarray
    openness: np.ndarray
    lips: np.ndarray
    is_inside: np.ndarray
    lip_outline: np.ndarray | None

    @property
    def eye_height_m(self) -> float:
        return float(self.eyes[:, 1].mean())

    def hair_depth_m(self, points: np.ndarray) -> np.ndarray:
        """(...,) signed distance of (..., 3) template points into the region where hair grows, m (positive inside), seen from the side."""
        unit = self.crown_m - self.eye_height_m
        outline = np.array(_HAIRLINE) * unit + [self.eyes[:, 2].mean(), self.eye_height_m]
        return signed_distance(np.stack([points[..., 2], points[..., 1]], -1), outline)


def study(rig: RigModel) -> Anatomy:
    """Reads the template of a rig."""
    triangles = rig.triangles
    template = rig.template.astype(np.float64)
    normals = vertex_normals(torch.from_numpy(template), torch.from_numpy(triangles)).numpy()
    names = np.array(rig.part_names)[rig.quad_parts]
    is_skin = np.zeros(rig.num_vertices, bool)
    skin_quads = rig.quads[np.isin(names, ["skin", "scalp"])]
    is_skin[skin_quads[skin_quads >= 0]] = True
    solid = solid_mask(rig)
    openness = ambient_openness(template, triangles[solid], normals)
    joints = rig.joint_regressor @ template
    eyes = np.stack([joints[rig.joint_names.index(f"eye_{side}")] for side in ("left", "right")])
    lips = (rig.regions["lips_upper"] | rig.regions["lips_lower"]).astype(np.float32)
    mouth = template[rig.regions["lips_upper"]].mean(0)
    middle = is_skin & (np.abs(template[:, 0]) < 0.01) & (openness > 0.2)
    between = middle & (template[:, 1] > mouth[1]) & (template[:, 1] < eyes[:, 1].mean())
    nose_tip = template[between][template[between][:, 2].argmax()]
    below = middle & (template[:, 1] < template[rig.regions["lips_lower"]][:, 1].min())
    chin = template[below][(template[below] @ [0, -0.7, 1.0]).argmax()]
    crown = float(template[is_skin][:, 1].max())
    brows = tuple(_brow(rig, ids, eyes[side], template) for side, ids in enumerate((BROW_LEFT, BROW_RIGHT)))
    outline = _embedded(rig, LIP_OUTER_UPPER + LIP_OUTER_LOWER[-2:0:-1], template)
    inside = np.where(is_skin, np.clip((0.10 - openness) / 0.07, 0, 1), 0).astype(np.float32)
    return Anatomy(eyes, crown, brows, nose_tip, chin, normals.astype(np.float32), openness, lips, inside, outline)  # type: ignore[arg-type]


def _brow(rig: RigModel, points: tuple[int, ...], eye: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Outline of a brow: from the landmark embedding when the rig has one, else an arch above the eye."""
    outline = _embedded(rig, points, template)
    if outline is not None:
        return outline
    side = np.sign(eye[0])
    across = np.linspace(0, 1, 5)
    x = abs(eye[0]) - 0.019 + 0.043 * across
    middle = eye[1] + 0.0215 + 0.0065 * np.sin(np.pi * (0.15 + 0.75 * across))
    half = 0.0034 * (1 - 0.6 * across**2)
    upper, lower = np.stack([x, middle + half], -1), np.stack([x, middle - half], -1)
    flat = np.concatenate([upper, lower[::-1]])
    return np.concatenate([flat * [side, 1], np.full((len(flat), 1), eye[2])], -1)


def _embedded(rig: RigModel, points: tuple[int, ...], template: np.ndarray) -> np.ndarray | None:
    """(P, 3) template positions of landmarks, None when the rig has no embedding or one of them has no place."""
    embedding = rig.mediapipe478
    if embedding is None or not embedding.is_placed[list(points)].all():
        return None
    corners = rig.triangles[embedding.triangle_ids[list(points)]]
    return np.einsum("pc,pcx->px", embedding.barycentric[list(points)], template[corners])


def signed_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """(...,) distance of (..., 2) points to a closed (P, 2) polygon, positive inside."""
    flat = points.reshape(-1, 2)
    nearest = np.full(len(flat), np.inf)
    is_inside = np.zeros(len(flat), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0)):
        edge, offset = b - a, flat - a
        along = np.clip(offset @ edge / max(edge @ edge, 1e-18), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(offset - along[:, None] * edge, axis=1))
        if a[1] != b[1]:
            crosses = (a[1] <= flat[:, 1]) != (b[1] <= flat[:, 1])
            is_inside ^= crosses & (flat[:, 0] < a[0] + (flat[:, 1] - a[1]) / (b[1] - a[1]) * edge[0])
    return np.where(is_inside, nearest, -nearest).reshape(points.shape[:-1])
