"""What nearest points on a mesh cost: near the surface, far from it, and making and renewing the tree."""

from __future__ import annotations

from pathlib import Path

import torch

from ..geometry.closest import build_tree, closest_points, points_on_triangles
from .case import Case
from .head_scene import HeadScene

_MILLION = 1_000_000


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """A million points in three places; the tree; growth with the points. There is no prototype."""
    vertices, triangles = scene.vertices_cam_m()[0], scene.triangles
    tree = build_tree(vertices, triangles)

    def case(name: str, title: str, points: torch.Tensor) -> Case:
        return Case(name, title, lambda: tree.closest(points))

    near = _near(vertices, triangles, _MILLION, 0.005)
    result = [
        case("closest.on.1M", "Nearest points, 1 M points on the head's surface", _near(vertices, triangles, _MILLION, 0.0)),
        case("closest.near.1M", "Nearest points, 1 M points about 5 mm from the surface", near),
        case("closest.far.1M", "Nearest points, 1 M points anywhere in the head's box and 10 cm around it", _around(vertices, _MILLION)),
        Case("closest.build", f"A tree over {len(triangles)} triangles", lambda: build_tree(vertices, triangles)),
        Case("closest.refit", "The tree after the vertices moved", lambda: tree.refitted(vertices), cost_of="closest.build"),
        Case("closest.once.10k", "Tree and 10 000 points in one call", lambda: closest_points(near[:10_000], vertices, triangles)),
    ]
    for thousands in (32, 64, 128, 256):
        points = near[: thousands * 1000]
        result.append(
            Case(f"closest.points.{thousands}k", f"{thousands} 000 points", lambda points=points: tree.closest(points), size=len(points), curve="nearest points")
        )
    return result


def _near(vertices: torch.Tensor, triangles: torch.Tensor, num: int, spread_m: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, len(triangles), (num,), generator=generator).to(vertices.device)
    weights = torch.rand(num, 3, generator=generator)
    on = points_on_triangles(vertices, triangles, ids, (weights / weights.sum(1, keepdim=True)).to(vertices.device))
    return on + spread_m * torch.randn(num, 3, generator=generator).to(vertices.device)


def _around(vertices: torch.Tensor, num: int) -> torch.Tensor:
    low, high = vertices.amin(0) - 0.1, vertices.amax(0) + 0.1
    return low + (high - low) * torch.rand(num, 3, generator=torch.Generator().manual_seed(0)).to(vertices.device)
