"""A small package and a clip that was drawn from the package itself, so that every measurement of it has a known answer."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from procedural_rig import procedural_rig
from synthetic_take import PORTRAIT, checker_texture, synthetic_take

from backend.avatars import textured_mesh
from backend.avatars.instant import Camera
from backend.capture.model import PARSING, Capture
from backend.evaluation import images
from backend.evaluation.packaged import drives_of, textured_mesh_of
from backend.evaluation.performance import performance_from_track
from backend.evaluation.signals import landmark_points, to_camera, to_pixels
from backend.package.read import read_package
from backend.package.write import write_package
from backend.rig.landmark_names import FACE_OVAL
from backend.storage import file_sha256

NUM = 20
BACKGROUND = 110


def painted_package(folder: Path) -> tuple[Path, Path, Capture]:
    """Folder of the package, its clip, its capture: the clip shows the avatar exactly, over grey."""
    rig = procedural_rig()
    capture, track = synthetic_take(rig, NUM, size_hw=PORTRAIT)
    performance = performance_from_track(rig, track)
    pixels = np.nan_to_num(to_pixels(performance, to_camera(performance, landmark_points(performance))), nan=150.0).astype(np.float32)
    # The procedural rig scatters its landmarks; an oval where the face oval belongs keeps the face region a region.
    middle = pixels[:, :468].mean(1)
    turns = np.arange(len(FACE_OVAL)) / len(FACE_OVAL) * 2 * np.pi
    pixels[:, list(FACE_OVAL)] = middle[:, None] + np.stack([40 * np.sin(turns), -55 * np.cos(turns)], -1)
    px_crop_from_px = np.array([[0.2, 0, 28.0], [0, 0.2, 0], [0, 0, 1]])
    capture = capture.replace(landmarks_px=pixels, px_crop_from_px=px_crop_from_px, crop_size_hw=(128, 128))
    texture, seen = checker_texture(256)
    package_folder = folder / "x.avatar"
    write = lambda: write_package(  # noqa: E731
        package_folder, name="x", rig=rig, track=track, capture=capture, texture=texture, seen=seen, background_mp4=None, consent=True, overwrite=True
    )
    write()
    package = read_package(package_folder)
    state = textured_mesh_of(package)
    parsing = np.zeros((NUM, 128, 128), np.uint8)
    clip = folder / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0", "bf": "0"})
        stream.height, stream.width, stream.pix_fmt = *PORTRAIT, "rgb24"
        for sample in range(NUM):
            camera = Camera(track.px_from_cam[None], track.world_from_cam[[sample]], PORTRAIT)
            picture = textured_mesh.render(state, drives_of(package, np.array([sample])), camera)
            alpha = picture.alpha[0].numpy()
            srgb = images.encode(picture.colour[0].numpy() + (1 - alpha[..., None]) * (BACKGROUND / 255) ** 2.2)
            parsing[sample] = np.where(cv2.warpAffine(alpha, px_crop_from_px[:2], (128, 128), flags=cv2.INTER_AREA) > 0.99, PARSING.index("skin"), 0)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.round(srgb * 255).astype(np.uint8), "rgb24")))
        container.mux(stream.encode())
    parsing = np.stack([cv2.erode(mask, np.ones((3, 3), np.uint8)) for mask in parsing])
    capture = capture.replace(parsing=parsing, matte=np.where(parsing > 0, 255, 0).astype(np.uint8), source_path=str(clip), source_sha256=file_sha256(clip))
    write()
    return package_folder, clip, capture
