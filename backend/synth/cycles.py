"""Frames by Blender's path tracer, in a child process that shares nothing with this one but files."""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from ..errors import AvatarError
from ..render.shading import linear_from_srgb, srgb_from_linear
from ..reporter import Reporter
from ..rig.model import RigModel
from ..storage import storage_error
from .anatomy import Anatomy
from .config import SynthConfig
from .dress import hair_strands
from .expression_texture import ExpressionTexture
from .light import Light
from .person import Person
from .truth import Truth

_SCRIPT = Path(__file__).with_name("cycles_script.py")
_NUM_STRANDS, _STRAND_RADIUS_M = 20000, 0.00016
_DENOISE_BELOW = 64
"""With fewer rays per pixel than this the picture is denoised."""
_POLL_S = 0.5


def cycles_frames(
    work_folder: Path, rig: RigModel, anatomy: Anatomy, person: Person, light: Light, backdrop: np.ndarray, truth: Truth, bodies: np.ndarray, config: SynthConfig,
    reporter: Reporter, layers: ExpressionTexture | None = None,
) -> Iterator[np.ndarray]:
    """Renders a clip, frame by frame; finished frames survive a killed process and are used again.

    Args:
        work_folder: where frames lie until the clip is complete; removed then.
        backdrop: (H, W, 3) linear. bodies: (N, 4, 4) world_from_body.
        layers: of the texture that changes with the expression; None = the albedo stays.

    Yields:
        (H, W, 3) uint8 sRGB.

    Raises:
        AvatarError: ``environment`` when Blender is missing, fails or takes too long.
    """
    job = {**_job(rig, anatomy, person, light, truth, bodies, config), **({} if layers is None else _layer_arrays(layers, config.texture_px))}
    digest = hashlib.sha256(_SCRIPT.read_bytes())
    for name in sorted(job):
        digest.update(name.encode() + np.ascontiguousarray(job[name]).tobytes())
    digest.update(person.texture.albedo.tobytes() + person.texture.opacity.tobytes())
    folder = work_folder / f"cycles-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        rgba = np.concatenate([person.texture.albedo[..., ::-1], person.texture.opacity[..., None]], -1)
        cv2.imwrite(str(folder / "albedo.png"), (np.clip(rgba, 0, 1) * 255 + 0.5).astype(np.uint8))
        # Every frame of the head travels through this file: no compression, it is read once.
        np.savez(folder / "job.npz", **job, albedo_path=np.array(str(folder.absolute() / "albedo.png")))
    except OSError as error:
        raise storage_error(folder, error) from error
    _run_child(folder, truth.num_frames, config.timeout_s, reporter)
    for index in range(truth.num_frames):
        yield _composed(folder / f"{index:05d}.png", backdrop)
    shutil.rmtree(folder, ignore_errors=True)


def _job(rig: RigModel, anatomy: Anatomy, person: Person, light: Light, truth: Truth, bodies: np.ndarray, config: SynthConfig) -> dict[str, np.ndarray]:
    """Everything the child needs, in rig axes and linear colours."""
    linear = lambda colour: linear_from_srgb(torch.from_numpy(np.asarray(colour, dtype=np.float32))).numpy()  # noqa: E731
    root = person.head.pose(torch.from_numpy(truth.controls), torch.from_numpy(truth.joint_rotations)).numpy().astype(np.float64)
    world = root @ np.swapaxes(truth.world_from_root[:, :3, :3], 1, 2) + truth.world_from_root[:, None, :3, 3]
    corner_uv = rig.uv[np.maximum(rig.quad_uv, 0)]
    strands = np.zeros((0, 6, 3), np.float32)
    if config.use_hair and len(person.hair.triangles):
        strands = hair_strands(rig, anatomy, person.look, person.head.neutral.numpy(), _NUM_STRANDS)
    return {
        "size_hw": np.array(truth.size_hw), "fps": np.array(truth.fps), "samples": np.array(config.samples), "use_denoising": np.array(config.samples < _DENOISE_BELOW),
        "seed": np.array(config.seed), "threads": np.array(max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)),
        "px_from_cam": truth.px_from_cam, "world_from_cam": truth.world_from_cam[0], "world_from_root": truth.world_from_root, "world_from_body": bodies,
        "head_vertices": world.astype(np.float32), "quads": rig.quads, "quad_corner_uv": corner_uv, "quad_parts": rig.quad_parts,
        "part_names": np.array(rig.part_names), "shirt_vertices": person.shirt_vertices if config.use_body else np.zeros((0, 3), np.float32),
        "shirt_triangles": person.shirt_triangles if config.use_body else np.zeros((0, 3), np.int32), "shirt_colour": linear(person.look.shirt),
        "strands": strands, "hair_colour": linear(person.look.hair), "hair_radius_m": np.array(_STRAND_RADIUS_M),
        "lamp_directions": np.stack([lamp.direction for lamp in light.lamps]), "lamp_irradiance": np.stack([lamp.irradiance for lamp in light.lamps]),
        "lamp_distances_m": np.array([lamp.distance_m for lamp in light.lamps]), "lamp_sizes_m": np.array([lamp.size_m for lamp in light.lamps]),
        "sky": light.sky, "ground": light.ground, "light_centre": world[:, rig.regions["face"]].mean((0, 1)),
    }


