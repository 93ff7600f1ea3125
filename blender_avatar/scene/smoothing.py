"""Smoothing of tracked motion: zero-phase Gaussians along time, always from the raw keys, never across the clip's split."""

from __future__ import annotations

import dataclasses

import bpy
import numpy as np

from ..backend_link import backend_module
from .keys import write_keys
from .names import CONTROL_BONE
from .performance import GROUPS, Performance, read_record, recorded_actions, write_record

QUICK = 0.4
"""Blinks, gaze and joints are smoothed by this share of the strength, as the tracker does: they are fast by nature."""


@dataclasses.dataclass(frozen=True)
class Changed:
    """num_keys: written. num_curves: changed. locked, missing: tracked channels that were left alone, for the report."""

    num_keys: int
    num_curves: int
    locked: tuple[str, ...]
    missing: tuple[str, ...]


def smooth_animation(root: bpy.types.Object, strength_frames: float, groups: frozenset[str], frame_start: float, frame_end: float) -> Changed:
    """Writes smoothed keys over a range; strength 0 brings the raw keys back exactly.

    Args:
        root: of the avatar. strength_frames: standard deviation. groups: of ``GROUPS``. frame_start, frame_end: scene frames, inclusive.

    Raises:
        AvatarError: ``bad_request`` for a range without tracked frames; ``bad_input`` without tracked motion.
    """
    num_keys, curves_changed, locked, missing = 0, 0, [], []
    for recorded in recorded_actions(root):
        performance = read_record(recorded.action)
        samples = performance.samples_between(frame_start, frame_end)
        if not len(samples):
            raise no_tracked_frame(performance, frame_start, frame_end)
        fcurves = recorded.fcurves()
        chosen = [row for row, (path, _) in enumerate(performance.curves) if group_of(path)[0] in groups]
        values = smoothed(performance, chosen, strength_frames)
        for row, new in zip(chosen, values):
            curve = fcurves.get(performance.curves[row])
            if curve is None:
                missing.append(performance.curves[row][0])
            elif curve.lock:
                locked.append(performance.curves[row][0])
            else:
                write_keys(curve, performance.frames[samples], new[samples])
                num_keys, curves_changed = num_keys + len(samples), curves_changed + 1
        state = performance.smoothing.copy()
        state[np.ix_([GROUPS.index(group) for group in groups], samples)] = strength_frames
        write_record(recorded.action, dataclasses.replace(performance, smoothing=state))
        recorded.action.update_tag()
    return Changed(num_keys, curves_changed, tuple(dict.fromkeys(locked)), tuple(dict.fromkeys(missing)))


def group_of(path: str) -> tuple[str, float]:
    """Group of a curve and its share of the strength."""
    if path.startswith(f'pose.bones["{CONTROL_BONE}"]'):
        name = path.split('["')[-1].removesuffix('"]')
        if name.startswith("eyeBlink"):
            return "BLINKS", QUICK
        return ("GAZE", QUICK) if name.startswith("eyeLook") else ("EXPRESSIONS", 1.0)
    if path.startswith('pose.bones["root"]') or not path.startswith("pose.bones"):
        return "HEAD", 1.0
    if path.startswith('pose.bones["eye'):
        return "GAZE", QUICK
    return ("EXPRESSIONS", QUICK) if path.startswith('pose.bones["jaw"]') else ("HEAD", QUICK)


def smoothed(performance: Performance, rows: list[int], strength_frames: float) -> np.ndarray:
    """Smoothed curves, quaternions of unit length; the raw curves themselves at strength 0.

    Args:
        rows: which curves; the four of a quaternion together.

    Returns:
        (len(rows), N) float32.
    """
    if strength_frames <= 0:
        return performance.raw[rows]
    out = np.empty((len(rows), performance.raw.shape[1]))
    chains = performance.chains()
    for place, row in enumerate(rows):
        out[place] = gaussian(performance.raw[row], strength_frames * group_of(performance.curves[row][0])[1], chains)
    for path in {performance.curves[row][0] for row in rows}:
        if path.endswith("rotation_quaternion"):
            places = [place for place, row in enumerate(rows) if performance.curves[row][0] == path]
            out[places] /= np.maximum(np.linalg.norm(out[places], axis=0), 1e-12)
    return out.astype(np.float32)


def gaussian(values: np.ndarray, sigma: float, chains: list[slice]) -> np.ndarray:
    """(N,) float64: Gaussian cut at four sigmas within each chain; beyond its ends the last value goes on. Has no delay."""
    out = values.astype(np.float64)
    radius = int(4 * sigma + 0.5)
    if radius < 1:
        return out
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    for chain in chains:
        if chain.stop - chain.start > 1:
            out[chain] = np.convolve(np.pad(out[chain], radius, mode="edge"), weights, mode="valid")
    return out


def no_tracked_frame(performance: Performance, frame_start: float, frame_end: float) -> Exception:
    """The error for a range outside the clip."""
    return backend_module("errors").AvatarError(
        "bad_request", f"No tracked frame lies between {frame_start:g} and {frame_end:g}.",
        f"The clip runs from {performance.frames[0]:g} to {performance.frames[-1]:g}.", {"field": "frame_start"},
    )  # fmt: skip
