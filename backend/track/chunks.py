"""A chain of frames cut into overlapping chunks, and one track out of theirs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.spatial.transform import Rotation

from .state import FrameStates

CHUNK_FRAMES, OVERLAP_FRAMES = 96, 12
"""Frames of a chunk that are its own, and how many it shares with each neighbour."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Frames start..stop - 1 are solved; keep_start..keep_stop - 1 are the chunk's own (all frames of a chain belong to one chunk)."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def chunks_of(chain: slice, frames: int = CHUNK_FRAMES, overlap: int = OVERLAP_FRAMES) -> list[Chunk]:
    """Cuts a chain into pieces of about ``frames``, each with ``overlap`` frames of its neighbours on either side."""
    length = chain.stop - chain.start
    num = max(1, round(length / frames))
    borders = [chain.start + round(length * k / num) for k in range(num + 1)]
    return [Chunk(max(chain.start, a - overlap), min(chain.stop, b + overlap), a, b) for a, b in zip(borders, borders[1:])]


def blended(chunks: Sequence[Chunk], solved: Sequence[FrameStates], start: FrameStates) -> FrameStates:
    """One state per frame: where two chunks overlap they are mixed, from all of one to all of the other in equal steps.

    Frames of no chunk keep ``start``.
    """
    num_frames = len(start)
    total = np.zeros(num_frames)
    sums = {field.name: np.zeros((num_frames, *getattr(solved[0], field.name).shape[1:])) for field in dataclasses.fields(FrameStates)}
    quaternions = np.zeros((num_frames, 4))
    for chunk, states in zip(chunks, solved):
        frames = np.arange(chunk.start, chunk.stop)
        weight = _weights(chunk)
        total[frames] += weight
        for name, values in sums.items():
            part = getattr(states, name)
            values[frames] += part * weight.reshape(-1, *(1,) * (part.ndim - 1))
        turn = Rotation.from_matrix(states.cam_from_root_rotation).as_quat()
        sign = np.where((turn * quaternions[frames]).sum(1) < 0, -1.0, 1.0)
        quaternions[frames] += turn * (sign * weight)[:, None]
    done = total > 0
    mixed = {name: getattr(start, name).astype(np.float64) for name in sums}
    for name, values in sums.items():
        mixed[name][done] = values[done] / total[done].reshape(-1, *(1,) * (values.ndim - 1))
    mixed["cam_from_root_rotation"][done] = Rotation.from_quat(quaternions[done]).as_matrix()
    return FrameStates(**mixed)


def disagreement_px(chunks: Sequence[Chunk], solved: Sequence[FrameStates], landmarks_px: Callable[[FrameStates], np.ndarray]) -> float:
    """Mean distance of the projected landmarks of two chunks on the frames both solved, px; 0 where nothing overlaps."""
    distances = []
    for (first, one), (second, other) in zip(zip(chunks, solved), zip(chunks[1:], solved[1:])):
        frames = np.arange(second.start, min(first.stop, second.stop))
        if len(frames) and first.keep_stop == second.keep_start and second.start < first.stop:
            apart = landmarks_px(one.take(frames - first.start)) - landmarks_px(other.take(frames - second.start))
            distances.append(np.linalg.norm(apart, axis=-1).mean())
    return float(np.mean(distances)) if distances else 0.0


def _weights(chunk: Chunk) -> np.ndarray:
    """(n,) 1 inside, falling to 0 over the frames around a border that both neighbours solve."""
    frames = np.arange(chunk.start, chunk.stop) + 0.5
    weight = np.ones(len(frames))
    if chunk.start < chunk.keep_start:
        weight = np.minimum(weight, (frames - chunk.start) / (2 * (chunk.keep_start - chunk.start)))
    if chunk.stop > chunk.keep_stop:
        weight = np.minimum(weight, (chunk.stop - frames) / (2 * (chunk.stop - chunk.keep_stop)))
    return np.clip(weight, 1e-9, 1)
