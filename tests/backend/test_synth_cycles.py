"""Cycles clips: the child process renders what the truth says, survives being killed, and fails in words."""

from __future__ import annotations

import importlib.util

import av
import numpy as np
import pytest
from procedural_rig import procedural_rig

from backend.errors import AvatarError
from backend.reporter import Reporter
from backend.synth import cycles
from backend.synth.build import write_clip
from backend.synth.config import SynthConfig
from backend.synth.truth import read_truth

RIG = procedural_rig()
SMALL = {"seconds": 0.08, "size_hw": (128, 96), "texture_px": 256, "samples": 4, "seed": 5}
needs_bpy = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="the bpy package is not installed")


def frames_of(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


class CancelAfter(Reporter):
    """Cancels once so many frames are finished."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames

    def progress(self, stage, done, total, unit=""):
        if done >= self.frames:
            self.cancel()
        super().progress(stage, done, total, unit)


@needs_bpy
@pytest.mark.slow
def test_cycles_and_fast_show_the_same_head(tmp_path):
    """Same truth, and the head covers the same pixels (both clips stand before the same backdrop)."""
    for renderer in ("fast", "cycles"):
        write_clip(tmp_path / renderer, RIG, SynthConfig(renderer=renderer, use_hair=False, **SMALL), Reporter())
    fast, traced = (read_truth(tmp_path / renderer / "truth.npz") for renderer in ("fast", "cycles"))
    for name in ("controls", "identity", "world_from_root", "px_from_cam", "world_from_cam", "light"):
        assert np.array_equal(getattr(fast, name), getattr(traced, name))
    pictures = [frames_of(tmp_path / renderer / "clip.mp4") for renderer in ("fast", "cycles")]
    assert len(pictures[0]) == len(pictures[1]) == 2
    one, two = (picture[0].astype(float) for picture in pictures)
    # Backdrop pixels are equal up to the codec; the heads are lit alike.
    assert np.median(np.abs(one - two)[:12]) < 6
    assert np.corrcoef(one.mean(-1).ravel(), two.mean(-1).ravel())[0, 1] > 0.85
    assert not list((tmp_path / "cycles").glob("cycles-*"))


@needs_bpy
@pytest.mark.slow
def test_finished_frames_survive_cancelling(tmp_path):
    from backend.errors import Cancelled

    config = SynthConfig(renderer="cycles", **{**SMALL, "seconds": 0.16})
    with pytest.raises(Cancelled):
        write_clip(tmp_path, RIG, config, CancelAfter(1))
    kept = sorted(tmp_path.glob("cycles-*/0*.png"))
    assert kept and not (tmp_path / "clip.mp4").exists()
    before = kept[0].stat().st_mtime_ns
    seen = []

    class Watch(Reporter):
        def progress(self, stage, done, total, unit=""):
            if kept[0].exists():
                seen.append(kept[0].stat().st_mtime_ns)

    assert len(frames_of(write_clip(tmp_path, RIG, config, Watch()))) == 4
    assert set(seen) == {before}


@needs_bpy
def test_a_child_that_takes_too_long_is_ended(tmp_path):
    with pytest.raises(AvatarError) as caught:
        write_clip(tmp_path, RIG, SynthConfig(renderer="cycles", timeout_s=0.2, **SMALL), Reporter())
    assert caught.value.code == "environment" and "timeout_s" in caught.value.hint
    assert not (tmp_path / "clip.mp4").exists()


def test_a_child_that_fails_says_why(tmp_path, monkeypatch):
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit('no renderer today')\n")
    monkeypatch.setattr(cycles, "_SCRIPT", script)
    with pytest.raises(AvatarError) as caught:
        write_clip(tmp_path / "out", RIG, SynthConfig(renderer="cycles", **SMALL), Reporter())
    assert caught.value.code == "environment" and "no renderer today" in caught.value.detail["log"]
