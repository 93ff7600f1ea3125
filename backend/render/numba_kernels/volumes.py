"""The compiled loops of alpha compositing (CPU, numba): each ray is one thread's own, so no result depends on threads or batches."""

from __future__ import annotations

import math

import numba
import numpy as np

RAYS_PER_CHUNK = 64


@numba.njit(cache=True, parallel=True)
def composite_forward(
    density, colours, t, step, background, ray_start, min_transmittance, colour, depth, alpha, weights, remaining, ends, bad
):  # pragma: no cover - compiled
    """Sums over the samples of each ray.

    Args:
        density, t, step: (M,). colours: (M, C). background: (R, C), or no rows for none. ray_start: (R + 1,) int64.
        colour: (R, C), depth, alpha: (R,), weights: (M,), out.
        remaining: (M,), out: transmittance behind each sample. ends: (R,) int64, out: one beyond the last sample that counted.
        bad: (chunks,) int64, out where wrong: first ray of the chunk with a value that is not finite, or negative.
    """
    number = density.dtype.type
    num_rays = colour.shape[0]
    num_channels = colour.shape[1]
    has_background = background.shape[0] > 0
    for chunk in numba.prange(bad.shape[0]):
        for ray in range(chunk * RAYS_PER_CHUNK, min((chunk + 1) * RAYS_PER_CHUNK, num_rays)):
            first = ray_start[ray]
            last = ray_start[ray + 1]
            transmittance = number(1.0)
            distance = number(0.0)
            for c in range(num_channels):
                colour[ray, c] = number(0.0)
            is_bad = False
            i = first
            while i < last:
                tau = density[i] * step[i]
                if not (density[i] >= 0.0 and density[i] < math.inf and step[i] >= 0.0 and step[i] < math.inf):
                    is_bad = True
                weight = -transmittance * math.expm1(-tau)
                transmittance -= weight
                weights[i] = weight
                remaining[i] = transmittance
                distance += weight * t[i]
                for c in range(num_channels):
                    colour[ray, c] += weight * colours[i, c]
                i += 1
                if transmittance < min_transmittance:
                    break
            ends[ray] = i
            while i < last:
                weights[i] = number(0.0)
                i += 1
            depth[ray] = distance
            alpha[ray] = number(1.0) - transmittance
            total = distance
            for c in range(num_channels):
                if has_background:
                    colour[ray, c] += transmittance * background[ray, c]
                total += colour[ray, c]
            if (is_bad or not np.isfinite(total)) and bad[chunk] < 0:
                bad[chunk] = ray


@numba.njit(cache=True, parallel=True)
def composite_backward(
    density,
    colours,
    t,
    step,
    background,
    ray_start,
    weights,
    remaining,
    ends,
    colour_grad,
    depth_grad,
    alpha_grad,
    weights_grad,
    density_out,
    colours_out,
    t_out,
    step_out,
    background_out,
):  # pragma: no cover - compiled
    """Gradients, from the last sample to the first.

    With v_i = <dL/dcolour, c_i> + dL/ddepth t_i + dL/dalpha + dL/dw_i and V = <dL/dcolour, background>,
    dL/dtau_i = T_{i+1} v_i - sum_{j>i} w_j v_j - T_end V. Incoming gradients without rows are zero.
    """
    number = density.dtype.type
    zero = number(0.0)
    num_rays = ends.shape[0]
    num_channels = colours.shape[1]
    has_background = background.shape[0] > 0
    has_colour = colour_grad.shape[0] > 0
    has_depth = depth_grad.shape[0] > 0
    has_alpha = alpha_grad.shape[0] > 0
    has_weights = weights_grad.shape[0] > 0
    for chunk in numba.prange((num_rays + RAYS_PER_CHUNK - 1) // RAYS_PER_CHUNK):
        for ray in range(chunk * RAYS_PER_CHUNK, min((chunk + 1) * RAYS_PER_CHUNK, num_rays)):
            first = ray_start[ray]
            last = ray_start[ray + 1]
            end = ends[ray]
            left_over = remaining[end - 1] if end > first else number(1.0)
            behind = zero
            if has_background:
                for c in range(num_channels):
                    if has_colour:
                        behind += left_over * colour_grad[ray, c] * background[ray, c]
                        background_out[ray, c] = left_over * colour_grad[ray, c]
                    else:
                        background_out[ray, c] = zero
            to_depth = depth_grad[ray] if has_depth else zero
            to_alpha = alpha_grad[ray] if has_alpha else zero
            for i in range(end, last):
                density_out[i] = zero
                t_out[i] = zero
                step_out[i] = zero
                for c in range(num_channels):
                    colours_out[i, c] = zero
            for i in range(end - 1, first - 1, -1):
                weight = weights[i]
                value = to_depth * t[i] + to_alpha
                if has_weights:
                    value += weights_grad[i]
                if has_colour:
                    for c in range(num_channels):
                        value += colour_grad[ray, c] * colours[i, c]
                        colours_out[i, c] = weight * colour_grad[ray, c]
                else:
                    for c in range(num_channels):
                        colours_out[i, c] = zero
                to_tau = remaining[i] * value - behind
                density_out[i] = step[i] * to_tau
                step_out[i] = density[i] * to_tau
                t_out[i] = weight * to_depth
                behind += weight * value
