"""A person performing: a posable head with a pose for every sample, whatever it was read from."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from ..geometry.cameras import invert_rigid
from ..rig.model import LandmarkEmbedding, RigModel
from ..rig.posing import PosableHead, posable_head

_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Performance:
    """Everything the metrics need to know about an avatar's motion.

    head: the person's neutral, expressions, joints. triangles: (F, 3) int32. embedding: MediaPipe's 478 points on it.
    regions: name -> (V,) bool. control_names: E names.
    controls: (N, E). joint_rotations: (N, J, 3) axis-angle rad. cam_from_root: (N, 4, 4) float64, rigid.
    px_from_cam: (3, 3) float64. time_s: (N,). time_index: (N,). is_tracked: (N,) bool.
    """

    head: PosableHead
    triangles: np.ndarray
    embedding: LandmarkEmbedding
    regions: dict[str, np.ndarray]
    control_names: tuple[str, ...]
    controls: np.ndarray
    joint_rotations: np.ndarray
    cam_from_root: np.ndarray
    px_from_cam: np.ndarray
    time_s: np.ndarray
    time_index: np.ndarray
    is_tracked: np.ndarray

    @property
    def num_samples(self) -> int:
        return len(self.time_s)

    def vertices(self, samples: np.ndarray | None = None, vertex_ids: np.ndarray | None = None) -> np.ndarray:
        """Posed vertices in the root frame.

        Args:
            samples: (n,) int, which samples; None = all.
            vertex_ids: (m,) int, which vertices; None = all.

        Returns:
            (n, m, 3) float32 m.
        """
        head = self.head if vertex_ids is None else only_vertices(self.head, vertex_ids)
        samples = np.arange(self.num_samples) if samples is None else np.asarray(samples)
        dtype = head.neutral.dtype
        controls = torch.as_tensor(self.controls[samples], dtype=dtype)
        rotations = torch.as_tensor(self.joint_rotations[samples], dtype=dtype)
        parts = [head.pose(controls[at : at + _CHUNK], rotations[at : at + _CHUNK]).numpy() for at in range(0, len(samples), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, len(head.neutral), 3), np.float32)


def only_vertices(head: PosableHead, vertex_ids: np.ndarray) -> PosableHead:
    """The same head with some of its vertices; joints stay where they are."""
    ids = torch.as_tensor(np.asarray(vertex_ids), dtype=torch.long)
    pick = lambda rows: rows.reshape(len(rows), -1, 3)[:, ids].reshape(len(rows), -1).contiguous()  # noqa: E731
    return dataclasses.replace(
        head, neutral=head.neutral[ids], expressions=pick(head.expressions), weights=head.weights[ids],
        correctives=None if head.correctives is None else pick(head.correctives),
    )


def performance_from_track(rig: RigModel, track: Any) -> Performance:
    """The raw (unsmoothed) motion of a ``Track`` made with ``rig``, which must carry its MediaPipe embedding.

    ``track`` is taken by its attributes, so that the measurements depend on no part of the tracker.
    """
    if rig.mediapipe478 is None:
        raise ValueError("the rig has no landmark embedding; load it with load_rig_with_landmarks")
    return Performance(
        head=posable_head(rig, torch.as_tensor(np.asarray(track.identity, dtype=np.float32)), float(track.scale)),
        triangles=rig.triangles, embedding=rig.mediapipe478, regions=rig.regions, control_names=tuple(rig.expression_names),
        controls=track.controls, joint_rotations=track.joint_rotations,
        cam_from_root=invert_rigid(np.asarray(track.world_from_cam, np.float64)) @ np.asarray(track.world_from_root, np.float64),
        px_from_cam=np.asarray(track.px_from_cam, np.float64), time_s=np.asarray(track.time_s), time_index=np.asarray(track.time_index),
        is_tracked=np.asarray(track.is_tracked, bool),
    )
