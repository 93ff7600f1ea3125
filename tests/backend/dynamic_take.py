"""A small avatar with a dynamic texture: the synthetic take, a network that was never trained but paints strongly, distilled and packaged."""

from __future__ import annotations

import functools
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from procedural_rig import procedural_rig
from synthetic_take import checker_texture, synthetic_take

from backend.avatars.dynamic_texture import agreement, distil
from backend.avatars.dynamic_texture.blocks import BLOCK_NAMES, block_windows
from backend.avatars.dynamic_texture.canvas import pack_canvas
from backend.avatars.dynamic_texture.deliver import write_delivery
from backend.avatars.dynamic_texture.exact import ExactTexture
from backend.avatars.dynamic_texture.inputs import gather_inputs, head_orientation, input_names, input_space
from backend.avatars.dynamic_texture.network import seeded_network
from backend.avatars.dynamic_texture.painting import WINDOW_PX, paintable_windows
from backend.capture.colour import srgb_decode
from backend.package.write import packaged_controls, write_package
from backend.reporter import Reporter
from backend.texture.light import even_light
from backend.texture.texels import find_texels

SIZE, NUM_FRAMES = 256, 60


@functools.lru_cache(maxsize=1)
def painted_inputs() -> tuple[tuple[str, ...], np.ndarray]:
    """Names and (n, X) raw inputs of the take's frames."""
    rig = procedural_rig()
    _, track = synthetic_take(rig, NUM_FRAMES)
    names = input_names(rig.expression_names, rig.joint_names)
    controls = packaged_controls(rig, track.controls, track.joint_rotations)
    orientation = head_orientation(track.world_from_root, track.joint_rotations, rig.joint_names, track.world_from_cam)
    return names, gather_inputs(names, rig.expression_names, controls, rig.joint_names, track.joint_rotations, orientation)


@functools.lru_cache(maxsize=1)
def painted_texture() -> tuple[ExactTexture, np.ndarray, np.ndarray, np.ndarray]:
    """The network, static texture (S, S, 3) linear, mask (S, S) uint8, block windows (5, S, S)."""
    rig = procedural_rig()
    texels = find_texels(rig, SIZE)
    windows = block_windows(rig, SIZE, texels)
    face = rig.regions["face"][rig.triangles[texels.triangle]].all(1) | texels.of("eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue")
    mask = np.where(texels.image(face) & (windows[:4].sum(0) > 0.1), 255, 0).astype(np.uint8)
    names, inputs = painted_inputs()
    space = input_space(names, len(rig.expression_names), inputs[:40])
    canvas = pack_canvas(rig, texels, mask > 0, windows, BLOCK_NAMES, 256)
    network = seeded_network(space, 256, "shuffle", 2).eval()
    with torch.no_grad():
        network.paint.weight.mul_(20)
        network.mlp[-1].weight.mul_(12)
    exact = ExactTexture(network, space, canvas, paintable_windows(windows, np.full((WINDOW_PX, WINDOW_PX), 9.0)))
    static = srgb_decode(checker_texture(SIZE)[0] / 255).astype(np.float32)
    return exact, static, mask, windows


def write_dynamic_take(folder: Path) -> Path:
    """Packages it as ``folder``/anna.avatar; the delivery's own files lie in ``folder``/delivery."""
    rig = procedural_rig()
    capture, track = synthetic_take(rig, NUM_FRAMES)
    exact, static, mask, windows = painted_texture()
    _, inputs = painted_inputs()
    with mock.patch.object(distil, "NUM_COMBINATIONS", 60), mock.patch.object(agreement, "NUM_UNSEEN", 6), mock.patch.object(agreement, "NUM_VIEWS", 6):
        write_delivery(
            folder / "delivery", exact, static, mask.astype(np.float32) / 255, windows, rig.expression_limits, inputs[:40], inputs[50:], {"trained": False}, 0, Reporter(), 8
        )
    albedo, seen = checker_texture(SIZE)
    return write_package(
        folder / "anna.avatar", name="Anna", rig=rig, track=track, capture=capture, texture=albedo, seen=seen, background_mp4=None, consent=True, mask=mask,
        light=even_light(), unwrapped=albedo, dynamic=folder / "delivery",
    )
