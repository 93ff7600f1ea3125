"""Synthetic clips on disk: files, truth, index, determinism, cancelling. A head made by code, the fast renderer."""

from __future__ import annotations

import hashlib
import json

import av
import numpy as np
import pytest
from procedural_rig import procedural_rig

from backend.errors import AvatarError, Cancelled
from backend.geometry.cameras import project
from backend.reporter import Reporter
from backend.synth.build import write_clip
from backend.synth.config import SynthConfig
from backend.synth.encode import write_video
from backend.synth.truth import read_truth, truth_head, vertices_cam, write_truth

RIG = procedural_rig()
SMALL = {"seconds": 0.2, "size_hw": (96, 64), "texture_px": 256, "supersample": 1}


def frames_of(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], float(stream.average_rate), stream.codec_context.name


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synth") / "clip"
    return folder, write_clip(folder, RIG, SynthConfig(seed=5, **SMALL), Reporter())


def test_clip_truth_and_index_agree(made):
    folder, clip = made
    assert clip == folder / "clip.mp4"
    frames, fps, codec = frames_of(clip)
    truth = read_truth(folder / "truth.npz")
    assert len(frames) == truth.num_frames == 5 and frames[0].shape == (96, 64, 3) and fps == truth.fps == 25 and codec == "h264"
    assert np.allclose(truth.time_s, np.arange(5) / 25) and truth.size_hw == (96, 64) and truth.rig_name == RIG.name
    index = json.loads((folder / "dataset.json").read_text())
    entry = index["identities"][0]
    assert index["format"] == "video_avatar.synth" and entry["clips"] == [{"camera": 0, "video": "clip.mp4", "truth": "truth.npz"}]
    assert index["config"]["seed"] == 5 and index["rig_sha256"] == truth.rig_sha256
    position = np.load(folder / entry["uv_position"])["position_m"]
    assert position.shape == (256, 256, 3) and np.isfinite(position).all(-1).any() and (folder / entry["albedo"]).stat().st_size > 1000
    assert not [path for path in folder.rglob("*") if "part" in path.name]


def test_truth_shows_the_head_in_the_frame(made):
    """The head's projection covers the pixels that differ from the same clip's backdrop, and nothing is behind the camera."""
    folder, clip = made
    truth = read_truth(folder / "truth.npz")
    head = truth_head(truth, RIG)
    vertices = vertices_cam(truth, head, 2)
    assert vertices[:, 2].min() > 0.2
    face = project(truth.px_from_cam, vertices[RIG.regions["face"]].astype(np.float64))
    assert 0 < face[:, 0].min() and face[:, 0].max() < 64 and 0 < face[:, 1].min() and face[:, 1].max() < 96
    assert 0.2 < np.ptp(face[:, 1]) / 64 < 1.1
    # The pupils are the darkest thing in the eyes: darker than the eyeballs' mean.
    frame = frames_of(clip)[0][2].astype(float).mean(-1)
    rest = head.joints[RIG.joint_names.index("eye_left")]
    assert np.abs(truth.neutral - head.neutral.numpy()).max() == 0 and np.isfinite(rest.numpy()).all()
    middle = face.mean(0).astype(int)
    assert np.abs(frame[middle[1], middle[0]] - frame[2, 2]) > 5


def test_equal_settings_give_equal_bytes(made, tmp_path):
    folder, _ = made
    write_clip(tmp_path / "same", RIG, SynthConfig(seed=5, **SMALL), Reporter())
    write_clip(tmp_path / "other", RIG, SynthConfig(seed=6, **{**SMALL, "seconds": 0.04}), Reporter())
    digest = lambda path: hashlib.sha256(path.read_bytes()).hexdigest()  # noqa: E731
    for name in ("clip.mp4", "truth.npz", "albedo.png", "uv_position.npz", "dataset.json"):
        assert digest(folder / name) == digest(tmp_path / "same" / name), name
    assert digest(folder / "clip.mp4") != digest(tmp_path / "other" / "clip.mp4")


