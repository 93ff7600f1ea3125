"""The clip's camera: focal length, principal point, place, and the clip behind the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .animation import FIRST_FRAME
from .axes import blender_camera_matrices, continuous_quaternions, quaternions_from_matrices

SENSOR_MM = 36.0
"""Length of the longer side of the picture on the sensor, so that focal lengths read as 35 mm equivalents."""


def create_camera(name: str, package: Any, collection: bpy.types.Collection, root: bpy.types.Object, world_from_cam: np.ndarray) -> bpy.types.Object:
    """Makes ``NAME.camera`` under the root empty.

    Args:
        world_from_cam: (4, 4) where it stands (in the first frame), package axes.
    """
    data = bpy.data.cameras.new(f"{name}.camera")
    set_intrinsics(data, package.animation.px_from_cam, package.animation.size_hw)
    data.clip_start, data.clip_end = 0.01, 100.0
    data.display_size = 0.1
    camera = bpy.data.objects.new(f"{name}.camera", data)
    camera.parent = root
    camera.rotation_mode = "QUATERNION"
    matrix = blender_camera_matrices(world_from_cam)
    camera.location = matrix[:3, 3].tolist()
    camera.rotation_quaternion = continuous_quaternions(quaternions_from_matrices(matrix[None, :3, :3]))[0].tolist()
    collection.objects.link(camera)
    return camera


def set_intrinsics(data: bpy.types.Camera, px_from_cam: np.ndarray, size_hw: tuple[int, int]) -> None:
    """Focal length and principal point of K for a picture of ``size_hw``, whatever its orientation.

    The sensor is fitted to the longer side; Blender measures both shifts in that side's length, to the right and upwards.
    """
    height, width = size_hw
    longer = max(height, width)
    data.sensor_fit = "HORIZONTAL" if width >= height else "VERTICAL"
    data.sensor_width = data.sensor_height = SENSOR_MM
    data.lens_unit = "MILLIMETERS"
    data.lens = float(px_from_cam[0, 0]) * SENSOR_MM / longer
    data.shift_x = (0.5 * width - float(px_from_cam[0, 2])) / longer
    data.shift_y = (float(px_from_cam[1, 2]) - 0.5 * height) / longer


def add_background(name: str, camera: bpy.types.Object, path: Path) -> bpy.types.MovieClip | None:
    """Shows the clip behind the head, its first picture on the first frame. None when Blender cannot read it."""
    try:
        clip = bpy.data.movieclips.load(str(path), check_existing=False)
    except RuntimeError:
        return None
    if not clip.frame_duration:
        bpy.data.movieclips.remove(clip)
        return None
    clip.name = f"{name}.background"
    clip.frame_start = FIRST_FRAME
    if bpy.data.filepath:
        # another drive on Windows: stays absolute
        try:
            clip.filepath = bpy.path.relpath(str(path))
        except ValueError:
            clip.filepath = str(path)
    background = camera.data.background_images.new()
    background.source = "MOVIE_CLIP"
    background.clip = clip
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "STRETCH"  # the copy has even side lengths: its shape may be off by a pixel
    camera.data.show_background_images = True
    return clip
