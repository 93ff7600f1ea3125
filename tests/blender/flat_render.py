"""Renders a head's texture: the evaluated head is laid out flat by its UV map and seen from above, so each pixel is one place of the texture."""

from __future__ import annotations

import tempfile
from pathlib import Path

import bpy
import cv2
import numpy as np
from dynamic_package import encoded, reference_texture

from backend.package.read import read_package

PICTURE_PX = 384


def flat_group() -> bpy.types.NodeTree:
    """Geometry Nodes that move every corner to (u, v, 0)."""
    tree = bpy.data.node_groups.new("flat", "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    split = tree.nodes.new("GeometryNodeSplitEdges")
    uv = tree.nodes.new("GeometryNodeInputNamedAttribute")
    uv.data_type, uv.inputs["Name"].default_value = "FLOAT_VECTOR", "UVMap"
    move = tree.nodes.new("GeometryNodeSetPosition")
    tree.links.new(tree.nodes.new("NodeGroupInput").outputs[0], split.inputs["Mesh"])
    tree.links.new(split.outputs[0], move.inputs["Geometry"])
    tree.links.new(uv.outputs["Attribute"], move.inputs["Position"])
    tree.links.new(move.outputs[0], tree.nodes.new("NodeGroupOutput").inputs[0])
    return tree


def lay_flat(scene: bpy.types.Scene, head: bpy.types.Object, engine: str = "CYCLES") -> None:
    """Sets up scene and head. The armature's object must not be moved."""
    modifier = head.modifiers.new("flat", "NODES")
    modifier.node_group = bpy.data.node_groups.get("flat") or flat_group()
    data = bpy.data.cameras.new("flat")
    data.type, data.ortho_scale = "ORTHO", 1.0
    camera = bpy.data.objects.new("flat", data)
    camera.location = (0.5, 0.5, 2)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.resolution_x = scene.render.resolution_y = PICTURE_PX
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode, scene.render.image_settings.color_depth = "RGBA", "16"
    scene.view_settings.view_transform = "Standard"
    scene.render.dither_intensity = 0
    set_engine(scene, engine)


def set_engine(scene: bpy.types.Scene, engine: str) -> None:
    """One sample in the middle of each pixel."""
    scene.render.engine = engine
    if engine == "CYCLES":
        scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.use_adaptive_sampling = "CPU", 1, False, False
        scene.cycles.pixel_filter_type, scene.cycles.filter_width = "BLACKMAN_HARRIS", 0.01
        scene.render.threads_mode, scene.render.threads = "FIXED", 1
    else:
        scene.eevee.taa_render_samples = 1
        scene.render.filter_size = 0.0


def picture(scene: bpy.types.Scene) -> np.ndarray:
    """(H, W, 4) sRGB of a final render at the current frame, row 0 at the top."""
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "flat.png")
        bpy.ops.render.render(write_still=True)
        return load(scene.render.filepath)


def load(path: str) -> np.ndarray:
    image = bpy.data.images.load(path)
    image.colorspace_settings.name = "Non-Color"
    pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(pixels)
    pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1]
    bpy.data.images.remove(image)
    return pixels


def places() -> np.ndarray:
    """(PICTURE_PX ** 2, 2) UV at the pixel centres."""
    middle = (np.arange(PICTURE_PX) + 0.5) / PICTURE_PX
    u, v = np.meshgrid(middle, middle[::-1])
    return np.stack([u, v], -1).reshape(-1, 2)


def rows_that_count(folder: Path) -> np.ndarray:
    """(n,) pixels, numbered row by row, that lie well inside a part that wears the texture."""
    mesh = read_package(folder).mesh
    shows = np.zeros((PICTURE_PX, PICTURE_PX), np.uint8)
    for part, name in enumerate(mesh.part_names):
        if name in ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue"):
            for corners in mesh.quad_uv[mesh.quad_parts == part]:
                points = mesh.uv[corners[corners >= 0]] * PICTURE_PX
                cv2.fillConvexPoly(shows, np.round(points * [1, -1] + [0, PICTURE_PX]).astype(np.int32), 1)
    return np.flatnonzero(cv2.erode(shows, np.ones((5, 5), np.uint8)))


def error_255(got: np.ndarray, folder: Path, controls: np.ndarray, amount: float = 1.0, share: float = 1.0) -> float:
    """Largest difference from the reference, in units of 1/255, over the places that show the texture; or that which a share of them keeps."""
    rows = rows_that_count(folder)
    is_covered = got.reshape(-1, 4)[rows, 3] > 0.99  # a pixel's middle may fall on the seam of two split faces
    assert is_covered.mean() > 0.98
    rows = rows[is_covered]
    wanted = encoded(reference_texture(folder, places()[rows], controls, amount))
    return float(np.quantile(np.abs(got.reshape(-1, 4)[rows, :3] - wanted).max(1), share) * 255)
