"""A range tracked again by its pixels, and chunks in processes of their own: a made clip, the real capture, the real job."""

import os
import shutil
import threading
import time

import numpy as np
import pytest
from short_clip import short_clip

from backend.capture.build import capture_clip
from backend.capture.embed import load_rig_with_landmarks
from backend.config import CaptureConfig, TrackConfig
from backend.errors import AvatarError, Cancelled
from backend.package.read import read_package
from backend.package.write import write_package
from backend.reporter import Reporter
from backend.track import chunk_workers, chunks
from backend.track.clip_fit import ClipFit, frame_trust
from backend.track.energy import Shared
from backend.track.fit import track_clip
from backend.track.landmark_model import landmark_model
from backend.track.lids import lid_openness
from backend.track.patch import read_patch
from backend.track.pixels import pixel_fit
from backend.track.state import unknowns_of
from backend.worker_jobs import run_job

pytestmark = pytest.mark.slow
CONFIG = TrackConfig(num_key_frames=8, num_photometric_keys=4, num_points=600, face_px=128, scale=1.0, num_workers=1)


@pytest.fixture(scope="module")
def rig():
    return load_rig_with_landmarks("anny")


@pytest.fixture(scope="module")
def avatar(rig, tmp_path_factory):
    """A package tracked by its pixels, its clip beside it and no work folder."""
    folder = tmp_path_factory.mktemp("pixels")
    clip = folder / "clip.mp4"
    shutil.copyfile(short_clip(), clip)
    capture = capture_clip(clip, CaptureConfig(), Reporter())
    track = track_clip(capture, rig, CONFIG, Reporter())
    grey = np.full((64, 64, 3), 128, np.uint8)
    return write_package(
        folder / "made.avatar", name="made", rig=rig, track=track, capture=capture, texture=grey, seen=grey[..., 0], background_mp4=None, consent=True
    )


class Listener(Reporter):
    def __init__(self, stop_in=None):
        super().__init__()
        self.stages, self.stop_in = [], stop_in

    def progress(self, stage, done, total, unit=""):
        self.stages.append(stage)
        if stage == self.stop_in:
            self.cancel()
        super().progress(stage, done, total, unit)


def settings(folder, out, **changes):
    config = {"num_photometric_keys": 4, "num_points": 600, "face_px": 128, "scale": 1.0, "num_workers": 1}
    return {"folder": str(folder), "frame_start": 6, "frame_end": 11, "out": str(out), **changes, "config": {**config, **changes.get("config", {})}}


def test_by_pixels_nearly_the_old_track_and_only_the_range(avatar, tmp_path):
    before = {path: path.read_bytes() for path in sorted(avatar.rglob("*")) if path.is_file()}
    first, second = Listener(), Listener()
    assert run_job("track_again", settings(avatar, tmp_path / "a.npz"), first) == {"patch": str(tmp_path / "a.npz"), "num_frames": 6}
    run_job("track_again", settings(avatar, tmp_path / "b.npz"), second)
    assert first.stages.count("capture") > second.stages.count("capture")  # computed from the clip once, then found in the work folder
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert {path: path.read_bytes() for path in sorted(avatar.rglob("*")) if path.is_file()} == before
    patch, old = read_patch(tmp_path / "a.npz"), read_package(avatar).animation
    assert patch.region_names == old.region_names and len(old.region_names) > 3
    assert np.abs(patch.controls - old.controls[6:12]).mean() < 0.015
    assert np.linalg.norm(patch.world_from_root[:, :3, 3] - old.world_from_root[6:12, :3, 3], axis=1).mean() < 0.0015
    assert np.abs(patch.confidence - old.confidence[6:12]).mean() < 0.3 and (patch.region_confidence >= 0).all() and (patch.region_confidence <= 1).all()


