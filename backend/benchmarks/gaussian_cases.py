"""Splats on the default head: a trainer's step, its variants, the prototype, a dense compositor, and how the cost grows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..render.gaussian_projection import project_gaussians
from ..render.gaussians import render_gaussians
from ..render.kernel_choice import forced_kernels
from .case import Case
from .gaussian_reference import composite_dense
from .head_scene import HeadScene
from .prototypes import load_prototype

_SCALE_M = 1.5e-3
_RENDER = "gaussians.render_gaussians"


def splats_on_head(scene: HeadScene, num: int, scale_m: float = _SCALE_M, seed: int = 0) -> dict[str, torch.Tensor]:
    """``num`` splats on the head's triangles in the camera frame, within 1 mm of the surface, by area.

    Returns:
        means_m, quaternions, scales_m, opacities (median 0.73), colours (the normals, 0 to 1), all float32 on the scene's device.
    """
    generator = torch.Generator().manual_seed(seed)
    corners = scene.vertices_cam_m()[0].cpu()[scene.triangles.cpu().long()]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    areas = normals.norm(dim=-1)
    triangles = torch.multinomial(areas, num, replacement=True, generator=generator)
    weights = torch.rand(num, 2, generator=generator)
    weights = torch.where(weights.sum(-1, keepdim=True) > 1, 1 - weights, weights)
    weights = torch.cat([weights, 1 - weights.sum(-1, keepdim=True)], -1)
    unit = normals / areas.clamp_min(1e-12)[:, None]
    heights = 1e-3 * (2 * torch.rand(num, 1, generator=generator) - 1)
    values = {
        "means_m": (corners[triangles] * weights[..., None]).sum(1) + heights * unit[triangles],
        "quaternions": torch.randn(num, 4, generator=generator),
        "scales_m": scale_m * torch.exp(0.4 * torch.randn(num, 3, generator=generator)),
        "opacities": torch.sigmoid(1 + 1.5 * torch.randn(num, generator=generator)),
        "colours": 0.5 + 0.5 * unit[triangles],
    }
    return {name: value.to(scene.device) for name, value in values.items()}


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """See ``case.Case``. The loss is a weighted sum of the picture; the gradients go to every tensor that is trained."""
    prototype = load_prototype(prototypes_folder, "gs_numba") if scene.device.type == "cpu" else None
    made = []
    for num, side in ((10_000, 256), (50_000, 512)):
        step = _Step(scene, num, side)
        reference = _prototype_step(prototype, step) if prototype is not None else None
        title = f"{num // 1000}k splats at {side}², projection and compositing, forward + backward"
        made.append(
            Case(f"gaussians.{num // 1000}k.{side}", title, step.run, reference, "prototype" if reference else "", 1.15 if reference else None)
        )
    made += _variants(scene)
    step = _Step(scene, 1000, 96, 5 * _SCALE_M)  # 9 million (splat, pixel) pairs: about 0.6 GB for the dense one.
    made.append(
        Case(
            "gaussians.1k.96.dense", "1k splats at 96², forward + backward, against every splat at every pixel", step.run,
            _dense_step(step), "dense torch", 50.0, at_least=True,
        )
    )
    for num in (5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
        step = _Step(scene, num, 512)
        made.append(Case(f"gaussians.splats.{num}", f"{num // 1000}k splats at 512²", step.run, size=num, curve="gaussians.splats"))
    for side in (128, 256, 512, 768, 1024):
        step = _Step(scene, 50_000, side)
        made.append(Case(f"gaussians.pixels.{side}", f"50k splats at {side}²", step.run, size=side * side, curve="gaussians.pixels"))
    return made


class _Step:
    """One forward and backward pass; everything that does not change between steps is made here."""

    def __init__(
        self, scene: HeadScene, num: int, side: int, scale_m: float = _SCALE_M, use_depth: bool = False, use_screen_gradients: bool = False
    ) -> None:
        self.leaves = {name: value.requires_grad_() for name, value in splats_on_head(scene, num, scale_m).items()}
        self.size_hw = (side, side)
        self.px_from_cam = scene.px_from_cam(side)
        self.cam_from_world = torch.eye(4, device=scene.device)
        self.background = torch.zeros(3, device=scene.device)
        self.use_depth = use_depth
        self.use_screen_gradients = use_screen_gradients
        self.weights = torch.randn(side, side, 3, generator=torch.Generator().manual_seed(1)).to(scene.device)

    def run(self) -> torch.Tensor:
        self.forget()
        leaf = self.leaves.get
        image = render_gaussians(
            self.leaves["means_m"], self.leaves["opacities"], self.cam_from_world, self.px_from_cam, self.size_hw, colours=leaf("colours"),
            harmonics=leaf("harmonics"), quaternions=leaf("quaternions"), scales_m=leaf("scales_m"), transforms_m=leaf("transforms_m"),
            covariances_m2=leaf("covariances_m2"), background=self.background, use_depth=self.use_depth, use_screen_gradients=self.use_screen_gradients,
        )
        loss = (image.colour * self.weights).sum()
        if image.depth_m is not None:
            loss = loss + (image.alpha * self.weights[..., 0]).sum() + (image.depth_m * self.weights[..., 1]).sum()
        loss.backward()
        return image.colour

    def forget(self) -> None:
        for leaf in self.leaves.values():
            leaf.grad = None


def _variants(scene: HeadScene) -> list[Case]:
    """What each feature costs on top of 50k splats at 512²."""
    base = "gaussians.50k.512"
    made = []

    def add(name: str, title: str, step: _Step) -> None:
        made.append(Case(f"{base}.{name}", title, step.run, cost_of=base))

    add("depth", "with depth, and gradients to alpha and depth", _Step(scene, 50_000, 512, use_depth=True))
    add("screen", "with signed and absolute gradients in the picture", _Step(scene, 50_000, 512, use_screen_gradients=True))
    step = _Step(scene, 50_000, 512)
    del step.leaves["colours"]
    step.leaves["harmonics"] = (0.2 * torch.randn(50_000, 16, 3, generator=torch.Generator().manual_seed(2))).to(scene.device).requires_grad_()
    add("harmonics", "colours from spherical harmonics of degree 3", step)
    for name, title in (("transforms_m", "shapes as linear maps with shear"), ("covariances_m2", "shapes as full covariances")):
        step = _Step(scene, 50_000, 512)
        scales = step.leaves.pop("scales_m").detach()
        del step.leaves["quaternions"]
        maps = scales[:, None] * torch.randn(50_000, 3, 3, generator=torch.Generator().manual_seed(3)).to(scene.device)
        step.leaves[name] = (maps if name == "transforms_m" else maps @ maps.transpose(1, 2)).requires_grad_()
        add(name.split("_")[0], title, step)
    step = _Step(scene, 50_000, 512)
    step.cam_from_world.requires_grad_()
    add("pose", "with the gradient of the camera's pose", step)
    return made


def _prototype_step(prototype: Any, step: _Step) -> Callable[[], object]:
    """The same work by the measured prototype."""
    (fx, _, cx), (_, fy, cy), _ = step.px_from_cam.tolist()
    height, width = step.size_hw

    def run() -> torch.Tensor:
        step.forget()
        means_px, conics, depths = prototype.project_gs(
            step.leaves["means_m"], step.leaves["quaternions"], step.leaves["scales_m"], step.cam_from_world, fx, fy, cx, cy, width, height
        )
        arguments = (means_px, conics, step.leaves["colours"], step.leaves["opacities"], depths, width, height, [0.0, 0.0, 0.0])
        picture, _ = prototype.RasterizeGS.apply(*arguments)
        (picture * step.weights).sum().backward()
        return picture

    return run


def _dense_step(step: _Step) -> Callable[[], object]:
    """The same work with every splat at every pixel in plain torch."""

    def run() -> torch.Tensor:
        step.forget()
        leaves = step.leaves
        with forced_kernels("torch"):
            projected = project_gaussians(
                leaves["means_m"], step.cam_from_world, step.px_from_cam, step.size_hw, quaternions=leaves["quaternions"], scales_m=leaves["scales_m"]
            )
        splats = (projected.means_px, projected.conics, projected.depths_m, projected.radii_px[:, 0] > 0)
        picture, _, _ = composite_dense(*splats, leaves["opacities"], leaves["colours"], step.background, step.size_hw)
        (picture * step.weights).sum().backward()
        return picture

    return run
