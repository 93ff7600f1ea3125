"""A packaged head as a rig model again: one person, who has no identity modes left."""

from __future__ import annotations

import numpy as np

from ..rig.model import LandmarkEmbedding, RigModel
from .model import Asset, AvatarPackage


def animation_scale(package: AvatarPackage) -> float:
    """Metres of the packaged mesh per unit of the rig it was made with."""
    asset: Asset = next(asset for asset in package.assets if asset.kind == "animation")
    scale = asset.info.get("scale", 1.0)
    return float(scale) if isinstance(scale, (int, float)) and not isinstance(scale, bool) and 0 < scale < np.inf else 1.0


def person_rig(package: AvatarPackage) -> RigModel:
    """The rig that the tracker fitted, with this person's neutral as its template, at the rig's own size.

    Nobody needs the head model's own file for it. What a package does not hold is unknown here: which vertices mirror each other, and where they
    came from. The joints stand where the package says; their regressor is the smallest one that puts them there.
    """
    mesh, scale = package.mesh, animation_scale(package)
    template = (mesh.vertices.astype(np.float64) / scale).astype(np.float32)
    num, names = len(template), mesh.shape_key_names
    unknown = np.full(num, -1, np.int32)
    mirror = {control.name: control.mirror for control in package.controls}
    correctives = None
    if mesh.correctives is not None:
        correctives = np.ascontiguousarray((mesh.correctives / np.float32(scale)).transpose(1, 2, 0))
    places = mesh.mediapipe478
    return RigModel(
        name=package.rig_name, source="avatar package", licences=package.licences, template=template, quads=mesh.quads, uv=mesh.uv, quad_uv=mesh.quad_uv,
        quad_parts=mesh.quad_parts, part_names=mesh.part_names, identity_basis=np.zeros((num, 3, 0), np.float32), identity_names=(),
        expression_basis=np.ascontiguousarray((mesh.shape_keys / np.float32(scale)).transpose(1, 2, 0)), expression_names=names,
        expression_limits=mesh.shape_key_limits, joint_names=mesh.joint_names, joint_parents=mesh.joint_parents,
        joint_regressor=_regressor(template, mesh.joints.astype(np.float64) / scale), skin_weights=mesh.skin_weights, mirror_vertices=unknown,
        mirror_expressions=np.array([names.index(other) if (other := mirror[name]) in names else index for index, name in enumerate(names)], np.int32),
        source_vertex_ids=unknown, regions=mesh.regions, correctives=correctives,
        mediapipe478=None if places is None else LandmarkEmbedding(places.triangle_ids, places.barycentric, places.spread_m),
    )


def _regressor(template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(J, V) float32 with rows that sum to 1 and ``regressor @ template`` = ``joints``, of least norm."""
    rows = np.concatenate([template.astype(np.float64), np.ones((len(template), 1))], 1)
    wanted = np.concatenate([joints, np.ones((len(joints), 1))], 1)
    return (wanted @ np.linalg.solve(rows.T @ rows, rows.T)).astype(np.float32)
