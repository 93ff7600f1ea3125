"""The head model every other part works with.

A rig model is a set of arrays: a template, what changes a person's shape, what changes an expression, and
a small skeleton. Which file it came from does not matter to anyone downstream.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ..storage import read_arrays, write_arrays

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class LandmarkEmbedding:
    """Where on a mesh the points of a landmark detector lie.

    triangle_ids: (L,) int32, index into ``RigModel.triangles``; -1 where the point has no place on the mesh.
    barycentric: (L, 3) float32, weights of the triangle's vertices, sum 1 (0 where there is no place).
    spread_m: (L,) float32, how far the views disagreed when the embedding was made.
    """

    triangle_ids: np.ndarray
    barycentric: np.ndarray
    spread_m: np.ndarray

    @property
    def is_placed(self) -> np.ndarray:
        """(L,) bool: the points that have a place."""
        return self.triangle_ids >= 0


@dataclasses.dataclass(frozen=True)
class RigModel:
    """A head model. Metres, Y up, the face looks along +Z, the subject's left is +X, origin at the neck base.

    A neutral person is ``template + identity_basis @ identity``; a rest pose adds ``expression_basis @ controls``;
    joints move with identity; linear blend skinning turns the joints (``rig.posing``).

    name: short name, e.g. "anny". source: what it was made from, with version. licences: one line each.
    template: (V, 3) float32 m.
    quads: (Q, 4) int32, counter-clockwise seen from outside; a triangle has -1 in the last place. The diagonal
        is always corner 0 to corner 2.
    uv: (T, 2) float32 in [0, 1], v up. quad_uv: (Q, 4) int32 into ``uv`` (-1 padding as in ``quads``).
    quad_parts: (Q,) uint8 into ``part_names`` (PARTS below).
    identity_basis: (V, 3, S) float32 m per standard deviation. identity_names: S names.
    expression_basis: (V, 3, E) float32 m per unit. expression_names: E names, ARKit spelling where one exists.
    expression_limits: (E, 2) float32, lowest and highest value.
    correctives: (V, 3, 9 (J - 1)) float32 or None: pose correctives, coefficients (R_j - I) row-major, joints 1..J-1.
    joint_names: J names out of root, neck, head, jaw, eye_left, eye_right. joint_parents: (J,) int32, -1 for the root.
    joint_regressor: (J, V) float32, rest joint = regressor @ neutral vertices.
    skin_weights: (V, J) float32, rows sum to 1.
    mirror_vertices: (V,) int32, the vertex on the other side (self on the middle line); -1 when unknown.
    mirror_expressions: (E,) int32, the control of the other side (self when it has none).
    source_vertex_ids: (V,) int32 into the body or file the head was cut from; -1 for vertices added by us.
    regions: name -> (V,) bool. Every model has: face (the front of the skin, what metrics are measured on),
        lips_upper, lips_lower, lip_inner_upper, lip_inner_lower (the two rims that meet when the mouth is shut),
        lid_upper_left, lid_lower_left, lid_upper_right, lid_lower_right (lid rims), eye_left, eye_right (eyeballs),
        neck_loop (the open border).
    mediapipe478, ibug68: landmark embeddings, or None until ``rig.embedding`` made them. Points 468..472 and
        473..477 of the first are the subject's right and left iris (centre, then four border points).
    """

    name: str
    source: str
    licences: tuple[str, ...]
    template: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    quad_uv: np.ndarray
    quad_parts: np.ndarray
    part_names: tuple[str, ...]
    identity_basis: np.ndarray
    identity_names: tuple[str, ...]
    expression_basis: np.ndarray
    expression_names: tuple[str, ...]
    expression_limits: np.ndarray
    joint_names: tuple[str, ...]
    joint_parents: np.ndarray
    joint_regressor: np.ndarray
    skin_weights: np.ndarray
    mirror_vertices: np.ndarray
    mirror_expressions: np.ndarray
    source_vertex_ids: np.ndarray
    regions: dict[str, np.ndarray]
    correctives: np.ndarray | None = None
    mediapipe478: LandmarkEmbedding | None = None
    ibug68: LandmarkEmbedding | None = None
    scope: str = "head"

    @property
    def num_vertices(self) -> int:
        return len(self.template)

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3) int32. Quad q gives (0, 1, 2) and then (0, 2, 3); triangles give one."""
        return self.triangles_of_quads()[0]

    def triangles_of_quads(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Triangles (F, 3) int32, their uv indices (F, 3) int32 and the quad each came from (F,) int32."""
        first = np.stack([self.quads[:, [0, 1, 2]], self.quad_uv[:, [0, 1, 2]]], 1)
        second = np.stack([self.quads[:, [0, 2, 3]], self.quad_uv[:, [0, 2, 3]]], 1)
        both = np.stack([first, second], 1).reshape(-1, 2, 3)
        keep = both[:, 0, 2] >= 0
        owner = np.repeat(np.arange(len(self.quads), dtype=np.int32), 2)
        return both[keep, 0], both[keep, 1], owner[keep]

    def replace(self, **changes: object) -> "RigModel":
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


PARTS = ("skin", "scalp", "lashes", "eye_left", "eye_right", "cornea_left", "cornea_right", "teeth_upper", "teeth_lower", "tongue")
"""Every part a quad may belong to. Models without one of them simply have no such quads. Corneas are clear."""


_TEXT_FIELDS = ("name", "source", "scope")
_TEXT_TUPLES = ("licences", "part_names", "identity_names", "expression_names", "joint_names")
_EMBEDDINGS = ("mediapipe478", "ibug68")


def write_rig_model(path: Path, rig: RigModel) -> None:
    """Writes a rig model as one ``.npz`` (docs/formats/rig.md)."""
    arrays: dict[str, np.ndarray] = {"format_version": np.array(FORMAT_VERSION)}
    for field in dataclasses.fields(rig):
        value = getattr(rig, field.name)
        if field.name in _EMBEDDINGS:
            if value is not None:
                for part in dataclasses.fields(value):
                    arrays[f"{field.name}.{part.name}"] = getattr(value, part.name)
        elif field.name == "regions":
            for region, mask in value.items():
                arrays[f"regions.{region}"] = mask
        elif value is not None:
            arrays[field.name] = np.asarray(value)
    write_arrays(path, arrays)


def read_rig_model(path: Path) -> RigModel:
    """Reads what ``write_rig_model`` wrote. Raises ``AvatarError`` (bad_input) when the file is damaged."""
    arrays = read_arrays(path)
    values: dict[str, object] = {}
    for field in dataclasses.fields(RigModel):
        name = field.name
        if name in _EMBEDDINGS:
            if f"{name}.triangle_ids" in arrays:
                values[name] = LandmarkEmbedding(*(arrays[f"{name}.{part.name}"] for part in dataclasses.fields(LandmarkEmbedding)))
        elif name == "regions":
            values[name] = {key.removeprefix("regions."): mask for key, mask in arrays.items() if key.startswith("regions.")}
        elif name in _TEXT_FIELDS:
            values[name] = str(arrays[name])
        elif name in _TEXT_TUPLES:
            values[name] = tuple(str(text) for text in arrays[name])
        elif name in arrays:
            values[name] = arrays[name]
    return RigModel(**values)  # type: ignore[arg-type]
