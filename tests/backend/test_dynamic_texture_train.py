"""Training: what it learns, which frames it reads, that it goes on where it was stopped, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from expressive_take import ExpressiveTake

from backend.avatar_stage import compute_avatar, trained_folder
from backend.avatars.dynamic_texture import train as training
from backend.avatars.dynamic_texture import training_frames
from backend.avatars.dynamic_texture.checkpoints import CHECKPOINT_FILE
from backend.avatars.dynamic_texture.frame_choice import choose_training_frames
from backend.avatars.dynamic_texture.network import network_arrays
from backend.avatars.dynamic_texture.render import render, texture
from backend.avatars.dynamic_texture.state import DynamicTexture, TrainedTexture
from backend.capture.model import TEST, TRAIN
from backend.config import DynamicTextureConfig
from backend.errors import AvatarError, Cancelled
from backend.objectives.image_metrics import psnr_db
from backend.reporter import Reporter
from backend.texture.frames import usable_frames

SMALL = DynamicTextureConfig(num_steps=70, render_px=96, batch_size=2, learning_rate=2e-3, input_noise=0.02, orientation_dropout=0.1)


@pytest.fixture(scope="module")
def take() -> ExpressiveTake:
    return ExpressiveTake()


@pytest.fixture(autouse=True)
def drawn_frames(take: ExpressiveTake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_frames, "iterate_frames", take.frames)


@pytest.fixture(scope="module")
def trained(take: ExpressiveTake, tmp_path_factory: pytest.TempPathFactory) -> TrainedTexture:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_frames, "iterate_frames", take.frames)
        return training.train(take.capture, take.track, take.rig, take.texture, SMALL, 3, Reporter(), tmp_path_factory.mktemp("work"))


def state_of(take: ExpressiveTake, trained: TrainedTexture) -> DynamicTexture:
    return DynamicTexture(take.mesh, take.texture.light, take.mask.astype(np.float32) / 255, trained.exact, take.rig.expression_names, take.rig.joint_names)


def test_it_learns_how_the_texture_follows_the_expression(take: ExpressiveTake, trained: TrainedTexture) -> None:
    state = state_of(take, trained)
    test = np.flatnonzero(take.capture.split == TEST)
    seen = np.isin(np.arange(take.static.shape[0] ** 2), state.painter.texels).reshape(take.static.shape[:2]) & (take.mask > 200)
    gained = []
    for sample in test:
        truth = take.true_texture(sample)
        painted = texture(state, take.drive(sample))[0]
        gained.append(psnr_db(painted, truth, seen) - psnr_db(take.static, truth, seen))
    assert np.mean(gained) > 3.0, gained


def test_only_training_frames_are_decoded(take: ExpressiveTake, trained: TrainedTexture) -> None:
    assert take.asked and set(take.asked) <= set(np.flatnonzero(take.capture.split == TRAIN).tolist())
    assert trained.info["num_training_frames"] + trained.info["num_validation_frames"] == len(usable_frames(take.capture, take.track))


def test_outside_the_mask_the_texture_is_the_static_one(take: ExpressiveTake, trained: TrainedTexture) -> None:
    state = state_of(take, trained)
    drive, camera = take.drive(3), take.camera(3)
    painted = texture(state, drive)[0]
    assert np.array_equal(painted[take.mask == 0], take.static[take.mask == 0])
    assert np.abs(painted - take.static).max() > 0.01 and painted.min() >= 0 and painted.max() <= 1
    empty = dataclasses.replace(state, mask=np.zeros_like(state.mask))
    without, static, dynamic = (render(one, drive, camera, amount=amount).colour.numpy() for one, amount in ((empty, 1.0), (state, 0.0), (state, 1.0)))
    assert np.array_equal(without, static), "with M = 0 the frame is the static render bit for bit"
    assert not np.array_equal(dynamic, static)


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(take: ExpressiveTake, trained: TrainedTexture, tmp_path) -> None:
    class Stopper(Reporter):
        calls = 0

        def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
            Stopper.calls += done > training._PREPARED
            if Stopper.calls == 25:
                self.cancel()
            super().progress(stage, done, total, unit)

    arguments = (take.capture, take.track, take.rig, take.texture, SMALL, 3)
    with pytest.raises(Cancelled):
        training.train(*arguments, Stopper(), tmp_path)
    assert (tmp_path / CHECKPOINT_FILE).exists()
    steps: list[float] = []
    listening = Reporter()
    listening.progress = lambda stage, done, total, unit="": steps.append(done)  # type: ignore[method-assign]
    resumed = training.train(*arguments, listening, tmp_path)
    assert min(step for step in steps if step > training._PREPARED) > training._PREPARED + 0.25, "it did not start anew"
    assert not (tmp_path / CHECKPOINT_FILE).exists() and (tmp_path / training.PREVIEW_FILE).exists()
    for name, value in network_arrays(trained.exact.network).items():
        assert np.array_equal(value, network_arrays(resumed.exact.network)[name]), name


def test_a_checkpoint_of_other_settings_is_not_used(take: ExpressiveTake, tmp_path) -> None:
    (tmp_path / CHECKPOINT_FILE).write_bytes(b"not an archive")
    config = dataclasses.replace(SMALL, num_steps=1)
    assert training.train(take.capture, take.track, take.rig, take.texture, config, 3, Reporter(), tmp_path).info["validation_loss"][-1][0] == 1


def test_too_few_frames_and_nothing_to_paint_are_refused(take: ExpressiveTake, tmp_path) -> None:
    tracked = take.track.is_tracked.copy()
    tracked[10:] = False
    with pytest.raises(AvatarError) as few:
        choose_training_frames(take.capture, take.track.replace(is_tracked=tracked), 600)
    assert few.value.code == "bad_input" and few.value.detail["frames"] == 10
    blank = dataclasses.replace(take.texture, mask=np.zeros_like(take.mask))
    with pytest.raises(AvatarError) as nothing:
        training.train(take.capture, take.track, take.rig, blank, SMALL, 0, Reporter(), tmp_path)
    assert nothing.value.code == "bad_input"
    calls: list[str] = []
    reporter = Reporter()
    reporter.log = calls.append  # type: ignore[method-assign]
    assert compute_avatar(tmp_path, take.capture, take.track, take.rig, blank, SMALL, 0, reporter, tmp_path / "work") == 0
    assert trained_folder(tmp_path) is None and any("No dynamic texture" in text for text in calls), "the avatar is made with its static texture"


def test_what_the_clip_never_shows_is_named(take: ExpressiveTake) -> None:
    assert not choose_training_frames(take.capture, take.track, 600).warnings
    points = take.capture.landmarks_px.copy()
    points[:] = points[np.argmin(take.track.controls[:, take.rig.expression_names.index("eyeBlinkLeft")])]
    points[:, 14] = points[:, 13]
    still = choose_training_frames(take.capture.replace(landmarks_px=points), take.track, 600)
    assert len(still.warnings) == 2 and "mouth" in still.warnings[0] and "eyes" in still.warnings[1]
    wide = choose_training_frames(take.capture, take.track, 600)
    assert wide.share.max() == pytest.approx(3 * wide.share.min()) and wide.share.sum() == pytest.approx(1)


def test_a_missing_weights_file_is_an_error(take: ExpressiveTake, tmp_path) -> None:
    config = dataclasses.replace(SMALL, vgg_weights=str(tmp_path / "none.pth"))
    with pytest.raises(AvatarError) as error:
        training.train(take.capture, take.track, take.rig, take.texture, config, 0, Reporter(), tmp_path)
    assert error.value.code == "asset_missing"
    (tmp_path / "wrong.pth").write_bytes(b"nothing")
    with pytest.raises(AvatarError) as wrong:
        compute_avatar(tmp_path, take.capture, take.track, take.rig, take.texture, dataclasses.replace(config, vgg_weights=str(tmp_path / "wrong.pth")), 0, Reporter(), tmp_path)
    assert wrong.value.code == "bad_input", "a wrong file is the user's to correct, not a reason for an avatar without its texture"
