"""What a trained network becomes on disk: the exact network as arrays and as ONNX, the distilled textures, and the figures about both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...capture.model import TEST, Capture
from ...reporter import Reporter
from ...rig.model import RigModel
from ...storage import replacing, write_json
from ...texture.frames import usable_frames
from ...texture.model import StaticTexture
from ...track.model import Track
from .agreement import agreement
from .blocks import block_windows
from .distil import distil
from .eigen import EigenTexture
from .eigen_files import write_eigen
from .exact import ExactTexture, write_exact
from .inputs import gather_inputs, head_orientation
from .onnx_export import onnx_bytes
from .state import TrainedTexture
from .teacher import teacher_of

NUM_COMPONENTS = 16
ONNX, NETWORK, EIGEN, INFO = "network.onnx", "network.npz", "eigen.npz", "dynamic.json"


def deliver(
    folder: Path, capture: Capture, track: Track, rig: RigModel, texture: StaticTexture, trained: TrainedTexture, seed: int, reporter: Reporter,
    num_components: int = NUM_COMPONENTS,
) -> EigenTexture:
    """Writes everything a package takes of a trained texture into ``folder``.

    Args:
        capture, rig: the clip and the head model. track: raw, with its controls as the package will hold them (``packaged_controls``).
        texture: the static texture. trained: the network and the facts of its training.
    """
    space = trained.exact.space
    orientation = head_orientation(track.world_from_root, track.joint_rotations, rig.joint_names, track.world_from_cam)
    inputs = gather_inputs(space.names, rig.expression_names, track.controls, rig.joint_names, track.joint_rotations, orientation)
    test = np.flatnonzero((capture.split == TEST) & track.is_tracked)
    return write_delivery(
        folder, trained.exact, texture.linear, texture.mask.astype(np.float32) / 255, block_windows(rig, texture.size_px), rig.expression_limits,
        inputs[usable_frames(capture, track)], inputs[test], trained.info, seed, reporter, num_components,
    )


def write_delivery(
    folder: Path, exact: ExactTexture, static: np.ndarray, mask: np.ndarray, windows: np.ndarray, control_limits: np.ndarray, training: np.ndarray, test: np.ndarray,
    info: dict[str, Any], seed: int, reporter: Reporter, num_components: int = NUM_COMPONENTS,
) -> EigenTexture:
    """Distils a network and writes the files that ``package.write.write_package(dynamic=folder)`` takes.

    Args:
        folder: made when missing. exact: the network. static: (S, S, 3) linear albedo. mask: (S, S) in [0, 1], M.
        windows: (B, S, S) ``blocks.block_windows``. control_limits: (E, 2) of the rig's controls.
        training, test: (n, X), (m, X) raw inputs of training and test frames (``inputs.gather_inputs``); of the test frames only poses.
        info: facts of the training, which go into ``dynamic.json`` as they are; ``distilled`` is added. seed: of the distillation.

    Returns:
        The distilled texture.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    teacher = teacher_of(exact, static, mask, control_limits)
    distilled = distil(teacher, training, num_components, seed, reporter)
    measured = agreement(exact, distilled.eigen, teacher, static, mask, windows, training, test, seed + 1, reporter)
    write_exact(folder / NETWORK, exact)
    with replacing(folder / ONNX) as part:
        part.write_bytes(onnx_bytes(exact.network, exact.space, exact.canvas))
    write_eigen(folder / EIGEN, distilled.eigen)
    write_json(folder / INFO, {**info, "distilled": {**distilled.info, "psnr_db": measured}})
    return distilled.eigen
