"""What meshes cost: visibility, and the photometric step of a tracker."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F

from ..render.meshes import homogeneous_from_cam, interpolate, interpolate_covered, peel, rasterise, rasterise_uv
from ..render.shading import shade
from ..render.surface_normals import vertex_normals
from ..render.textures import sample, uv_per_px
from .case import Case
from .head_scene import HeadScene
from .prototypes import load_prototype

_REACH = 1.15
_TEXTURE_PX = 512


def cases(scene: HeadScene, prototypes_folder: Path | None) -> list[Case]:
    """Ids and depth, and the photometric step, against the prototype; variants and growth."""
    prototype = load_prototype(prototypes_folder, "raster")
    result = []
    for side in (256, 512):
        result += [_ids_depth(scene, prototype, side), _photometric(scene, prototype, side)]
    result += _variants(scene, 512)
    result += [_with_mip_levels(scene, side) for side in (256, 512)]
    result += [_whole_picture(scene, prototype, 512), _texture_space(scene, 1024)]
    result += [_growth_with_pixels(scene, side) for side in (128, 256, 512, 1024)]
    result += [_growth_with_triangles(scene, times) for times in (0, 1, 2)]
    return result


def _ids_depth(scene: HeadScene, prototype: ModuleType | None, side: int) -> Case:
    vertices, camera = scene.vertices_cam_m(), scene.px_from_cam(side)
    reference = None
    if prototype is not None:
        screen, triangles = _screen(vertices, camera), scene.triangles.cpu().numpy()

        def reference() -> object:
            return prototype.rasterize(screen, triangles, side, side)

    return Case(
        f"meshes.ids_depth.{side}", f"Triangle ids and depth, {vertices.shape[1]} vertices, {side} x {side}",
        lambda: rasterise(vertices, scene.triangles, camera, (side, side)),
        reference, "prototype kernel", _REACH,
    )


def _photometric(scene: HeadScene, prototype: ModuleType | None, side: int) -> Case:
    run, reference = photometric_steps(scene, prototype, side)
    return Case(
        f"meshes.photometric.{side}",
        f"Photometric step forward and backward, {side} x {side}: project, rasterise, uv and normals, texture, light, L1; gradients to vertices, texture, light",
        run, reference, "prototype" if reference else "", _REACH,
    )


def photometric_steps(
    scene: HeadScene, prototype: ModuleType | None, side: int, *, use_mip_levels: bool = False
) -> tuple[Callable[[], Any], Callable[[], Any] | None]:
    """The step with the public functions, and with the prototype's; both return loss and gradients.

    The prototype knows one index per corner, so it gets the vertices split along the uv seams, and looks its texture up with
    ``grid_sample``; the normals are those of the first pose in both, as the prototype's step has no gradient through them either.
    """
    camera, triangles = scene.px_from_cam(side), scene.triangles
    vertices = scene.vertices_cam_m().requires_grad_()
    texture = scene.texture(_TEXTURE_PX).requires_grad_()
    planes = texture.detach().permute(2, 0, 1)[None].contiguous().requires_grad_()
    light = scene.light.clone().requires_grad_()
    normals = vertex_normals(vertices.detach(), triangles)[0]
    target = torch.full((side, side, 3), 0.4, device=scene.device)

    def gradients(albedo: torch.Tensor, normal: torch.Tensor, aim: torch.Tensor, looked_up: torch.Tensor) -> tuple[torch.Tensor, ...]:
        colour = albedo * shade(F.normalize(normal, dim=-1), light)
        loss = (colour - aim).abs().mean()
        return (loss, *torch.autograd.grad(loss, (vertices, looked_up, light)))

    def run() -> tuple[torch.Tensor, ...]:
        homogeneous = homogeneous_from_cam(vertices, camera)
        fragments = rasterise(vertices, triangles, camera, (side, side))
        covered = fragments.covered
        uv = interpolate_covered(covered, scene.uv_triangles, scene.uv, homogeneous)
        normal = interpolate_covered(covered, triangles, normals, homogeneous)
        if use_mip_levels:
            steps = uv_per_px(fragments, homogeneous, triangles, scene.uv, scene.uv_triangles)
            albedo = sample(texture, uv, uv_per_px=steps.view(-1, 2, 2).index_select(0, covered.pixels))
        else:
            albedo = sample(texture, uv)
        return gradients(albedo, normal, covered.gather(target[None]), texture)

    if prototype is None:
        return run, None
    vertex_of_uv = torch.empty(len(scene.uv), dtype=torch.long)
    vertex_of_uv[scene.uv_triangles.long().reshape(-1)] = triangles.long().reshape(-1)
    attributes = torch.cat([scene.uv, normals[vertex_of_uv]], 1)
    faces = scene.uv_triangles.cpu().numpy()

    def reference() -> tuple[torch.Tensor, ...]:
        screen = _screen(vertices[:, vertex_of_uv], camera)
        ids, _ = prototype.rasterize(screen, faces, side, side)
        values = prototype.InterpNumba.apply(screen, attributes, faces, ids).view(-1, 5)
        pixels = (ids.view(-1) >= 0).nonzero()[:, 0]
        values = values.index_select(0, pixels)
        grid = torch.stack([values[:, 0] * 2 - 1, 1 - values[:, 1] * 2], -1)[None, :, None]
        albedo = F.grid_sample(planes, grid, align_corners=False, padding_mode="border")[0, :, :, 0].T
        return gradients(albedo, values[:, 2:], target.view(-1, 3).index_select(0, pixels), planes)

    return run, reference


def _screen(vertices: torch.Tensor, camera: torch.Tensor) -> torch.Tensor:
    """(B, V, 4) x px, y px, a depth that grows with distance, 1/z: the prototype's positions."""
    homogeneous = vertices @ camera.T
    reciprocal = 1 / homogeneous[..., 2:]
    return torch.cat([homogeneous[..., :2] * reciprocal, -reciprocal, reciprocal], -1)


