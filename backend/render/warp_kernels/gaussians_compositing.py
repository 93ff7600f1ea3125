"""Splats over one another on NVIDIA cards (Warp): one thread per pixel, 256 neighbours share a tile's list.

Gradients of a splat are added atomically over the pixels, so their last bits vary from run to run on a GPU.
"""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from ..kernel_choice import warp_module
from .gaussians_projection import launch_place

if TYPE_CHECKING:
    from ..gaussian_compositing import ScreenGradients
    from ..gaussian_projection import ProjectedGaussians

_TILE_PX = 16


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()

    @wp.kernel(module="unique", enable_backward=False)
    def bound(
        means_px: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), radii: wp.array2d(dtype=wp.int32), opacities: wp.array(dtype=wp.float32),
        height: wp.int32, width: wp.int32, tiles: wp.array2d(dtype=wp.int32), counts: wp.array(dtype=wp.int64),
    ):  # fmt: skip
        """First and last tile column, first and last tile row; the same box as numba's ``pack_splats``."""
        i = wp.tid()
        counts[i] = wp.int64(0)
        a = wp.float64(conics[i][0])
        b = wp.float64(conics[i][1])
        c = wp.float64(conics[i][2])
        det = a * c - b * b
        zero = wp.float64(0.0)
        half = wp.float64(0.5)
        if radii[i, 0] > 0 and radii[i, 1] > 0 and opacities[i] >= wp.float32(1.0 / 255.0) and det > zero and a > zero:
            x = wp.float64(means_px[i][0])
            y = wp.float64(means_px[i][1])
            reach = wp.float64(2.0) * wp.log(wp.float64(opacities[i]) * wp.float64(255.0)) + wp.float64(1.0e-5)
            half_x = wp.sqrt(reach * c / det) * wp.float64(1.0001)
            half_y = wp.sqrt(reach * a / det) * wp.float64(1.0001)
            x_end = wp.float64(width) - half
            y_end = wp.float64(height) - half
            if x + half_x >= half and x - half_x <= x_end and y + half_y >= half and y - half_y <= y_end:
                x_first = wp.int32(wp.ceil(wp.max(x - half_x - half, zero)))
                x_last = wp.int32(wp.floor(wp.min(x + half_x - half, x_end - half)))
                y_first = wp.int32(wp.ceil(wp.max(y - half_y - half, zero)))
                y_last = wp.int32(wp.floor(wp.min(y + half_y - half, y_end - half)))
                if x_first <= x_last and y_first <= y_last:
                    tiles[i, 0] = x_first / 16
                    tiles[i, 1] = x_last / 16
                    tiles[i, 2] = y_first / 16
                    tiles[i, 3] = y_last / 16
                    counts[i] = wp.int64((x_last / 16 - x_first / 16 + 1) * (y_last / 16 - y_first / 16 + 1))

    @wp.kernel(module="unique", enable_backward=False)
    def emit(
        tiles: wp.array2d(dtype=wp.int32), counts: wp.array(dtype=wp.int64), ends: wp.array(dtype=wp.int64), depths: wp.array(dtype=wp.float32),
        tiles_x: wp.int32, keys: wp.array(dtype=wp.int64), ids: wp.array(dtype=wp.int32),
    ):  # fmt: skip
        i = wp.tid()
        if counts[i] > wp.int64(0):
            k = wp.int32(ends[i] - counts[i])
            depth = wp.int64(wp.cast(depths[i], wp.uint32))
            for tile_y in range(tiles[i, 2], tiles[i, 3] + 1):
                for tile_x in range(tiles[i, 0], tiles[i, 1] + 1):
                    keys[k] = (wp.int64(tile_y * tiles_x + tile_x) << wp.int64(32)) | depth
                    ids[k] = i
                    k += 1

    @wp.func
    def falloff(mean: wp.vec2, conic: wp.vec3, x: wp.float32, y: wp.float32):
        """dx, dy, sigma."""
        dx = mean[0] - x
        dy = mean[1] - y
        return wp.vec3(dx, dy, 0.5 * (conic[0] * dx * dx + conic[2] * dy * dy) + conic[1] * dx * dy)

    @wp.kernel(module="unique", enable_backward=False)
    def forward(
        means_px: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), opacities: wp.array(dtype=wp.float32), features: wp.array2d(dtype=wp.vec4),
        background: wp.array(dtype=wp.vec4), starts: wp.array(dtype=wp.int64), ids: wp.array(dtype=wp.int32), tiles_x: wp.int32,
        picture: wp.array3d(dtype=wp.vec4), transmittance: wp.array2d(dtype=wp.float32), last: wp.array2d(dtype=wp.int32),
    ):  # fmt: skip
        group, tile, pixel = wp.tid()
        column = (tile % tiles_x) * 16 + pixel % 16
        row = (tile / tiles_x) * 16 + pixel / 16
        if row < transmittance.shape[0] and column < transmittance.shape[1]:
            x = wp.float32(column) + 0.5
            y = wp.float32(row) + 0.5
            left = wp.float32(1.0)
            total = wp.vec4(0.0, 0.0, 0.0, 0.0)
            final = wp.int32(-1)
            k = wp.int32(starts[tile])
            end = wp.int32(starts[tile + 1])
            while k < end:
                i = ids[k]
                d = falloff(means_px[i], conics[i], x, y)
                alpha = wp.min(wp.float32(0.999), opacities[i] * wp.exp(-d[2]))
                if d[2] >= 0.0 and alpha >= wp.float32(1.0 / 255.0):
                    after = left * (1.0 - alpha)
                    if after <= wp.float32(1.0e-4):
                        k = end
                    else:
                        total = total + (alpha * left) * features[i, group]
                        left = after
                        final = k
                k += 1
            picture[row, column, group] = total + left * background[group]
            if group == 0:
                transmittance[row, column] = left
                last[row, column] = final

    @wp.kernel(module="unique", enable_backward=False)
    def backward(
        means_px: wp.array(dtype=wp.vec2), conics: wp.array(dtype=wp.vec3), opacities: wp.array(dtype=wp.float32), features: wp.array2d(dtype=wp.vec4),
        background: wp.array(dtype=wp.vec4), starts: wp.array(dtype=wp.int64), ids: wp.array(dtype=wp.int32), tiles_x: wp.int32,
        transmittance: wp.array2d(dtype=wp.float32), last: wp.array2d(dtype=wp.int32), grad_picture: wp.array3d(dtype=wp.vec4),
        grad_alpha: wp.array2d(dtype=wp.float32), use_absolute: wp.int32, grad_means: wp.array(dtype=wp.vec2), grad_conics: wp.array(dtype=wp.vec3),
        grad_opacities: wp.array(dtype=wp.float32), grad_features: wp.array2d(dtype=wp.vec4), grad_absolute: wp.array(dtype=wp.vec2),
    ):  # fmt: skip
        tile, pixel = wp.tid()
        column = (tile % tiles_x) * 16 + pixel % 16
        row = (tile / tiles_x) * 16 + pixel / 16
        if row < transmittance.shape[0] and column < transmittance.shape[1]:
            x = wp.float32(column) + 0.5
            y = wp.float32(row) + 0.5
            num_groups = features.shape[1]
            left = transmittance[row, column]
            behind = -grad_alpha[row, column]
            for group in range(num_groups):
                behind += wp.dot(grad_picture[row, column, group], background[group])
            behind = behind * left
            first = wp.int32(starts[tile])
            k = last[row, column]
            while k >= first:
                i = ids[k]
                conic = conics[i]
                d = falloff(means_px[i], conic, x, y)
                opacity = opacities[i]
                bell = wp.exp(-d[2])
                alpha = wp.min(wp.float32(0.999), opacity * bell)
                if d[2] >= 0.0 and alpha >= wp.float32(1.0 / 255.0):
                    inverse = 1.0 / (1.0 - alpha)
                    left = left * inverse
                    weight = alpha * left
                    along = wp.float32(0.0)
                    for group in range(num_groups):
                        g = grad_picture[row, column, group]
                        along += wp.dot(g, features[i, group])
                        wp.atomic_add(grad_features, i, group, weight * g)
                    slope = along * left - behind * inverse
                    behind += along * weight
                    if opacity * bell < wp.float32(0.999):
                        s = -alpha * slope
                        pull = wp.vec2(s * (conic[0] * d[0] + conic[1] * d[1]), s * (conic[1] * d[0] + conic[2] * d[1]))
                        wp.atomic_add(grad_means, i, pull)
                        wp.atomic_add(grad_conics, i, wp.vec3(0.5 * s * d[0] * d[0], s * d[0] * d[1], 0.5 * s * d[1] * d[1]))
                        wp.atomic_add(grad_opacities, i, bell * slope)
                        if use_absolute != 0:
                            wp.atomic_add(grad_absolute, i, wp.vec2(wp.abs(pull[0]), wp.abs(pull[1])))
                k -= 1

    return SimpleNamespace(wp=wp, bound=bound, emit=emit, forward=forward, backward=backward)


