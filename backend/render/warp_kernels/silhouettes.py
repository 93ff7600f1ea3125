"""Silhouette antialiasing on NVIDIA cards (Warp, float32); the algorithm is described in ``render/silhouettes.py``.

Edges claim the pixel pairs they cross: the outermost wins by one atomic maximum of (reach, edge), which does not depend on the
order of the threads. Then every pixel gathers from its four pairs, so colours and their gradients are deterministic; position
gradients are added atomically, in any order. Geometry is computed in float64: a few thousand crossings, and the same
decisions as on the CPU.
"""

# No postponed annotations here: Warp evaluates those of its functions, and could not see ``wp``.

import functools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from ..kernel_choice import warp_module

if TYPE_CHECKING:
    from ..edge_topology import EdgeTopology


@functools.cache
def _kernels() -> SimpleNamespace:
    wp = warp_module()
    real = wp.float64

    @wp.func
    def clipped(p: wp.vec3d, q: wp.vec3d, near: wp.float64):
        """p, or the point towards q on the near plane, in pixels."""
        if p[2] < near:
            t = (near - p[2]) / (q[2] - p[2])
            return wp.vec2d((p[0] + t * (q[0] - p[0])) / near, (p[1] + t * (q[1] - p[1])) / near)
        return wp.vec2d(p[0] / p[2], p[1] / p[2])

    @wp.func
    def place_of(equation: wp.vec3d, axis: wp.int32, line: wp.int32):
        centre = real(line) + real(0.5)
        if axis == 0:
            return -(equation[1] * centre + equation[2]) / equation[0]
        return -(equation[0] * centre + equation[2]) / equation[1]

    @wp.func
    def share_of(a: wp.vec3d, b: wp.vec3d, near: wp.float64, axis: wp.int32):
        start = clipped(a, b, near)
        end = clipped(b, a, near)
        x = end[0] - start[0]
        y = end[1] - start[1]
        square = x * x + y * y
        rows = real(0.5)
        if square > real(0.0):
            rows = y * y / square
        if axis == 0:
            return rows
        return real(1.0) - rows

    @wp.func
    def reach_of(place: wp.float64, pair: wp.int32, is_beyond: wp.bool):
        fraction = place - real(0.5) - real(pair)
        if is_beyond:
            return real(1.0) - fraction
        return fraction

    @wp.func
    def end_of(homogeneous: wp.array2d(dtype=wp.vec3), batch: wp.int32, vertex: wp.int32):
        h = homogeneous[batch, vertex]
        return wp.vec3d(real(h[0]), real(h[1]), real(h[2]))

    @wp.kernel(module="unique", enable_backward=False)
    def claim(
        homogeneous: wp.array2d(dtype=wp.vec3),
        edges: wp.array2d(dtype=wp.int32),
        opposites: wp.array2d(dtype=wp.int32),
        depth: wp.array3d(dtype=wp.float32),
        near: wp.float64,
        claims: wp.array2d(dtype=wp.uint64),
    ):
        batch, edge = wp.tid()
        a = end_of(homogeneous, batch, edges[edge, 0])
        b = end_of(homogeneous, batch, edges[edge, 1])
        if a[2] < near and b[2] < near:
            return
        equation = wp.cross(a, b)
        num_positive = wp.int32(0)
        num_negative = wp.int32(0)
        for k in range(opposites.shape[1]):
            side = wp.dot(equation, end_of(homogeneous, batch, opposites[edge, k]))
            if side > real(0.0):
                num_positive += 1
            if side < real(0.0):
                num_negative += 1
        if (num_positive > 0) == (num_negative > 0):
            return
        height = depth.shape[1]
        width = depth.shape[2]
        start = clipped(a, b, near)
        end = clipped(b, a, near)
        for axis in range(2):
            lines = height
            along = width
            other = wp.int32(1)
            if axis == 1:
                lines = width
                along = height
                other = wp.int32(0)
            low = wp.min(start[other], end[other])
            high = wp.max(start[other], end[other])
            first = wp.int32(wp.clamp(wp.ceil(low - real(0.5)), real(0.0), real(lines)))
            last = wp.int32(wp.clamp(wp.ceil(high - real(0.5)), real(0.0), real(lines)))
            for line in range(first, last):
                if equation[axis] != real(0.0):
                    place = place_of(equation, axis, line)
                    step = wp.floor(place - real(0.5))
                    centre = real(line) + real(0.5)
                    end_a = a[other] - centre * a[2]
                    end_b = b[other] - centre * b[2]
                    if step >= real(0.0) and step < real(along - 1) and end_a != end_b:
                        pair = wp.int32(step)
                        z = a[2] + wp.clamp(end_a / (end_a - end_b), real(0.0), real(1.0)) * (b[2] - a[2])
                        is_beyond = (equation[axis] > real(0.0)) == (num_positive > 0)
                        row = line
                        column = pair
                        if axis == 1:
                            row = pair
                            column = line
                        z_lower = real(depth[batch, row, column])
                        z_upper = real(depth[batch, row + axis, column + 1 - axis])
                        z_front = z_lower
                        z_back = z_upper
                        if is_beyond:
                            z_front = z_upper
                            z_back = z_lower
                        if z_back > z and real(2.0) * z_front < z + z_back:
                            reach = wp.uint64(wp.clamp(reach_of(place, pair, is_beyond), real(0.0), real(1.0)) * real(4294967295.0))
                            code = wp.uint64(2147483647 - edge) * wp.uint64(2)
                            if is_beyond:
                                code += wp.uint64(1)
                            wp.atomic_max(claims, batch, 2 * (row * width + column) + axis, reach * wp.uint64(4294967296) + code)

    @wp.func
    def crossing_of(
        claimed: wp.uint64, homogeneous: wp.array2d(dtype=wp.vec3), edges: wp.array2d(dtype=wp.int32), near: wp.float64,
        batch: wp.int32, lower: wp.int32, axis: wp.int32, width: wp.int32,
    ):
        """(blend weight, its derivative by the crossing's coordinate, that coordinate, 1 when the upper pixel of the pair changes)."""
        low = claimed % wp.uint64(4294967296)
        edge = 2147483647 - wp.int32(low / wp.uint64(2))
        is_beyond = low % wp.uint64(2) == wp.uint64(1)
        a = end_of(homogeneous, batch, edges[edge, 0])
        b = end_of(homogeneous, batch, edges[edge, 1])
        row = lower / width
        column = lower % width
        line = row
        pair = column
        if axis == 1:
            line = column
            pair = row
        place = place_of(wp.cross(a, b), axis, line)
        reach = reach_of(place, pair, is_beyond)
        share = share_of(a, b, near, axis)
        is_over = reach >= real(0.5)
        slope = share
        if is_over == is_beyond:
            slope = -share
        # Over: the far pixel changes, which is the lower one when the surface lies beyond.
        is_upper = real(0.0)
        if is_over != is_beyond:
            is_upper = real(1.0)
        return wp.vec4d(share * wp.abs(reach - real(0.5)), slope, place, is_upper)

    @wp.kernel(module="unique", enable_backward=False)
    def gather(
        homogeneous: wp.array2d(dtype=wp.vec3),
        edges: wp.array2d(dtype=wp.int32),
        claims: wp.array2d(dtype=wp.uint64),
        near: wp.float64,
        width: wp.int32,
        task: wp.int32,
        values: wp.array3d(dtype=wp.float32),
        totals: wp.array2d(dtype=wp.float32),
        out: wp.array3d(dtype=wp.float32),
    ):
        """Task 0: sums the blend weights of each pixel into ``totals``. 1: blends colours. 2: ``values`` is the gradient, ``out`` that of the colours."""
        batch, pixel = wp.tid()
        num_pixels = values.shape[1]
        channels = values.shape[2]
        sum = wp.float32(0.0)
        if task > 0:
            for channel in range(channels):
                out[batch, pixel, channel] = values[batch, pixel, channel]
        for number in range(4):
            axis = number / 2
            step = wp.int32(1)
            if axis == 1:
                step = width
            lower = pixel
            if number % 2 == 0:
                lower = pixel - step
            # A row's first pixel has no left neighbour: that pair wraps to the previous row and is never claimed.
            if lower >= 0 and lower + step < num_pixels:
                claimed = claims[batch, 2 * lower + axis]
                if claimed != wp.uint64(0):
                    crossing = crossing_of(claimed, homogeneous, edges, near, batch, lower, axis, width)
                    target = lower
                    source = lower + step
                    if crossing[3] > real(0.5):
                        target = lower + step
                        source = lower
                    weight = wp.float32(crossing[0])
                    if task == 0:
                        if target == pixel:
                            sum += weight
                    else:
                        weight = weight / wp.max(totals[batch, target], 1.0)
                        for channel in range(channels):
                            if task == 1:
                                if target == pixel:
                                    out[batch, pixel, channel] = out[batch, pixel, channel] + weight * (values[batch, source, channel] - values[batch, target, channel])
                            else:
                                part = weight * values[batch, target, channel]
                                if target == pixel:
                                    part = -part
                                out[batch, pixel, channel] = out[batch, pixel, channel] + part
        if task == 0:
            totals[batch, pixel] = sum

    @wp.kernel(module="unique", enable_backward=False)
    def positions(
        homogeneous: wp.array2d(dtype=wp.vec3),
        edges: wp.array2d(dtype=wp.int32),
        claims: wp.array2d(dtype=wp.uint64),
        near: wp.float64,
        width: wp.int32,
        gradient: wp.array3d(dtype=wp.float32),
        colour: wp.array3d(dtype=wp.float32),
        blended: wp.array3d(dtype=wp.float32),
        totals: wp.array2d(dtype=wp.float32),
        out: wp.array2d(dtype=wp.vec3d),
    ):
        batch, number = wp.tid()
        claimed = claims[batch, number]
        if claimed == wp.uint64(0):
            return
        lower = number / 2
        axis = number % 2
        crossing = crossing_of(claimed, homogeneous, edges, near, batch, lower, axis, width)
        upper = lower + 1
        if axis == 1:
            upper = lower + width
        target = lower
        source = upper
        if crossing[3] > real(0.5):
            target = upper
            source = lower
        total = totals[batch, target]
        change = real(0.0)
        for channel in range(colour.shape[2]):
            # Where the weights are scaled to sum to 1, one that grows takes from the others: the mean change is subtracted.
            before = colour[batch, target, channel]
            if total > 1.0:
                before = blended[batch, target, channel]
            change += real(gradient[batch, target, channel] * (colour[batch, source, channel] - before)) / real(wp.max(total, 1.0))
        edge = 2147483647 - wp.int32((claimed % wp.uint64(4294967296)) / wp.uint64(2))
        a = end_of(homogeneous, batch, edges[edge, 0])
        b = end_of(homogeneous, batch, edges[edge, 1])
        equation = wp.cross(a, b)
        factor = -change * crossing[1] / equation[axis]
        point = wp.vec3d(crossing[2], real(lower / width) + real(0.5), real(1.0))
        if axis == 1:
            point = wp.vec3d(real(lower % width) + real(0.5), crossing[2], real(1.0))
        # The line is a x b: its gradient m reaches a as b x m and b as m x a.
        wp.atomic_add(out, batch, edges[edge, 0], wp.cross(b, factor * point))
        wp.atomic_add(out, batch, edges[edge, 1], wp.cross(factor * point, a))

    return SimpleNamespace(wp=wp, claim=claim, gather=gather, positions=positions)


