"""The pipeline: what runs when, what is used again, what a killed or cancelled or failing run leaves."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("backend.pipeline")

from quick_stages import QuickStages, package_hashes  # noqa: E402

from backend import pipeline  # noqa: E402
from backend.config import CaptureConfig, PackageConfig, TextureConfig, TrackConfig, preset_config  # noqa: E402
from backend.errors import AvatarError, Cancelled  # noqa: E402
from backend.output_folder import recover  # noqa: E402
from backend.package.read import read_package  # noqa: E402
from backend.reporter import Reporter  # noqa: E402

ALL = {"capture", "track", "texture", "background", "report"}


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> QuickStages:
    quick = QuickStages()
    quick.install(monkeypatch.setattr)
    return quick


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clips" / "clip.mp4"
    path.parent.mkdir()
    path.write_bytes(b"not decoded by the stand-ins")
    return path


DRAFT = preset_config("draft")


def reconstruct(clip: Path, out: Path, config=DRAFT, reporter: Reporter | None = None, consent: bool = True, overwrite: bool = False) -> Path:
    return pipeline.reconstruct(clip, out, config, reporter or Reporter(), consent, overwrite)


def test_a_package_with_report_comes_out(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    package = read_package(out)
    assert package.name == "me" and package.consent is True
    report = json.loads((out / "report.json").read_text())
    assert set(report["stages"]) == {"rig", "capture", "track", "texture", "background", "package", "report"}
    for name, stage in report["stages"].items():
        assert stage["seconds"] >= 0 and (stage["peak_memory_mib"] is None or stage["peak_memory_mib"] > 10), name
    assert report["stages"]["capture"]["frames"] == 12
    provenance = report["provenance"]
    assert provenance["rig"]["name"] == package.rig_name and set(provenance["licences"]) <= set(package.licences)
    assert provenance["config"]["preset"] == "draft" and provenance["versions"]["numpy"] and provenance["threads"] >= 1
    assert provenance["focal_source"] == "default" and provenance["scale_source"] == "iris" and len(provenance["clip_sha256"]) == 64
    assert str(tmp_path) not in (out / "report.json").read_text() + (out / "avatar.json").read_text(), "no path of this machine"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clips", "me.avatar", "me.work"]


def test_progress_and_notes_reach_the_front_door(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    said: list[str] = []
    shares: list[float] = []

    class Recorder(Reporter):
        def progress(self, stage, done, total, unit=""):
            said.append(stage)

        def overall(self, share, remaining_s):
            shares.append(share)

        def log(self, text):
            said.append(text)

        def artifact(self, path):
            said.append(str(path))

    out = reconstruct(clip, tmp_path / "me.avatar", reporter=Recorder())
    assert list(dict.fromkeys(name for name in said if name in pipeline.WEIGHTS_S)) == list(pipeline.WEIGHTS_S)
    assert "a note" in said and said[-1] == str(out) and not any(name.startswith("inside") for name in said)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1.0)


def test_running_again_computes_nothing(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    before, timings = package_hashes(out), json.loads((out / "report.json").read_text())["stages"]
    reconstruct(clip, out, overwrite=True)
    assert set(stages.runs.values()) == {1}
    assert package_hashes(out) == before
    after = json.loads((out / "report.json").read_text())["stages"]
    assert {name: timings[name] for name in ALL} == {name: after[name] for name in ALL}, "timings are those of the run that computed"


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"capture": CaptureConfig(focal_px=500.0)}, {"capture", "track", "texture", "report"}),
        ({"capture": CaptureConfig(min_face_px=32.0)}, {"capture"}),  # the stand-in's result does not change, so nothing follows
        ({"track": TrackConfig(num_key_frames=7)}, {"track", "texture", "report"}),
        ({"texture": TextureConfig(size_px=256, num_frames=41)}, {"texture", "report"}),
        ({"package": PackageConfig(background_height_px=100)}, {"background", "report"}),
        ({"rig": "ict:elsewhere"}, {"track", "texture", "report"}),
    ],
)
def test_a_changed_setting_computes_exactly_what_depends_on_it(stages: QuickStages, clip: Path, tmp_path: Path, change: dict, again: set[str]) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    stages.runs.clear()
    reconstruct(clip, out, dataclasses.replace(DRAFT, **change), overwrite=True)
    assert set(stages.runs) == again and set(stages.runs.values()) == {1}
    stages.runs.clear()
    reconstruct(clip, out, overwrite=True)
    assert not stages.runs, "the first results are still there"


def test_consent_changes_only_the_package(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar", consent=False)
    assert read_package(out).consent is False
    stages.runs.clear()
    reconstruct(clip, out, consent=True, overwrite=True)
    assert read_package(out).consent is True and set(stages.runs) == {"report"}


def test_a_moved_clip_is_the_same_clip(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    before = package_hashes(out)
    moved = tmp_path / "clip.mp4"
    shutil.move(clip, moved)
    stages.runs.clear()
    reconstruct(moved, out, overwrite=True)
    assert not stages.runs and package_hashes(out) == before
    changed = dataclasses.replace(DRAFT, texture=TextureConfig(size_px=256, num_frames=41))
    reconstruct(moved, out, changed, overwrite=True)
    assert set(stages.runs) == {"texture", "report"}


def test_another_clip_is_another_clip(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    clip.write_bytes(b"other content")
    stages.runs.clear()
    reconstruct(clip, out, overwrite=True)
    assert {"capture", "background", "report"} <= set(stages.runs)


def test_changed_code_is_not_trusted_with_old_results(stages: QuickStages, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    stages.runs.clear()
    versions = {name: pipeline.code_version(name) for name in pipeline.CODE}
    assert len(set(versions.values())) == len(versions)
    monkeypatch.setattr(pipeline, "code_version", lambda name: "changed" if name == "texture" else versions[name])
    reconstruct(clip, out, overwrite=True)
    assert set(stages.runs) == {"texture"}, "the new code gave the same texture, so nothing after it runs"


def test_every_room_a_stage_uses_exists() -> None:
    here = Path(pipeline.__file__).parent
    for stage, parts in pipeline.CODE.items():
        assert [part for part in parts if not ((here / part).is_dir() or (here / part).is_file())] == [], stage


@pytest.mark.parametrize("stage", ["capture", "track", "texture", "background", "report"])
def test_cancel_in_a_stage_keeps_the_finished_ones(stages: QuickStages, clip: Path, tmp_path: Path, stage: str) -> None:
    class Canceller(Reporter):
        def progress(self, name, done, total, unit=""):
            if name == stage and done == 1:
                self.cancel()
            self.check()

    with pytest.raises(Cancelled):
        reconstruct(clip, tmp_path / "me.avatar", reporter=Canceller())
    assert not (tmp_path / "me.avatar").exists()
    assert not list((tmp_path / "me.work").glob(".*.part")) if (tmp_path / "me.work").exists() else stage == "capture"
    finished = set(stages.runs) - {stage}
    stages.runs.clear()
    reconstruct(clip, tmp_path / "me.avatar")
    assert set(stages.runs) == ALL - finished


class TestRefusals:
    """What is checked before any work; nothing may be left behind."""

    @pytest.fixture(autouse=True)
    def _nothing_runs(self, stages: QuickStages, tmp_path: Path) -> Iterator[None]:
        yield
        assert not stages.runs
        assert not list(tmp_path.rglob("*.work")) and not list(tmp_path.rglob(".*"))

    def refused(self, code: str, *args, **options) -> AvatarError:
        with pytest.raises(AvatarError) as caught:
            reconstruct(*args, **options)
        assert caught.value.code == code and caught.value.message and caught.value.hint
        return caught.value

    def test_missing_clip(self, tmp_path: Path) -> None:
        assert "nowhere.mp4" in self.refused("bad_input", tmp_path / "nowhere.mp4", tmp_path / "me.avatar").message

    def test_folder_as_clip(self, tmp_path: Path) -> None:
        self.refused("bad_input", tmp_path, tmp_path / "me.avatar")

    def test_empty_clip(self, tmp_path: Path) -> None:
        (tmp_path / "empty.mp4").touch()
        self.refused("bad_input", tmp_path / "empty.mp4", tmp_path / "me.avatar")

    def test_existing_output(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "me.avatar").mkdir()
        (tmp_path / "me.avatar" / "avatar.json").write_text("{}")
        assert "overwrit" in self.refused("bad_request", clip, tmp_path / "me.avatar").hint
        assert (tmp_path / "me.avatar" / "avatar.json").read_text() == "{}"

    def test_overwriting_what_is_no_avatar(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "photos").mkdir()
        (tmp_path / "photos" / "a.jpg").write_text("mine")
        self.refused("bad_request", clip, tmp_path / "photos", overwrite=True)
        assert (tmp_path / "photos" / "a.jpg").read_text() == "mine"

    def test_output_below_a_file(self, clip: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        self.refused("bad_input", clip, tmp_path / "file" / "me.avatar")

    def test_read_only_place(self, clip: Path) -> None:
        self.refused("bad_input", clip, Path("/proc/me.avatar"))

    def test_no_cuda(self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        self.refused("environment", clip, tmp_path / "me.avatar", dataclasses.replace(DRAFT, device="cuda"))


def test_bad_input_found_by_a_stage_leaves_nothing(stages: QuickStages, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_face(*_: object) -> None:
        raise AvatarError("bad_input", "No face.", "Another clip.")

    monkeypatch.setattr(pipeline, "capture_clip", no_face)
    with pytest.raises(AvatarError):
        reconstruct(clip, tmp_path / "me.avatar")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clips"]


def test_disk_full_while_publishing(stages: QuickStages, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from backend import output_folder

    out = reconstruct(clip, tmp_path / "me.avatar")
    before = package_hashes(out)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output_folder.shutil, "copytree", full)
        with pytest.raises(AvatarError) as caught:
            reconstruct(clip, out, overwrite=True)
    assert caught.value.code == "environment" and package_hashes(out) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["clips", "me.avatar", "me.work"]


def test_overwriting_keeps_files_we_did_not_write(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    out = reconstruct(clip, tmp_path / "me.avatar")
    (out / "notes.txt").write_text("mine")
    (out / "texture" / "painted.png").write_text("mine too")
    (out / "empty folder").mkdir()
    reconstruct(clip, out, consent=False, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine" and (out / "texture" / "painted.png").read_text() == "mine too" and (out / "empty folder").is_dir()
    assert read_package(out).consent is False


def test_an_interrupted_swap_is_put_right(tmp_path: Path) -> None:
    out, old, part = tmp_path / "me.avatar", tmp_path / ".me.avatar.old", tmp_path / ".me.avatar.part"
    old.mkdir()
    (old / "avatar.json").write_text("old")
    part.mkdir()
    recover(out)
    assert (out / "avatar.json").read_text() == "old" and not old.exists() and not part.exists()
    old.mkdir()
    recover(out)
    assert (out / "avatar.json").read_text() == "old" and not old.exists()


def test_killed_at_random_moments_gives_the_same_package(stages: QuickStages, clip: Path, tmp_path: Path) -> None:
    """SIGKILL, again and again, with the slow stages played by stand-ins; the real ones are in test_pipeline_kill.py."""
    expected = package_hashes(reconstruct(clip, tmp_path / "undisturbed" / "me.avatar"))
    out = tmp_path / "killed" / "me.avatar"
    command = [sys.executable, str(Path(__file__).with_name("quick_stages.py")), str(clip), str(out), "0.05"]
    folders = [Path(__file__).parents[2], Path(__file__).parents[1], Path(__file__).parent]
    environment = {"PYTHONPATH": ":".join(map(str, folders)), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    chance = random.Random(5)
    kills = 0
    for _ in range(20):
        child = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        work, finished = tmp_path / "killed" / "me.work", 0
        deadline = time.monotonic() + 60
        while child.poll() is None and not (work / ".lock").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            _, errors = child.communicate(timeout=chance.uniform(0.05, 0.5) if kills < 5 else 60)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.communicate()
            kills += 1
            assert not out.exists() or (out / "avatar.json").exists(), "the output appears complete or not at all"
            continue
        assert child.returncode == 0, errors.decode()
        break
    assert kills >= 3 and finished == 0
    assert package_hashes(out) == expected
    assert not list((tmp_path / "killed").glob(".*")) and not list((tmp_path / "killed" / "me.work").glob(".*.part"))
