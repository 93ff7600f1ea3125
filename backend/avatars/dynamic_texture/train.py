"""Training: frames of the clip, posed by their own track, teach the network what to paint (spec dynamic_texture.md 10 and 13.10).

    min over w of sum over frames of L(srgb(T(x_i; w) shade_i), frame_i),   L = L1 + VGG features, or L1 + gradients + SSIM without weights

Only what the blending mask lets change is compared. Geometry, light and static texture are fixed. A step is a pure function of its number, so a run
that was killed and goes on from its checkpoint ends with the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ...capture.model import Capture
from ...config import DynamicTextureConfig, to_dict
from ...errors import AvatarError, Cancelled
from ...objectives.perceptual import VggFeatures, load_vgg16
from ...objectives.picture_losses import gradient_loss, l1_loss, ssim_loss
from ...reporter import Reporter
from ...rig.model import RigModel
from ...rig.posing import posable_head
from ...texture.model import StaticTexture
from ...texture.texels import find_texels
from ...track.model import Track
from ..textured_head import TexturedMesh, state_of
from .batches import MIXED_GROUPS, FrameLookup, batch_pictures, frame_lookup
from .blocks import BLOCK_NAMES, block_windows
from .canvas import pack_canvas
from .checkpoints import Progress, fresh_progress, read_checkpoint, remove_checkpoint, write_checkpoint
from .combinations import STILL, mixing_groups
from .frame_choice import NOTHING_TO_LEARN, FrameChoice, choose_training_frames
from .inputs import ORIENTATION, InputSpace, gather_inputs, head_orientation, input_names, input_space
from .network import DynamicTextureNetwork, network_arrays, seeded_network
from .painting import paintable_windows
from .preview import write_preview
from .state import DynamicTexture, ExactTexture, TrainedTexture
from .training_frames import TrainingFrame, hits_of, prepare_frames

EMA = 0.995
FALL_FROM = 0.8
"""Share of the steps after which the learning rate falls."""
FALL_TO = 0.1
CHECKPOINT_EVERY_S, PREVIEW_EVERY_S = 20.0, 5.0
JUDGED_AT = (0.4, 0.55, 0.7, 0.8, 0.9, 1.0)
"""Shares of the steps after which the running mean is judged on the validation frames."""
PREVIEW_FILE = "preview.png"
_PREPARED = 0.15
"""Share of the stage's time that preparing the frames takes, for the progress bar."""


@dataclasses.dataclass(frozen=True)
class _Data:
    training: list[FrameLookup]
    validation: list[FrameLookup]
    training_inputs: np.ndarray
    validation_inputs: np.ndarray
    share: np.ndarray


def train(
    capture: Capture, track: Track, rig: RigModel, texture: StaticTexture, config: DynamicTextureConfig, seed: int, reporter: Reporter, work: Path
) -> TrainedTexture:
    """Trains the network of one clip.

    Args:
        capture, rig: the clip and the head model. track: raw, with its controls as the package will hold them (``packaged_controls``).
        texture: the static texture with mask and light.
        config: settings. seed: of everything random. reporter: hears "avatar"; the preview picture is announced to it.
        work: folder for checkpoint and preview; what lies there from a killed run is gone on with.

    Returns:
        The network that judged best on the validation part of the training frames, and facts for the report.

    Raises:
        AvatarError: bad_input with too few frames or nothing to paint, asset_missing without the weights file that was asked for, diverged.
    """
    work = Path(work)
    work.mkdir(parents=True, exist_ok=True)
    vgg = load_vgg16(Path(config.vgg_weights)) if config.vgg_weights else None
    choice = choose_training_frames(capture, track, config.max_frames)
    for warning in choice.warnings:
        reporter.log(warning)
    mesh = mesh_of(rig, track, texture)
    mask = texture.mask.astype(np.float32) / 255
    inputs, names = all_inputs(rig, track)
    samples = np.sort(np.concatenate([choice.training, choice.validation]))
    frames = prepare_frames(
        capture, track, mesh, texture.light, mask, samples, config.render_px, reporter, lambda done, total: reporter.progress("avatar", _PREPARED * done / total, 1.0)
    )
    exact = _fresh_texture(rig, texture, frames, choice, inputs, names, config, seed)
    data = _data_of(frames, exact, choice, inputs)
    state = DynamicTexture(mesh, texture.light, mask, exact, rig.expression_names, rig.joint_names)
    fingerprint = _fingerprint(exact, data, config, seed)
    progress = _Trainer(state, data, config, seed, vgg, reporter, work, fingerprint).run()
    with torch.no_grad():
        for name, value in exact.network.named_parameters():
            value.copy_(progress.best[name])
    exact.network.eval()
    return TrainedTexture(exact, _info(state, choice, frames, progress, config, vgg is not None))