def test_data_set_of_several_people_and_cameras(tmp_path):
    config = SynthConfig(seed=2, num_identities=2, num_cameras=3, **{**SMALL, "seconds": 0.04})
    first = write_clip(tmp_path, RIG, config, Reporter())
    index = json.loads((tmp_path / "dataset.json").read_text())
    assert first == tmp_path / "identity_000" / "clip_00.mp4" and len(index["identities"]) == 2
    truths = [[read_truth(tmp_path / clip["truth"]) for clip in person["clips"]] for person in index["identities"]]
    assert all(len(person) == 3 for person in truths)
    # One performance seen by three cameras; two people differ.
    assert (truths[0][0].controls == truths[0][2].controls).all() and (truths[0][0].identity == truths[0][1].identity).all()
    assert np.abs(truths[0][0].identity - truths[1][0].identity).max() > 0.1
    towards = [truth.world_from_cam[0, :3, 2] for truth in truths[0]]
    assert np.degrees(np.arccos(towards[1] @ towards[2])) > 40
    for truth in truths[0]:
        face = project(truth.px_from_cam, vertices_cam(truth, truth_head(truth, RIG), 0)[RIG.regions["face"]].astype(np.float64))
        assert np.abs(face.mean(0) - [32, 48]).max() < 16
    for person in index["identities"]:
        assert all((tmp_path / clip["video"]).exists() for clip in person["clips"]) and (tmp_path / person["albedo"]).exists()


def test_bare_head_without_hair_and_shirt(tmp_path):
    clip = write_clip(tmp_path, RIG, SynthConfig(seed=5, use_hair=False, use_body=False, **{**SMALL, "seconds": 0.04}), Reporter())
    assert len(frames_of(clip)[0]) == 1


def test_cancelling_leaves_no_half_clip(tmp_path):
    class Impatient(Reporter):
        def progress(self, stage, done, total, unit=""):
            if done == 2:
                self.cancel()
            super().progress(stage, done, total, unit)

    with pytest.raises(Cancelled):
        write_clip(tmp_path, RIG, SynthConfig(seed=5, **SMALL), Impatient())
    assert not (tmp_path / "clip.mp4").exists() and not (tmp_path / "truth.npz").exists() and not list(tmp_path.glob(".clip*"))


def test_truth_round_trip(made, tmp_path):
    truth = read_truth(made[0] / "truth.npz")
    write_truth(tmp_path / "again.npz", truth)
    again = read_truth(tmp_path / "again.npz")
    for name in truth.__dataclass_fields__:
        one, two = getattr(truth, name), getattr(again, name)
        assert type(one) is type(two) and np.array_equal(one, two), name


def test_truth_of_another_rig_or_a_damaged_file_is_refused(made, tmp_path):
    truth = read_truth(made[0] / "truth.npz")
    with pytest.raises(AvatarError, match="another"):
        truth_head(truth, RIG.replace(template=RIG.template * 1.01))
    data = (made[0] / "truth.npz").read_bytes()
    for name, content in (("cut.npz", data[: len(data) // 2]), ("text.npz", b"no archive")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(AvatarError) as caught:
            read_truth(tmp_path / name)
        assert caught.value.code == "bad_input"
    np.savez(tmp_path / "partial.npz", format_version=1, identity=truth.identity)
    with pytest.raises(AvatarError, match="lacks"):
        read_truth(tmp_path / "partial.npz")


def test_encoder_keeps_colour_and_time(tmp_path):
    colours = np.array([[200, 60, 40], [40, 180, 60], [60, 70, 190], [128, 128, 128]], np.uint8)
    pictures = [np.broadcast_to(colour, (64, 48, 3)) for colour in colours]
    assert write_video(tmp_path / "c.mp4", pictures, (64, 48), 29.97, crf=8) == 4
    with av.open(str(tmp_path / "c.mp4")) as container:
        stream = container.streams.video[0]
        decoded = [(frame.time, frame.to_ndarray(format="rgb24"), frame.colorspace) for frame in container.decode(stream)]
    assert np.allclose([time for time, _, _ in decoded], np.arange(4) / 29.97, atol=1e-3)
    for (_, picture, _), colour in zip(decoded, colours):
        assert np.abs(picture[20:40, 20:30].astype(int).mean((0, 1)) - colour).max() < 10


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(AvatarError) as caught:
        write_clip(tmp_path / "file", RIG, SynthConfig(seed=5, **SMALL), Reporter())
    assert caught.value.code == "bad_input"
