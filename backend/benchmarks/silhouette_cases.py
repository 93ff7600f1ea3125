"""Silhouette antialiasing of the head, forward and backward to colours and positions, against the prototype."""

from __future__ import annotations

from pathlib import Path

import torch

from ..render.edge_topology import edge_topology
from ..render.interpolation import homogeneous_from_cam
from ..render.meshes import rasterise
from ..render.silhouettes import antialias
from .case import Case
from .head_scene import HeadScene
from .prototypes import load_prototype

_SIZES_PX = (128, 256, 512, 1024)


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    prototype = load_prototype(prototypes_folder, "aa_edges")
    return [_case(scene, side, prototype) for side in _SIZES_PX]


def _case(scene: HeadScene, side: int, prototype) -> Case:  # noqa: ANN001
    vertices, matrix = scene.vertices_cam_m(1)[0], scene.px_from_cam(side)
    fragments = rasterise(vertices, scene.triangles, matrix, (side, side))
    homogeneous = homogeneous_from_cam(vertices, matrix)
    topology = edge_topology(scene.triangles)
    colour, upstream = torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(0)).to(scene.device)
    colour = torch.where(fragments.is_covered[..., None], colour, 0)

    def run() -> object:
        inputs = (colour.detach().requires_grad_(), homogeneous.detach().requires_grad_())
        return torch.autograd.grad(antialias(inputs[0], fragments, inputs[1], topology), inputs, upstream)

    reference = None
    if prototype is not None:
        # Its positions are (x px, y px, depth, 1 / w) with a depth that is linear in the picture: -1 / z.
        inverse = 1 / homogeneous[:, 2:]
        positions = torch.cat([homogeneous[:, :2] * inverse, -inverse, inverse], -1)[None]
        depth = torch.where(fragments.is_covered, -1 / fragments.depth_m, 3e38)[None]
        edges = prototype.edge_table(scene.triangles.cpu().numpy()).to(scene.device)

        def reference() -> object:
            inputs = (colour[None].detach().requires_grad_(), positions.detach().requires_grad_())
            return torch.autograd.grad(prototype.antialias_edges(inputs[0], depth, inputs[1], edges), inputs, upstream[None])

    return Case(
        f"silhouettes.antialias.{side}", f"Silhouette antialiasing, forward and backward to colours and positions, {side} x {side}", run, reference, "prototype", reach=1.15, size=side * side, curve="silhouettes",
    )