def mesh_of(rig: RigModel, track: Track, texture: StaticTexture) -> TexturedMesh:
    """The tracked head with its static albedo."""
    head = posable_head(rig, torch.from_numpy(np.asarray(track.identity, np.float32)), float(track.scale))
    return state_of(head, rig.quads, rig.uv, rig.quad_uv, rig.quad_parts, rig.part_names, texture.linear)


def all_inputs(rig: RigModel, track: Track) -> tuple[np.ndarray, tuple[str, ...]]:
    """(N, X) raw inputs of all samples, and their names. The track's controls are those of the package."""
    names = input_names(rig.expression_names, rig.joint_names)
    orientation = head_orientation(track.world_from_root, track.joint_rotations, rig.joint_names, track.world_from_cam)
    return gather_inputs(names, rig.expression_names, track.controls, rig.joint_names, track.joint_rotations, orientation), names


def _fresh_texture(
    rig: RigModel, texture: StaticTexture, frames: list[TrainingFrame], choice: FrameChoice, inputs: np.ndarray, names: tuple[str, ...],
    config: DynamicTextureConfig, seed: int,
) -> ExactTexture:
    texels = find_texels(rig, texture.size_px)
    blocks = block_windows(rig, texture.size_px, texels)
    windows = paintable_windows(blocks, hits_of(frames))
    is_seen = cv2.resize(windows.max(0), (texture.size_px, texture.size_px), interpolation=cv2.INTER_LINEAR) > 0
    paintable = (texture.mask > 0) & is_seen
    if not paintable.any():
        text = "No place of the texture may change: the blending mask is empty where the clip shows the face."
        raise AvatarError("bad_input", text, "Use a clip that shows the face, or paint the mask.", {"reason": NOTHING_TO_LEARN})
    canvas = pack_canvas(rig, texels, paintable, blocks, BLOCK_NAMES, config.canvas_px)
    space = input_space(names, len(rig.expression_names), inputs[choice.training])
    return ExactTexture(seeded_network(space, config.canvas_px, config.decoder, seed), space, canvas, windows)


def _data_of(frames: list[TrainingFrame], exact: ExactTexture, choice: FrameChoice, inputs: np.ndarray) -> _Data:
    lookups = {frame.sample: frame_lookup(frame, exact.canvas, exact.windows) for frame in frames}
    kept = np.array([sample in lookups for sample in choice.training])
    training, validation = choice.training[kept], np.array([sample for sample in choice.validation if sample in lookups], int)
    share = choice.share[kept] / choice.share[kept].sum()
    return _Data([lookups[s] for s in training], [lookups[s] for s in validation], inputs[training], inputs[validation], share)