def _layer_arrays(layers: ExpressionTexture, size_px: int) -> dict[str, np.ndarray]:
    """The layers as Blender wants pictures: rows bottom up, four channels; rectangles in UV (u0, v0, u1, v1)."""
    left, top, right, bottom = layers.rects_px.T / size_px
    pictures = {
        f"layer_{index:02d}": np.concatenate([layer[::-1].astype(np.float32), np.ones((*layer.shape[:2], 1), np.float32)], -1)
        for index, layer in enumerate(layers.layers)
    }
    return {"layer_uv": np.stack([left, 1 - bottom, right, 1 - top], -1), "layer_weights": layers.weights, **pictures}


def _run_child(folder: Path, num_frames: int, timeout_s: float, reporter: Reporter) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")}
    log = folder / "blender.log"
    deadline = time.monotonic() + timeout_s
    with open(log, "w", encoding="utf-8") as errors:
        child = subprocess.Popen(
            [sys.executable, "-I", str(_SCRIPT), str(folder / "job.npz"), str(folder)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            env=environment, text=True, encoding="utf-8", errors="replace",
        )
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_forward, args=(child.stdout, lines), daemon=True)
        reader.start()
        done, is_complete = 0, False
        try:
            while True:
                reporter.progress("synth", done, num_frames, "frames")
                if time.monotonic() > deadline:
                    raise AvatarError("environment", f"Blender rendered {done} of {num_frames} frames in {timeout_s:.0f} s.", "Raise timeout_s, or lower samples or size.")
                try:
                    line = lines.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
                if line is None:
                    break
                if line.startswith("frame "):
                    done = int(line.split()[1]) + 1
                is_complete |= line.strip() == "done"
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
    if not is_complete:
        tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
        hint = "Install the bpy package in this environment." if "No module named 'bpy'" in tail else "Use the fast renderer, or look at the log."
        raise AvatarError("environment", f"Blender could not render the clip (exit code {child.returncode}).", hint, {"log": tail})


def _forward(stream, lines: queue.SimpleQueue[str | None]) -> None:  # type: ignore[no-untyped-def]
    for line in stream:
        lines.put(line)
    lines.put(None)


def _composed(path: Path, backdrop: np.ndarray) -> np.ndarray:
    """A rendered frame (straight alpha, sRGB, 16 bit) over the backdrop."""
    rgba = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if rgba is None or rgba.ndim != 3 or rgba.shape[2] != 4:
        raise AvatarError("environment", f"Blender wrote no usable frame {path.name}.", "Run again; finished frames are kept.", {"path": str(path)})
    values = torch.from_numpy(rgba.astype(np.float32) / np.iinfo(rgba.dtype).max)
    alpha = values[..., 3:]
    linear = linear_from_srgb(values[..., [2, 1, 0]]) * alpha + torch.from_numpy(backdrop) * (1 - alpha)
    return (srgb_from_linear(linear).numpy() * 255 + 0.5).astype(np.uint8)
