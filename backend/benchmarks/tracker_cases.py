"""What the tracker asks of the renderers besides pictures: which surface points are seen, and the light's basis at their normals."""

from __future__ import annotations

from pathlib import Path

from ..render.meshes import is_visible, rasterise
from ..render.shading import sh_basis
from ..render.surface_normals import vertex_normals
from .case import Case
from .head_scene import HeadScene

_FRAMES, _SIDE = 8, 128


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """A batch of poses as the photometric tracker looks at them."""
    del prototypes_folder  # no prototype does this
    vertices, camera = scene.vertices_cam_m(_FRAMES), scene.px_from_cam(_SIDE)
    one = rasterise(vertices[0], scene.triangles, camera, (_SIDE, _SIDE))

    def normals() -> object:
        return sh_basis(directions=vertex_normals(vertices, scene.triangles))

    return [
        Case(f"tracker.depth.{_FRAMES}x{_SIDE}", f"Depth of {_FRAMES} poses, {_SIDE} x {_SIDE}", lambda: rasterise(vertices, scene.triangles, camera, (_SIDE, _SIDE))),
        Case(f"tracker.normals.{_FRAMES}", f"Vertex normals of {_FRAMES} poses and the light's basis there", normals),
        Case("tracker.visible", "Which of all vertices a picture shows", lambda: is_visible(one, camera, vertices[0], tolerance_m=0.004)),
    ]