class _Trainer:
    """The loop."""

    def __init__(
        self, state: DynamicTexture, data: _Data, config: DynamicTextureConfig, seed: int, vgg: VggFeatures | None, reporter: Reporter, work: Path, fingerprint: str
    ) -> None:
        self.state, self.data, self.config, self.seed, self.vgg = state, data, config, seed, vgg
        self.reporter, self.work, self.fingerprint = reporter, work, fingerprint
        self.network: DynamicTextureNetwork = state.exact.network
        self.space: InputSpace = state.exact.space
        self.groups = mixing_groups(self.space.names)
        self.groups[[name.startswith(("cheekSquint", "noseSneer")) for name in self.space.names]] = STILL  # they move mouth and lids alike
        # Blinks are rare, and the other eye has never been open then: half of what is mixed in comes from the tenth that is farthest from the usual.
        standard = (data.training_inputs - self.space.mean) / self.space.deviation
        far = [np.argsort(-np.linalg.norm(standard[:, self.groups == group], axis=1), kind="stable") for group in MIXED_GROUPS]
        self.extremes = [order[: max(1, len(order) // 10)] for order in far]
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate)

    def run(self) -> Progress:
        config = self.config
        progress = read_checkpoint(self.work, self.fingerprint, self.network, self.optimiser) or fresh_progress(self.network)
        judged = {max(1, round(share * config.num_steps)) for share in JUDGED_AT}
        try:
            self._learn(progress, judged)
        except Cancelled:
            write_checkpoint(self.work, self.fingerprint, self.network, self.optimiser, progress)
            raise
        remove_checkpoint(self.work)
        return progress

    def _learn(self, progress: Progress, judged: set[int]) -> None:
        config = self.config
        saved = shown = time.monotonic()
        while progress.step < config.num_steps:
            loss = self._step(progress)
            if progress.step in judged:
                self._judge(progress, loss)
            now = time.monotonic()
            if now - saved > CHECKPOINT_EVERY_S:
                write_checkpoint(self.work, self.fingerprint, self.network, self.optimiser, progress)
                saved = now
            if now - shown > PREVIEW_EVERY_S or progress.step == config.num_steps:
                self._show(progress)
                shown = now
            self.reporter.progress("avatar", _PREPARED + (1 - _PREPARED) * progress.step / config.num_steps, 1.0)

    def _step(self, progress: Progress) -> float:
        config, random = self.config, np.random.default_rng([self.seed, progress.step])
        rate = config.learning_rate * _schedule(progress.step / config.num_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        rows = random.choice(len(self.data.training), size=config.batch_size, p=self.data.share)
        inputs, mixed = self._heard(self.data.training_inputs[rows], random)
        loss = self._loss(batch_pictures([self.data.training[row] for row in rows], self.network.painted(inputs), mixed=mixed))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise AvatarError("diverged", f"Training of the dynamic texture diverged at step {progress.step}.", "Lower the learning rate.", {"step": progress.step})
        progress.step += 1
        decay = min(EMA, (1 + progress.step) / (10 + progress.step))
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.mul_(1 - rate * config.weight_decay)
                progress.averages[name].lerp_(parameter, 1 - decay)
        return value

    def _heard(self, inputs: np.ndarray, random: np.random.Generator) -> tuple[torch.Tensor, list[int]]:
        """Standardised inputs with noise, and which part of the face was taken from another frame (row of ``MIXED_GROUPS``, -1 = none).

        Some frames are told the constant orientation instead of their own. Some are told that an eye or the mouth does what it did in another frame:
        the other parts must not care, or a wink would change the open eye.
        """
        raw, mixed = inputs.copy(), []
        turned = random.random(len(raw)) < self.config.orientation_dropout
        raw[turned, -len(ORIENTATION) :] = self.space.constant_orientation
        for row in raw:
            group = int(random.integers(len(MIXED_GROUPS))) if random.random() < self.config.mixing else -1
            any_frame, extreme = random.integers(len(self.data.training_inputs)), random.integers(len(self.extremes[group]))
            if group >= 0:
                columns = self.groups == MIXED_GROUPS[group]
                row[columns] = self.data.training_inputs[self.extremes[group][extreme] if random.random() < 0.5 else any_frame, columns]
            mixed.append(group)
        with torch.no_grad():
            clean = self.network.inputs(torch.from_numpy(raw))
        noise = random.normal(size=raw.shape).astype(np.float32) * np.float32(self.config.input_noise)
        return clean + torch.from_numpy(noise), mixed

    def _loss(self, batch: Any) -> torch.Tensor:
        config = self.config
        loss = config.l1_weight * l1_loss(batch.picture, batch.target, batch.weight)
        if self.vgg is not None:
            return loss + config.perceptual_weight * self.vgg.distance(batch.picture, batch.target, batch.weight)
        loss = loss + config.gradient_weight * gradient_loss(batch.picture, batch.target, batch.weight)
        return loss + config.ssim_weight * ssim_loss(batch.picture, batch.target, batch.weight)

    def _judge(self, progress: Progress, training_loss: float) -> None:
        """Loss of the running mean on the validation frames."""
        total = self._with(progress.averages, self._validation_loss)
        progress.losses.append((progress.step, training_loss, total))
        if total <= progress.best_loss:
            progress.best_loss = total
            progress.best = {name: value.clone() for name, value in progress.averages.items()}

    def _validation_loss(self) -> float:
        losses = []
        with torch.no_grad():
            for at in range(0, len(self.data.validation), 4):
                inputs = torch.from_numpy(self.data.validation_inputs[at : at + 4])
                batch = batch_pictures(self.data.validation[at : at + 4], self.network(inputs))
                losses.append(float(((batch.picture - batch.target).square() * batch.weight).sum() / (3 * batch.weight.sum()).clamp_min(1e-6)))
                self.reporter.check()
        return float(np.mean(losses)) if losses else 0.0

    def _with(self, values: dict[str, torch.Tensor], ask: Callable[[], Any]) -> Any:
        """Asks the network with other numbers in it."""
        kept = {name: parameter.detach().clone() for name, parameter in self.network.named_parameters()}
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(values[name])
            answer = ask()
            for name, parameter in self.network.named_parameters():
                parameter.copy_(kept[name])
        return answer

    def _show(self, progress: Progress) -> None:
        data = self.data
        widest = int(np.argmax(data.share * np.linspace(1, 1.001, len(data.share))))
        path = self.work / PREVIEW_FILE
        self._with(progress.averages, lambda: write_preview(path, data.training[widest], self.network, data.training_inputs[widest]))
        self.reporter.artifact(path)


def _schedule(share: float) -> float:
    """Factor of the learning rate: 1, then down along a cosine."""
    if share < FALL_FROM:
        return 1.0
    turn = (share - FALL_FROM) / (1 - FALL_FROM)
    return FALL_TO + (1 - FALL_TO) * 0.5 * (1 + math.cos(math.pi * turn))


def _fingerprint(exact: ExactTexture, data: _Data, config: DynamicTextureConfig, seed: int) -> str:
    digest = hashlib.sha256(repr((to_dict(config), seed, [lookup.frame.sample for lookup in data.training])).encode())
    for array in (exact.windows, *exact.canvas.to_arrays().values(), *exact.space.to_arrays().values(), *network_arrays(exact.network).values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    for lookup in (data.training[0], data.training[-1]):
        digest.update(lookup.frame.target.tobytes() + lookup.frame.static.tobytes() + lookup.frame.uv.tobytes())
    return digest.hexdigest()


def _info(state: DynamicTexture, choice: FrameChoice, frames: list[TrainingFrame], progress: Progress, config: DynamicTextureConfig, has_vgg: bool) -> dict[str, Any]:
    gains = np.array([frame.gain for frame in frames])
    return {
        "decoder": config.decoder, "canvas_px": config.canvas_px, "num_steps": config.num_steps, "network_bytes": state.exact.network.num_bytes,
        "perceptual": "vgg16" if has_vgg else "gradient+ssim", "num_training_frames": int(len(choice.training)), "num_validation_frames": int(len(choice.validation)),
        "warnings": list(choice.warnings), "picture_px": int(round(len(frames[0].target) ** 0.5)), "frame_gain_deviation": round(float(gains.std()), 4),
        "validation_loss": [[step, round(training, 6), round(validation, 7)] for step, training, validation in progress.losses],
        "texels_that_change": int(len(state.painter.texels)),
    }
