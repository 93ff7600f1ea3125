"""Lashes are modelled as bands; these attributes let a material cut hairs out of them."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

STRAND, TIP = "lash_strand", "lash_tip"
"""Names of the point attributes: number of the hair (one per unit), and 0 at the lid to 1 at the tip."""

HAIR_SPACING_M = 0.0006


def add_lash_attributes(data: bpy.types.Mesh, mesh: Any) -> None:
    """Stores ``lash_strand`` and ``lash_tip`` on a mesh that has lashes; zero elsewhere.

    Args:
        data: the head's mesh. mesh: the package's ``MeshAsset``.
    """
    if "lashes" not in mesh.part_names:
        return
    faces = np.flatnonzero(mesh.quad_parts == mesh.part_names.index("lashes"))
    if not len(faces):
        return
    strand, tip = lash_coordinates(mesh, faces)
    for name, values in ((STRAND, strand), (TIP, tip)):
        data.attributes.new(name, "FLOAT", "POINT").data.foreach_set("value", values)


def lash_coordinates(mesh: Any, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the hair and place along it, for every vertex.

    Each connected band is straight in the texture; the side that is longer in space runs along the lid. Its root is the side nearer to the skin.

    Args:
        mesh: the package's ``MeshAsset``. faces: (n,) the lashes' faces.

    Returns:
        (V,) float32 hairs, (V,) float32 in [0, 1].
    """
    strand, tip = np.zeros(len(mesh.vertices), np.float32), np.zeros(len(mesh.vertices), np.float32)
    uv = np.zeros((len(mesh.vertices), 2))
    corners = mesh.quads[faces]
    uv[corners[corners >= 0]] = mesh.uv[mesh.quad_uv[faces][corners >= 0]]
    skin_faces = mesh.quads[~np.isin(np.arange(len(mesh.quads)), faces)]
    skin = mesh.vertices[np.unique(skin_faces[skin_faces >= 0])]
    for band in _bands(corners):
        low, size = uv[band].min(0), np.ptp(uv[band], axis=0)
        if (size <= 0).any():
            continue
        centred = uv[band] - uv[band].mean(0)
        metres_per_uv, *_ = np.linalg.lstsq(centred, mesh.vertices[band] - mesh.vertices[band].mean(0), rcond=None)
        sides_m = np.linalg.norm(metres_per_uv, axis=1) * size
        along = int(np.argmax(sides_m))
        strand[band] = (uv[band, along] - low[along]) / size[along] * round(sides_m[along] / HAIR_SPACING_M)
        across = (uv[band, 1 - along] - low[1 - along]) / size[1 - along]
        distance = np.sqrt(((mesh.vertices[band][:, None] - skin[None]) ** 2).sum(2).min(1))
        is_root_low = distance[across < 0.25].mean() < distance[across > 0.75].mean()
        tip[band] = across if is_root_low else 1 - across
    return strand, tip


def _bands(corners: np.ndarray) -> list[np.ndarray]:
    """Vertices of each connected piece of (n, 4) faces (-1 = none)."""
    label = {int(vertex): int(vertex) for vertex in np.unique(corners[corners >= 0])}
    has_changed = True
    while has_changed:
        has_changed = False
        for face in corners.tolist():
            lowest = min(label[vertex] for vertex in face if vertex >= 0)
            for vertex in face:
                if vertex >= 0 and label[vertex] != lowest:
                    label[vertex], has_changed = lowest, True
    vertices = np.array(list(label))
    labels = np.array(list(label.values()))
    return [vertices[labels == one] for one in np.unique(labels)]