def claim_pairs(homogeneous: torch.Tensor, depth: torch.Tensor, topology: "EdgeTopology", near_m: float) -> torch.Tensor:
    """(B, 2 H W) int64, bits of uint64: which edge blends each pixel pair and how far the surface reaches; 0 = none."""
    kernels = _kernels()
    wp = kernels.wp
    batches, height, width = depth.shape
    claims = torch.zeros(batches, 2 * height * width, dtype=torch.int64, device=depth.device)
    if len(topology.edges) and claims.numel():
        inputs = [*_mesh(homogeneous, topology), wp.from_torch(topology.opposites), wp.from_torch(depth.float()), float(near_m), _bits(claims)]
        _launch(kernels.claim, (batches, len(topology.edges)), inputs, depth.device)
    return claims


def blend(colour: torch.Tensor, homogeneous: torch.Tensor, topology: "EdgeTopology", claims: torch.Tensor, near_m: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The blended picture and (B, H W) sums of each pixel's blend weights."""
    totals = torch.zeros(colour.shape[0], colour.shape[1] * colour.shape[2], device=colour.device)
    _gather(0, colour, totals, homogeneous, topology, claims, near_m)
    return _gather(1, colour, totals, homogeneous, topology, claims, near_m), totals


def blend_colour_backward(
    gradient: torch.Tensor, totals: torch.Tensor, homogeneous: torch.Tensor, topology: "EdgeTopology", claims: torch.Tensor, near_m: float
) -> torch.Tensor:
    return _gather(2, gradient, totals, homogeneous, topology, claims, near_m)


def blend_position_backward(
    gradient: torch.Tensor, colour: torch.Tensor, blended: torch.Tensor, totals: torch.Tensor, homogeneous: torch.Tensor, topology: "EdgeTopology",
    claims: torch.Tensor, near_m: float,
) -> torch.Tensor:
    kernels = _kernels()
    wp = kernels.wp
    batches, height, width, channels = colour.shape
    total = torch.zeros(homogeneous.shape, dtype=torch.float64, device=colour.device)
    if len(topology.edges) and claims.numel():
        pictures = [_array(values.reshape(batches, height * width, channels)) for values in (gradient, colour, blended)]
        inputs = [*_mesh(homogeneous, topology), _bits(claims), float(near_m), width, *pictures, _array(totals), wp.from_torch(total, dtype=wp.vec3d)]
        _launch(kernels.positions, (batches, 2 * height * width), inputs, colour.device)
    return total.to(homogeneous.dtype)


def _gather(
    task: int, values: torch.Tensor, totals: torch.Tensor, homogeneous: torch.Tensor, topology: "EdgeTopology", claims: torch.Tensor, near_m: float
) -> torch.Tensor:
    batches, height, width, channels = values.shape
    if not len(topology.edges) or not values.numel():
        return values.clone()
    out = torch.empty_like(values) if task else values
    pictures = [_array(picture.reshape(batches, height * width, channels)) for picture in (values, out)]
    inputs = [*_mesh(homogeneous, topology), _bits(claims), float(near_m), width, task, pictures[0], _array(totals), pictures[1]]
    _launch(_kernels().gather, (batches, height * width), inputs, values.device)
    return out


def _array(tensor: torch.Tensor) -> Any:
    return _kernels().wp.from_torch(tensor, requires_grad=False)


def _mesh(homogeneous: torch.Tensor, topology: "EdgeTopology") -> list[Any]:
    wp = _kernels().wp
    return [wp.from_torch(homogeneous, dtype=wp.vec3), wp.from_torch(topology.edges, requires_grad=False)]


def _bits(claims: torch.Tensor) -> Any:
    wp = _kernels().wp
    return wp.from_torch(claims, dtype=wp.uint64)


def _launch(kernel: Any, dim: tuple[int, ...], inputs: list[Any], device: torch.device) -> None:
    wp = _kernels().wp
    stream = wp.stream_from_torch(torch.cuda.current_stream(device)) if device.type == "cuda" else None
    wp.launch(kernel, dim=dim, inputs=inputs, device=wp.device_from_torch(device), stream=stream)