def composite(
    projected: ProjectedGaussians, opacities: torch.Tensor, colours: torch.Tensor, background: torch.Tensor, size: tuple[int, int], use_depth: bool,
    screen_gradients: ScreenGradients | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """See ``gaussian_compositing.composite_gaussians``. One host synchronisation, for the length of the tiles' lists."""
    num_channels = colours.shape[1]
    features = [colours] + [projected.depths_m[:, None]] * use_depth
    padding = -(num_channels + int(use_depth)) % 4
    packed = torch.cat([*features, colours.new_zeros(len(colours), padding)], 1)
    behind = torch.cat([background, background.new_zeros(int(use_depth) + padding)])
    arguments = (projected.means_px, projected.conics, opacities, packed, behind, projected.depths_m.detach(), projected.radii_px, size, screen_gradients)
    picture, alpha = _Compositing.apply(*arguments)
    return picture[..., :num_channels], alpha, picture[..., num_channels] if use_depth else None


class _Compositing(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means_px, conics, opacities, features, background, depths_m, radii_px, size, screen_gradients):  # type: ignore[no-untyped-def]
        kernels = _kernels()
        wp = kernels.wp
        height, width = size
        num, num_groups = len(opacities), features.shape[1] // 4
        tiles_x = -(-width // _TILE_PX)
        num_tiles = tiles_x * -(-height // _TILE_PX)
        device = opacities.device
        saved = [tensor.detach().contiguous() for tensor in (means_px, conics, opacities, features, background)]
        tiles, counts = torch.empty(num, 4, dtype=torch.int32, device=device), torch.empty(num, dtype=torch.int64, device=device)
        place = launch_place(wp, opacities)
        if num > 0:
            inputs = [wp.from_torch(saved[0], dtype=wp.vec2), wp.from_torch(saved[1], dtype=wp.vec3), wp.from_torch(radii_px.contiguous()), wp.from_torch(saved[2])]
            wp.launch(kernels.bound, dim=num, inputs=[*inputs, height, width, wp.from_torch(tiles), wp.from_torch(counts)], **place)
        ends = counts.cumsum(0)
        total = int(ends[-1]) if num > 0 else 0
        keys, ids = torch.empty(total, dtype=torch.int64, device=device), torch.empty(total, dtype=torch.int32, device=device)
        if total > 0:
            inputs = [wp.from_torch(tensor) for tensor in (tiles, counts, ends, depths_m.contiguous())]
            wp.launch(kernels.emit, dim=num, inputs=[*inputs, tiles_x, wp.from_torch(keys), wp.from_torch(ids)], **place)
            keys, order = torch.sort(keys, stable=True)
            ids = ids[order]
        starts = torch.searchsorted(keys >> 32, torch.arange(num_tiles + 1, device=device))
        picture = features.new_empty(height, width, 4 * num_groups)
        transmittance, last = features.new_empty(height, width), torch.empty(height, width, dtype=torch.int32, device=device)
        lists = [starts, ids, transmittance, last]
        inputs = _arrays(wp, saved, starts, ids, tiles_x)
        outputs = [wp.from_torch(picture.view(height, width, num_groups, 4), dtype=wp.vec4), wp.from_torch(transmittance), wp.from_torch(last)]
        wp.launch(kernels.forward, dim=(num_groups, num_tiles, _TILE_PX * _TILE_PX), inputs=inputs + outputs, **place)
        ctx.save_for_backward(*saved, *lists)
        ctx.settings = tiles_x, num_tiles, num_groups, screen_gradients
        return picture, 1 - transmittance

    @staticmethod
    def backward(ctx: Any, grad_picture, grad_alpha):  # type: ignore[no-untyped-def]
        kernels = _kernels()
        wp = kernels.wp
        *saved, starts, ids, transmittance, last = ctx.saved_tensors
        tiles_x, num_tiles, num_groups, screen_gradients = ctx.settings
        grad_picture, grad_alpha = grad_picture.contiguous(), grad_alpha.contiguous()
        height, width = transmittance.shape
        grads = [torch.zeros_like(tensor) for tensor in saved[:4]]
        absolute = torch.zeros_like(saved[0])
        inputs = _arrays(wp, saved, starts, ids, tiles_x)
        inputs += [wp.from_torch(transmittance), wp.from_torch(last), wp.from_torch(grad_picture.view(height, width, num_groups, 4), dtype=wp.vec4)]
        inputs += [wp.from_torch(grad_alpha), int(screen_gradients is not None)]
        outputs = [wp.from_torch(grads[0], dtype=wp.vec2), wp.from_torch(grads[1], dtype=wp.vec3), wp.from_torch(grads[2])]
        outputs += [wp.from_torch(grads[3].view(-1, num_groups, 4), dtype=wp.vec4), wp.from_torch(absolute, dtype=wp.vec2)]
        if len(ids) > 0:
            wp.launch(kernels.backward, dim=(num_tiles, _TILE_PX * _TILE_PX), inputs=inputs + outputs, **launch_place(wp, transmittance))
        if screen_gradients is not None:
            screen_gradients.signed.add_(grads[0])
            screen_gradients.absolute.add_(absolute)
        grad_background = torch.einsum("hwc,hw->c", grad_picture, transmittance)
        return *grads, grad_background, None, None, None, None


def _arrays(wp: Any, saved: list[torch.Tensor], starts: torch.Tensor, ids: torch.Tensor, tiles_x: int) -> list[Any]:
    """The arguments that both passes begin with."""
    means_px, conics, opacities, features, background = saved
    vectors = [wp.from_torch(means_px, dtype=wp.vec2), wp.from_torch(conics, dtype=wp.vec3), wp.from_torch(opacities)]
    fours = [wp.from_torch(features.view(-1, features.shape[1] // 4, 4), dtype=wp.vec4), wp.from_torch(background.view(-1, 4), dtype=wp.vec4)]
    return [*vectors, *fours, wp.from_torch(starts), wp.from_torch(ids), tiles_x]
