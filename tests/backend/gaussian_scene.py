"""A cloud of splats in front of a camera, and what it should look like according to code that is slow and obvious."""

from __future__ import annotations

import dataclasses

import torch

from backend.benchmarks.gaussian_reference import composite_dense
from backend.render.gaussians import GaussianImage, render_gaussians


@dataclasses.dataclass
class Cloud:
    """N splats around (0, 0, 0.6) m with a camera that is turned a little."""

    means_m: torch.Tensor
    quaternions: torch.Tensor
    scales_m: torch.Tensor
    opacities: torch.Tensor
    colours: torch.Tensor
    background: torch.Tensor
    cam_from_world: torch.Tensor
    px_from_cam: torch.Tensor
    size_hw: tuple[int, int]

    @classmethod
    def random(cls, num: int = 60, size_hw: tuple[int, int] = (21, 38), num_channels: int = 3, seed: int = 0, device="cpu", dtype=torch.float32) -> Cloud:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        height, width = size_hw
        means = normal(num, 3) * torch.tensor([0.08, 0.06, 0.05])
        means[:, 2] += 0.6
        turn = torch.matrix_exp(torch.tensor([[0, -0.1, 0.05], [0.1, 0, -0.08], [-0.05, 0.08, 0]], dtype=torch.float64))
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = turn
        pose[:3, 3] = torch.tensor([0.05, 0.02, 0.01])
        focal = 2.5 * max(size_hw)
        lens = torch.tensor([[focal, 0.0, width * 0.52], [0.0, 1.1 * focal, height * 0.47], [0.0, 0.0, 1.0]], dtype=torch.float64)
        values = (
            means, normal(num, 4), 0.006 * torch.exp(0.5 * normal(num, 3)), torch.sigmoid(1.5 * normal(num)), normal(num, num_channels).abs(),
            normal(num_channels).abs(), pose, lens,
        )  # fmt: skip
        return cls(*(value.to(device, dtype) for value in values), size_hw)

    def leaves(self) -> dict[str, torch.Tensor]:
        """The tensors that carry gradients, as new leaves."""
        names = ("means_m", "quaternions", "scales_m", "opacities", "colours", "background", "cam_from_world")
        return {name: getattr(self, name).detach().clone().requires_grad_() for name in names}

    def render(self, leaves: dict[str, torch.Tensor] | None = None, **options) -> GaussianImage:
        return render_gaussians(**(leaves or self.leaves()), px_from_cam=self.px_from_cam, size_hw=self.size_hw, **options)


def rotations(quaternions: torch.Tensor) -> torch.Tensor:
    """(N, 3, 3) by rotating the axes: v + 2 w (q x v) + 2 q x (q x v)."""
    unit = quaternions / quaternions.norm(dim=-1, keepdim=True)
    axes = torch.eye(3, dtype=unit.dtype, device=unit.device).expand(len(unit), 3, 3)
    vector = unit[:, None, 1:].expand_as(axes)
    once = torch.linalg.cross(vector, axes)
    return (axes + 2 * unit[:, None, :1] * once + 2 * torch.linalg.cross(vector, once)).transpose(1, 2)


def slow_projection(leaves: dict[str, torch.Tensor], cloud: Cloud, near_m: float = 0.01) -> tuple[torch.Tensor, ...]:
    """means_px, conics, depths_m, is_visible: the covariance is carried through the camera's Jacobian, which autograd takes."""
    rotation, shift = leaves["cam_from_world"][:3, :3], leaves["cam_from_world"][:3, 3]
    linear = rotations(leaves["quaternions"]) * leaves["scales_m"][:, None]
    covariance = rotation @ linear @ linear.transpose(1, 2) @ rotation.T
    centres = leaves["means_m"] @ rotation.T + shift
    height, width = cloud.size_hw
    fx, fy, cx, cy = (float(cloud.px_from_cam[r, c]) for r, c in ((0, 0), (1, 1), (0, 2), (1, 2)))
    x, y, z = centres.unbind(-1)
    is_visible = z > near_m
    z = torch.where(is_visible, z, 1.0)
    x_slope = (x / z).clamp(-cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx)
    y_slope = (y / z).clamp(-cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx * x_slope / z, zero, fy / z, -fy * y_slope / z], -1).view(-1, 2, 3)
    flat = jacobian @ covariance @ jacobian.transpose(1, 2) + 0.3 * torch.eye(2, dtype=z.dtype, device=z.device)
    inverse = torch.linalg.inv(flat)
    conics = torch.stack([inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]], -1)
    return torch.stack([fx * x / z + cx, fy * y / z + cy], -1), conics, centres[:, 2], is_visible


def slow_picture(leaves: dict[str, torch.Tensor], cloud: Cloud) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """colour, alpha, depth of every splat at every pixel."""
    means_px, conics, depths_m, is_visible = slow_projection(leaves, cloud)
    return composite_dense(means_px, conics, depths_m, is_visible, leaves["opacities"], leaves["colours"], leaves["background"], cloud.size_hw)


def weighted_sum(colour: torch.Tensor, alpha: torch.Tensor, depth_m: torch.Tensor | None, seed: int = 7) -> torch.Tensor:
    """A scalar in which every number of the picture counts differently."""
    generator = torch.Generator().manual_seed(seed)
    total = colour.new_zeros(())
    for picture in (colour, alpha, depth_m):
        if picture is not None:
            total = total + (picture * torch.randn(picture.shape, generator=generator, dtype=torch.float64).to(picture)).sum()
    return total


def assert_close(got: torch.Tensor, wanted: torch.Tensor, tolerance: float, name: str = "") -> None:
    """Largest difference over the largest wanted value."""
    assert got.shape == wanted.shape, f"{name}: {tuple(got.shape)} != {tuple(wanted.shape)}"
    if wanted.numel() == 0:
        return
    wanted = wanted.to(got)
    scale = max(float(wanted.detach().abs().max()), 1e-12)
    worst = float((got - wanted).detach().abs().max()) / scale
    assert worst <= tolerance, f"{name}: {worst:.2e} > {tolerance:.0e}"
