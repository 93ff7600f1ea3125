"""Writes an avatar package: complete or not at all, and with equal bytes for equal input."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path, PurePath
from typing import Any

import cv2
import numpy as np

from .. import __version__
from ..capture.model import TRAIN, Capture
from ..errors import AvatarError
from ..geometry.shapes import check_shape
from ..rig.gaze import GAZE_LIMITS_DEG, eye_look_controls
from ..rig.model import RigModel
from ..storage import file_sha256, replacing, storage_error, write_arrays, write_json
from ..texture.light import ClipLight
from ..track.model import Track
from .model import (
    ALBEDO_FILE,
    AXES,
    BACKGROUND_FILE,
    CLIP_FILE,
    FORMAT,
    FORMAT_VERSION,
    INDEX,
    KNOWN_FILES,
    LIGHT_FILE,
    LIGHT_FORMAT_VERSION,
    MASK_FILE,
    MESH_FILE,
    REPORT_FILE,
    SEEN_FILE,
    UNITS,
    UNWRAPPED_FILE,
    UNWRAPPED_ID,
)
from .read import read_package
from .read_dynamic import read_dynamic_texture
from .write_dynamic import copy_dynamic, dynamic_entry

LIBRARY_LICENCES = ("MediaPipe face mesh, selfie segmentation and their model files: Apache-2.0",)
"""Models that made the data, whatever the rig."""


def write_package(
    folder: Path,
    *,
    name: str,
    rig: RigModel,
    track: Track,
    capture: Capture,
    texture: np.ndarray,
    seen: np.ndarray,
    background_mp4: Path | None,
    consent: bool,
    overwrite: bool = False,
    texture_info: dict[str, Any] | None = None,
    extra_licences: tuple[str, ...] = (),
    report: dict[str, Any] | None = None,
    mask: np.ndarray | None = None,
    light: ClipLight | None = None,
    unwrapped: np.ndarray | None = None,
    dynamic: Path | None = None,
) -> Path:
    """Writes ``NAME.avatar/`` (docs/formats/avatar.md).

    The package is built in a temporary folder beside ``folder``, read back and checked, then renamed. An existing avatar is
    replaced file by file, its index last; files that no package writer makes are left alone.

    Args:
        folder: where the package goes.
        name: suggested name of the avatar in Blender.
        rig, track, capture: what was found out; ``track`` indexed like ``capture``.
        texture: (size, size, 3) uint8 sRGB, row 0 is v = 1.
        seen: (size, size) uint8, 255 where the clip showed the surface.
        background_mp4: clip for the scene's camera, or None.
        consent: the user said that the person agreed.
        overwrite: replace an avatar that lies there.
        texture_info: further facts about the texture for the index, for example ``{"delit": True}``.
        extra_licences: licence lines beyond those of the rig.
        report: content of ``report.json`` when there is one already.
        mask: (size, size) uint8, 255 where a dynamic texture may paint; None = not known.
        light: the clip's light, under which ``texture`` shows what was filmed; None = not known.
        unwrapped: (size, size, 3) uint8 sRGB, the surface as filmed; None = ``texture`` is that.
        dynamic: folder with the files of a dynamic texture (``write_dynamic``), which needs ``mask``; None = the avatar has none.

    Returns:
        ``folder``, absolute.

    Raises:
        AvatarError: ``bad_request`` when the output exists, ``bad_input`` when it cannot be written or the parts do not fit
            together, ``environment`` when the disk is full.
    """
    folder = Path(os.path.abspath(folder))
    _check_parts(rig, track, capture, texture, seen, name)
    _check_images(texture, mask, unwrapped)
    if dynamic is not None and mask is None:
        raise ValueError("a dynamic texture needs a mask")
    check_output(folder, overwrite)
    temporary = folder.with_name(f".{folder.name}.part")  # one name: what a killed run left is cleared by the next
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write_arrays(temporary / MESH_FILE, _mesh_arrays(rig, track))
        controls = _controls(rig, track)
        write_arrays(temporary / CLIP_FILE, _clip_arrays(rig, track, capture, controls))
        _write_png(temporary / ALBEDO_FILE, texture[..., ::-1])
        _write_png(temporary / SEEN_FILE, seen)
        if mask is not None:
            _write_png(temporary / MASK_FILE, mask)
        if unwrapped is not None:
            _write_png(temporary / UNWRAPPED_FILE, unwrapped[..., ::-1])
        if light is not None:
            write_json(temporary / LIGHT_FILE, light_entry(light))
        if dynamic is not None:
            copy_dynamic(dynamic, temporary)
        if background_mp4 is not None:
            with replacing(temporary / BACKGROUND_FILE) as part:
                shutil.copyfile(background_mp4, part)
        if report is not None:
            write_json(temporary / REPORT_FILE, report)
        write_json(temporary / INDEX, _index(temporary, name, rig, track, capture, controls, consent, texture_info, extra_licences, dynamic))
        read_dynamic_texture(read_package(temporary))
        _move_into_place(temporary, folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def check_output(folder: Path, overwrite: bool) -> None:
    """Says whether a package may be written to ``folder``; cheap, so that callers can ask before hours of work.

    Raises:
        AvatarError: ``bad_request`` when something is there that must not be replaced, ``bad_input`` when the place is not writable.
    """
    folder = Path(folder)
    if folder.is_symlink() or folder.exists():
        if not folder.is_dir():
            raise AvatarError("bad_request", f"{folder} exists and is no folder.", "Choose another output.", {"field": "out", "path": str(folder)})
        if any(folder.iterdir()):
            if not (folder / INDEX).is_file():
                raise AvatarError(
                    "bad_request", f"{folder} exists and is no avatar.", "Choose another output; only avatars are ever replaced.", {"field": "out", "path": str(folder)}
                )
            if not overwrite:
                raise AvatarError("bad_request", f"{folder} exists.", "Choose another output, or allow overwriting.", {"field": "out", "path": str(folder)})
            for known in KNOWN_FILES:
                if (folder / known).parent.is_symlink():
                    raise AvatarError("bad_request", f"{(folder / known).parent} is a link.", "Choose another output.", {"field": "out", "path": str(folder)})
    parent = folder.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise AvatarError("bad_input", f"Cannot write into {parent}.", "Choose a folder you may write to.", {"field": "out", "path": str(folder)})


def _check_parts(rig: RigModel, track: Track, capture: Capture, texture: np.ndarray, seen: np.ndarray, name: str) -> None:
    check_shape("texture", texture, None, None, 3)
    check_shape("seen", seen, *texture.shape[:2])
    if texture.dtype != np.uint8 or seen.dtype != np.uint8 or texture.shape[0] != texture.shape[1]:
        raise ValueError(f"texture and seen must be square uint8 images, got {texture.dtype} {texture.shape} and {seen.dtype}")
    if not name.strip():
        raise AvatarError("bad_request", "The avatar has no name.", "Give it one.", {"field": "name"})
    if track.rig_name != rig.name:
        raise AvatarError("bad_input", f"The track was made with the head model {track.rig_name}, not {rig.name}.", "Track again.", {})
    if track.num_samples != capture.num_samples or not np.array_equal(track.time_index, capture.time_index):
        raise AvatarError("bad_input", "The track does not belong to this capture.", "Track again.", {})


def _check_images(texture: np.ndarray, mask: np.ndarray | None, unwrapped: np.ndarray | None) -> None:
    for name, image, shape in (("mask", mask, texture.shape[:2]), ("unwrapped", unwrapped, texture.shape)):
        if image is not None and (image.dtype != np.uint8 or image.shape != shape):
            raise ValueError(f"{name} must be a uint8 image of shape {shape}, got {image.dtype} {image.shape}")


def light_entry(light: ClipLight) -> dict[str, Any]:
    """Content of ``texture/light.json``."""
    return {
        "format_version": LIGHT_FORMAT_VERSION, "sh": [float(value) for value in light.sh], "tint": [float(value) for value in light.tint], "frame": light.frame,
    }


def _mesh_arrays(rig: RigModel, track: Track) -> dict[str, np.ndarray]:
    neutral = (rig.template.astype(np.float64) + rig.identity_basis.astype(np.float64) @ track.identity.astype(np.float64)) * track.scale
    arrays: dict[str, np.ndarray] = {
        "vertices": neutral.astype(np.float32),
        "quads": rig.quads.astype(np.int32),
        "uv": rig.uv.astype(np.float32),
        "quad_uv": rig.quad_uv.astype(np.int32),
        "quad_parts": rig.quad_parts.astype(np.uint8),
        "part_names": np.array(rig.part_names),
        "shape_key_names": np.array(rig.expression_names),
        "shape_keys": np.ascontiguousarray(rig.expression_basis.transpose(2, 0, 1) * np.float32(track.scale), dtype=np.float32),
        "shape_key_limits": rig.expression_limits.astype(np.float32),
        "joint_names": np.array(rig.joint_names),
        "joint_parents": rig.joint_parents.astype(np.int32),
        "joints": (rig.joint_regressor.astype(np.float64) @ neutral).astype(np.float32),
        "skin_weights": rig.skin_weights.astype(np.float32),
        "gaze_limits_deg": np.array(GAZE_LIMITS_DEG, dtype=np.float32),
    }
    if rig.correctives is not None:
        arrays["correctives"] = np.ascontiguousarray(rig.correctives.transpose(2, 0, 1) * np.float32(track.scale), dtype=np.float32)
    for region, mask in rig.regions.items():
        arrays[f"regions.{region}"] = mask.astype(bool)
    if rig.mediapipe478 is not None:
        arrays["mediapipe478.triangle_ids"] = rig.mediapipe478.triangle_ids.astype(np.int32)
        arrays["mediapipe478.barycentric"] = rig.mediapipe478.barycentric.astype(np.float32)
        arrays["mediapipe478.spread_m"] = rig.mediapipe478.spread_m.astype(np.float32)
    return arrays


def _controls(rig: RigModel, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """Raw and smooth controls (N, E) with eyeLook* derived from the eyes and mouthClose no larger than jawOpen."""
    return packaged_controls(rig, track.controls, track.joint_rotations), packaged_controls(rig, track.controls_smooth, track.joint_rotations_smooth)


def packaged_controls(rig: RigModel, controls: np.ndarray, joint_rotations: np.ndarray) -> np.ndarray:
    """(N, E) float32 controls as a package holds them: within their limits, eyeLook* from the eyes, mouthClose no larger than jawOpen."""
    controls = np.clip(controls.astype(np.float32), rig.expression_limits[:, 0], rig.expression_limits[:, 1]).astype(np.float32)
    names = rig.expression_names
    for name, values in eye_look_controls(rig.joint_names, joint_rotations).items():
        if name in names:
            controls[:, names.index(name)] = values
    if "mouthClose" in names and "jawOpen" in names:
        column = names.index("mouthClose")
        controls[:, column] = np.minimum(controls[:, column], controls[:, names.index("jawOpen")])
    return controls


def _clip_arrays(rig: RigModel, track: Track, capture: Capture, controls: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    regions = {"region_names": np.array(track.region_names), "region_confidence": track.region_confidence.astype(np.float32)} if track.region_names else {}
    return {
        **regions,
        "landmark_trust": np.array(track.landmark_trust, dtype=np.float32),
        "time_s": track.time_s.astype(np.float64),
        "time_index": track.time_index.astype(np.int32),
        "control_names": np.array(rig.expression_names),
        "controls": controls[0],
        "joint_rotations": track.joint_rotations.astype(np.float32),
        "world_from_root": track.world_from_root.astype(np.float64),
        "controls_smooth": controls[1],
        "joint_rotations_smooth": track.joint_rotations_smooth.astype(np.float32),
        "world_from_root_smooth": track.world_from_root_smooth.astype(np.float64),
        "world_from_cam": track.world_from_cam.astype(np.float64),
        "px_from_cam": track.px_from_cam.astype(np.float64),
        "size_hw": np.array(capture.size_hw, dtype=np.int32),
        "focal_source": np.array(track.focal_source),
        "focal_sigma_log": np.array(track.focal_sigma_log, dtype=np.float64),
        "confidence": track.confidence.astype(np.float32),
        "is_tracked": track.is_tracked.astype(bool),
        "split": capture.split.astype(np.uint8),
        "is_interpolated": capture.is_interpolated.astype(bool),
        "split_sha256": np.array(capture.split_sha256),
    }


def _control_table(rig: RigModel, capture: Capture, track: Track, raw: np.ndarray) -> list[dict[str, Any]]:
    is_used = (capture.split == TRAIN) & track.is_tracked
    table = []
    for index, name in enumerate(rig.expression_names):
        low, high = (float(value) for value in rig.expression_limits[index])
        neutral = min(max(0.0, low), high)
        seen = raw[is_used, index] if is_used.any() else np.array([neutral])
        other = int(rig.mirror_expressions[index])
        table.append({
            "name": name, "unit": "1", "min": low, "max": high, "neutral": neutral, "seen_min": float(seen.min()), "seen_max": float(seen.max()),
            "mirror": rig.expression_names[other] if 0 <= other != index else None, "moves": {"kind": "shape_key", "target": name},
        })
    return table


def _index(
    built: Path, name: str, rig: RigModel, track: Track, capture: Capture, controls: tuple[np.ndarray, np.ndarray], consent: bool,
    texture_info: dict[str, Any] | None, extra_licences: tuple[str, ...], dynamic: Path | None,
) -> dict[str, Any]:
    names = list(rig.expression_names)
    clip_files = [CLIP_FILE] + ([BACKGROUND_FILE] if (built / BACKGROUND_FILE).is_file() else [])
    texture_files = [ALBEDO_FILE, SEEN_FILE, *(path for path in (MASK_FILE, LIGHT_FILE) if (built / path).is_file())]
    assets = [
        ("head", "mesh", [MESH_FILE], [], names, {}),
        ("clip", "animation", clip_files, ["head"], names, {
            "scale": track.scale, "scale_source": track.scale_source, "scale_sigma": _finite(track.scale_sigma), "focal_source": track.focal_source,
        }),
        ("albedo", "texture", texture_files, ["head"], [], {"delit": False, "colour_space": "sRGB", **(texture_info or {})}),
    ]
    if (built / UNWRAPPED_FILE).is_file():
        assets.append((UNWRAPPED_ID, "texture", [UNWRAPPED_FILE], ["head"], [], {"delit": False, "colour_space": "sRGB"}))
    if dynamic is not None:
        assets.append(dynamic_entry(dynamic, built))
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "writer_version": __version__,
        "name": name,
        "units": UNITS,
        "axes": AXES,
        "fps": float(capture.fps),
        "num_frames": track.num_samples,
        "rig": {"name": rig.name, "source": rig.source, "licences": list(rig.licences)},
        "source": {
            "file_name": PurePath(capture.source_path).name, "sha256": capture.source_sha256, "size_hw": [int(side) for side in capture.size_hw],
            "is_mirrored": bool(capture.is_mirrored),
        },
        "consent": bool(consent),
        "licences": list(dict.fromkeys([*rig.licences, *LIBRARY_LICENCES, *extra_licences])),
        "controls": _control_table(rig, capture, track, controls[0]),
        "assets": [
            {
                "id": asset_id, "kind": kind, "version": 1, "files": [_file_entry(built, path) for path in files], "depends_on": depends_on,
                "controls": moved_by, "metres_from_asset": 1.0, "info": info,
            }
            for asset_id, kind, files, depends_on, moved_by, info in assets
        ],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _file_entry(built: Path, path: str) -> dict[str, Any]:
    return {"path": path, "sha256": file_sha256(built / path), "bytes": (built / path).stat().st_size}


def _write_png(path: Path, image: np.ndarray) -> None:
    """Writes an 8 bit PNG; colour images in BGR order."""
    is_encoded, data = cv2.imencode(".png", np.ascontiguousarray(image), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not is_encoded:
        raise AvatarError("internal", f"{path} could not be encoded.", "", {"path": str(path)})
    with replacing(path) as part:
        part.write_bytes(data.tobytes())


def _move_into_place(built: Path, folder: Path) -> None:
    """Makes the finished folder visible: by one rename when nothing is there, else file by file with the index last.

    While an avatar is being replaced its old index does not fit the new files, so readers refuse it until the end.
    """
    if not folder.exists() or not any(folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            folder.rmdir()
        os.replace(built, folder)
        return
    for known in KNOWN_FILES:
        if (built / known).is_file():
            (folder / known).parent.mkdir(exist_ok=True)
            os.replace(built / known, folder / known)
        else:
            with contextlib.suppress(FileNotFoundError):
                (folder / known).unlink()