def _variants(scene: HeadScene, side: int) -> list[Case]:
    vertices, camera = scene.vertices_cam_m(), scene.px_from_cam(side)
    middle_m = float(vertices[..., 2].median())
    whole = f"meshes.ids_depth.{side}"

    def barycentrics() -> object:
        return rasterise(vertices, scene.triangles, camera, (side, side)).barycentric

    return [
        Case(
            f"meshes.ids_depth.{side}.clipped", f"Near plane through the middle of the head, {side} x {side}",
            lambda: rasterise(vertices, scene.triangles, camera, (side, side), near_m=middle_m), cost_of=whole,
        ),
        Case(
            f"meshes.ids_depth.{side}.two_layers", f"Two layers, {side} x {side}",
            lambda: peel(vertices, scene.triangles, camera, (side, side), num_layers=2), cost_of=whole,
        ),
        Case(f"meshes.ids_depth.{side}.barycentrics", f"With barycentric weights, {side} x {side}", barycentrics, cost_of=whole),
    ]


def _whole_picture(scene: HeadScene, prototype: ModuleType | None, side: int) -> Case:
    """Interpolation alone, at every pixel, with all its gradients."""
    camera, triangles = scene.px_from_cam(side), scene.triangles
    fragments = rasterise(scene.vertices_cam_m(), triangles, camera, (side, side))
    attributes = scene.vertices_cam_m()[0].repeat(1, 2).requires_grad_()
    positions = homogeneous_from_cam(scene.vertices_cam_m(), camera).requires_grad_()
    upstream = torch.ones(1, side, side, 6, device=scene.device)
    reference = None
    if prototype is not None:
        faces, screen = triangles.cpu().numpy(), _screen(scene.vertices_cam_m(), camera).requires_grad_()

        def reference() -> object:
            return torch.autograd.grad(prototype.InterpNumba.apply(screen, attributes, faces, fragments.triangle_ids), (attributes, screen), upstream)

    def run() -> object:
        # Trainers interpolate new fragments every time, so what is kept with them is computed anew.
        fresh = dataclasses.replace(fragments)
        return torch.autograd.grad(interpolate(fresh, triangles, attributes, positions), (attributes, positions), upstream)

    return Case(
        f"meshes.interpolate.{side}", f"Interpolation of 6 channels at every pixel, gradients to attributes and positions, {side} x {side}",
        run, reference, "prototype" if reference else "",
    )


def _texture_space(scene: HeadScene, side: int) -> Case:
    return Case(
        f"meshes.texture_space.{side}", f"Rasterisation in texture space, {side} x {side}",
        lambda: rasterise_uv(scene.uv, scene.uv_triangles, side),
    )


def _with_mip_levels(scene: HeadScene, side: int) -> Case:
    run, _ = photometric_steps(scene, None, side, use_mip_levels=True)
    return Case(
        f"meshes.photometric.{side}.mip_levels", f"Photometric step with mip levels, pyramid made anew, {side} x {side}",
        run, cost_of=f"meshes.photometric.{side}",
    )


def _growth_with_pixels(scene: HeadScene, side: int) -> Case:
    run, _ = photometric_steps(scene, None, side)
    return Case(f"meshes.growth.pixels.{side}", f"Photometric step, {side} x {side}", run, size=side * side, curve="photometric step over pixels")


def _growth_with_triangles(scene: HeadScene, times: int) -> Case:
    """Every triangle cut into four, ``times`` times."""
    vertices, triangles = scene.vertices_cam_m(), scene.triangles.long()
    for _ in range(times):
        vertices, triangles = _in_four(vertices, triangles)
    faces, camera = triangles.int(), scene.px_from_cam(512)
    return Case(
        f"meshes.growth.triangles.{len(faces)}", f"Triangle ids and depth, {len(faces)} triangles, 512 x 512",
        lambda: rasterise(vertices, faces, camera, (512, 512)), size=len(faces), curve="ids and depth over triangles",
    )


def _in_four(vertices: torch.Tensor, triangles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    edges = torch.stack([triangles, triangles.roll(-1, 1)], -1).sort(-1).values.reshape(-1, 2)
    unique, place = edges.unique(dim=0, return_inverse=True)
    middle = place.view(-1, 3) + vertices.shape[1]
    (a, b, c), (ab, bc, ca) = triangles.unbind(1), middle.unbind(1)
    parts = [torch.stack(part, -1) for part in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
    return torch.cat([vertices, vertices[:, unique].mean(2)], 1), torch.cat(parts)
