"""Anisotropic Gaussians ("splats") to a picture, differentiable in everything that an avatar trains.

``render_gaussians`` is the function to call. Its parts are public too: ``gaussian_projection`` (space to picture),
``gaussian_harmonics`` (colour by direction of view), ``gaussian_compositing`` (picture). Kernels by device: numba on the CPU;
on CUDA Warp, or gsplat where it is already compiled; torch elsewhere.
"""

from __future__ import annotations

import dataclasses

import torch

from .gaussian_compositing import ScreenGradients, composite_gaussians
from .gaussian_harmonics import harmonic_colours
from .gaussian_projection import project_gaussians


@dataclasses.dataclass(frozen=True)
class GaussianImage:
    """What the camera sees. With a batch of B every field starts with (B,).

    colour: (H, W, C) linear light, background included. alpha: (H, W), 0 = background.
    depth_m: (H, W) sum of weights times z of the centres in the camera frame, m, not divided by alpha; None unless asked for.
    means_px: (N, 2) centres in the picture, differentiable. radii_px: (N, 2) int32, 0 = culled.
    screen_gradients: filled by the backward pass; None unless asked for.
    """

    colour: torch.Tensor
    alpha: torch.Tensor
    depth_m: torch.Tensor | None
    means_px: torch.Tensor
    radii_px: torch.Tensor
    screen_gradients: ScreenGradients | None


_OWN_DIMENSIONS = {
    "means_m": 2, "opacities": 1, "cam_from_world": 2, "px_from_cam": 2, "colours": 2, "harmonics": 3, "quaternions": 2, "scales_m": 2, "transforms_m": 3,
    "covariances_m2": 3, "background": 1,
}


def render_gaussians(
    means_m: torch.Tensor,
    opacities: torch.Tensor,
    cam_from_world: torch.Tensor,
    px_from_cam: torch.Tensor,
    size_hw: tuple[int, int],
    *,
    colours: torch.Tensor | None = None,
    harmonics: torch.Tensor | None = None,
    quaternions: torch.Tensor | None = None,
    scales_m: torch.Tensor | None = None,
    transforms_m: torch.Tensor | None = None,
    covariances_m2: torch.Tensor | None = None,
    background: torch.Tensor | None = None,
    near_m: float = 0.01,
    far_m: float = 1e10,
    low_pass_px2: float = 0.3,
    use_depth: bool = False,
    use_screen_gradients: bool = False,
) -> GaussianImage:
    """Splats in one or several pictures.

    Every tensor may carry a leading batch dimension B (frames, cameras); those without are shared. Pictures are drawn one after
    the other, each with all threads: a splat's list of pixels has no use for a batch. Ragged scenes (another N per frame) are
    a loop over this function.

    Args:
        means_m: (N, 3) or (B, N, 3) float32, world frame, m.
        opacities: (N,) in [0, 1].
        cam_from_world: (4, 4), OpenCV axes. px_from_cam: (3, 3) K, no skew.
        size_hw: height and width, px.
        colours: (N, C), linear light or any features, C >= 1. Either these or
        harmonics: (N, K, C), K = 1, 4, 9, 16; colour = max(0, 0.5 + their sum along the ray from the camera to the centre).
        quaternions and scales_m, or transforms_m, or covariances_m2: shapes, see ``project_gaussians``.
        background: (C,), linear; None = black.
        near_m, far_m, low_pass_px2: see ``project_gaussians``.
        use_depth, use_screen_gradients: compute ``depth_m``; have the backward pass fill ``screen_gradients``.

    Returns:
        GaussianImage. Differentiable in every float tensor but K. Not differentiable: order, culling, thresholds.
        Same bits for any number of threads and any batch split on the CPU.

    Raises:
        ValueError, TypeError: shape, dtype or device. AvatarError: ``diverged`` for a value that is not finite.
    """
    if (colours is None) == (harmonics is None):
        raise ValueError("give either colours or harmonics")
    tensors = {
        "means_m": means_m, "opacities": opacities, "cam_from_world": cam_from_world, "px_from_cam": px_from_cam, "colours": colours, "harmonics": harmonics,
        "quaternions": quaternions, "scales_m": scales_m, "transforms_m": transforms_m, "covariances_m2": covariances_m2, "background": background,
    }
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    sizes = {name: len(tensor) for name, tensor in given.items() if tensor.ndim == _OWN_DIMENSIONS[name] + 1}
    num = next(iter(sizes.values()), None)
    for name, size in sizes.items():
        if size != num or size == 0:
            raise ValueError(f"{name} must have the batch of {next(iter(sizes))}, which must not be empty: {num}, got {size}")
    recorded = None
    if use_screen_gradients:
        recorded = ScreenGradients(*(means_m.new_zeros(*(() if num is None else (num,)), means_m.shape[-2], 2) for _ in range(2)))
    settings = {"near_m": near_m, "far_m": far_m, "low_pass_px2": low_pass_px2}
    if num is None:
        return _render_one(given, size_hw, settings, use_depth, recorded)
    images = []
    for b in range(num):
        one = {name: tensor[b] if name in sizes else tensor for name, tensor in given.items()}
        images.append(_render_one(one, size_hw, settings, use_depth, recorded and ScreenGradients(recorded.signed[b], recorded.absolute[b])))
    stacked = {name: torch.stack([getattr(image, name) for image in images]) for name in ("colour", "alpha", "means_px", "radii_px")}
    depth_m = torch.stack([image.depth_m for image in images if image.depth_m is not None]) if use_depth else None
    return GaussianImage(**stacked, depth_m=depth_m, screen_gradients=recorded)


def _render_one(
    given: dict[str, torch.Tensor], size_hw: tuple[int, int], settings: dict[str, float], use_depth: bool, recorded: ScreenGradients | None
) -> GaussianImage:
    shape = {name: given[name] for name in ("quaternions", "scales_m", "transforms_m", "covariances_m2") if name in given}
    projected = project_gaussians(given["means_m"], given["cam_from_world"], given["px_from_cam"], size_hw, **shape, **settings)
    colours = given.get("colours")
    if colours is None:
        cam_from_world = given["cam_from_world"]
        eye = -cam_from_world[:3, :3].T @ cam_from_world[:3, 3]
        colours = (harmonic_colours(given["harmonics"], given["means_m"] - eye) + 0.5).clamp_min(0)
    composite = composite_gaussians(
        projected, given["opacities"], colours, size_hw, given.get("background"), use_depth=use_depth, screen_gradients=recorded
    )
    return GaussianImage(composite.colour, composite.alpha, composite.depth_m, projected.means_px, projected.radii_px, recorded)