def test_a_pin_wins_against_the_pixels(avatar, tmp_path):
    import torch

    from backend.geometry.cameras import invert_rigid, project
    from backend.package.posing import posable_head_of

    package = read_package(avatar)
    vertex = int(np.argmax(np.where(package.mesh.regions["face"], package.mesh.vertices[:, 2], -1)))

    def place_px(motion, row, frame):
        head = posable_head_of(package.mesh).pose(torch.from_numpy(motion.controls[row]), torch.from_numpy(motion.joint_rotations[row])).numpy()
        cam_from_root = invert_rigid(package.animation.world_from_cam[frame]) @ motion.world_from_root[row]
        return project(package.animation.px_from_cam, (cam_from_root[:3, :3] @ head[vertex] + cam_from_root[:3, 3])[None])[0]

    wanted = place_px(package.animation, 8, 8) + [5.0, 3.0]
    pin = {"frame": 8, "vertex_id": vertex, "x_px": float(wanted[0]), "y_px": float(wanted[1])}
    run_job("track_again", settings(avatar, tmp_path / "p.npz", pins=[pin]), Reporter())
    assert np.linalg.norm(place_px(read_patch(tmp_path / "p.npz"), 2, 8) - wanted) < 1


def test_cancelled_while_pixels_are_compared(avatar, tmp_path):
    with pytest.raises(Cancelled):
        run_job("track_again", settings(avatar, tmp_path / "p.npz"), Listener(stop_in="track"))
    assert not list(tmp_path.iterdir())


@pytest.fixture
def two_chunks(rig, monkeypatch):
    """A function that solves the frames of a short clip in two chunks, by some number of processes."""
    capture = capture_clip(short_clip(), CaptureConfig(), Reporter())
    model = landmark_model(rig)
    trust = frame_trust(capture)
    usable = np.flatnonzero((trust > 0) & capture.is_train)
    fit = ClipFit(capture, model, unknowns_of(model), trust, lid_openness(capture.landmarks_px, (trust > 0) & capture.is_train), CONFIG)
    shared, states, _, _ = fit.solve_person(usable[::3], Reporter())
    states = fit.near_key_frames(shared, np.arange(capture.num_samples), usable[::3], states)
    monkeypatch.setattr("backend.track.pixels.chunks_of", lambda chain: chunks.chunks_of(chain, 8, 3))
    pixels = pixel_fit(fit, rig, CONFIG)
    term = pixels.term(usable[::3])
    appearance = term.appearance(term.look(shared, states.take(usable[::3]), 1.0), None)

    def solve(workers, reporter=None):
        import dataclasses

        one = dataclasses.replace(pixels, config=dataclasses.replace(CONFIG, num_workers=workers))
        return one.solve_frames(Shared(shared.identity, shared.focal_px, shared.principal_px), states, appearance, reporter or Reporter())

    return solve


def test_any_number_of_processes_gives_the_same_bits_and_cancelling_ends_them(two_chunks, monkeypatch):
    import multiprocessing

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone, two, three = two_chunks(1), two_chunks(2), two_chunks(3)
    for other in (two, three):
        for name in ("controls", "gaze", "jaw", "translation_m", "cam_from_root_rotation"):
            np.testing.assert_array_equal(getattr(alone[0], name), getattr(other[0], name))
        np.testing.assert_array_equal(alone[1], other[1])
        np.testing.assert_array_equal(alone[2], other[2])
        assert alone[3] == other[3]
    assert os.environ["OMP_NUM_THREADS"] == "1"

    reporter = Reporter()
    threading.Timer(2.0, reporter.cancel).start()
    started = time.monotonic()
    with pytest.raises(Cancelled):
        two_chunks(2, reporter)
    assert time.monotonic() - started < 5 and not multiprocessing.active_children()


def test_a_process_that_dies_is_a_typed_error(two_chunks, monkeypatch):
    import multiprocessing

    def kill_one(rounds=1):
        children = multiprocessing.active_children()
        if children:
            children[0].kill()

    original = chunk_workers.solve_chunks
    monkeypatch.setattr("backend.track.pixels.solve_chunks", lambda common, jobs, workers, step: original(common, jobs, workers, kill_one))
    with pytest.raises(AvatarError, match="ended unexpectedly") as caught:
        two_chunks(2)
    assert caught.value.code == "environment" and "num_workers" in caught.value.hint
