"""The real pipeline on a short real clip: killed with SIGKILL at random moments and run again, it gives the undisturbed package."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from quick_stages import package_hashes
from short_clip import short_clip

from backend.package.read import read_package

ROOT = Path(__file__).resolve().parents[2]


def start(clip: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "backend", "reconstruct", str(clip), "--out", str(out), "--preset", "draft", "--consent"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(clip: Path, out: Path) -> float:
    """Runs to the end; returns the seconds it took."""
    started = time.monotonic()
    child = start(clip, out)
    _, said = child.communicate(timeout=600)
    assert child.returncode == 0, said
    return time.monotonic() - started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    """Clip, package, and the seconds its reconstruction took."""
    clip = short_clip()
    out = tmp_path_factory.mktemp("undisturbed") / "me.avatar"
    return clip, out, finish(clip, out)


def test_what_came_out(undisturbed: tuple[Path, Path, float]) -> None:
    _, out, _ = undisturbed
    package = read_package(out)
    assert package.animation.num_samples == 30 and package.consent
    report = json.loads((out / "report.json").read_text())
    assert report["landmarks"]["mean_percent"] < 5, "it is this clip's head, not any head"
    assert report["provenance"]["threads"] == int(os.environ.get("OMP_NUM_THREADS") or report["provenance"]["threads"])
    assert (out / "contact_sheet.png").stat().st_size > 10_000


@pytest.mark.parametrize("num_kills", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_and_run_again(undisturbed: tuple[Path, Path, float], num_kills: int, tmp_path: Path) -> None:
    clip, expected, seconds = undisturbed
    out = tmp_path / "me.avatar"
    chance = random.Random(num_kills)
    for _ in range(num_kills):
        child = start(clip, out)
        try:
            child.communicate(timeout=chance.uniform(0.25 * seconds, 0.9 * seconds))
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
        assert not out.exists() or read_package(out).name == "me", "the output appears complete or not at all"
        if out.exists():  # the finished stages made this run shorter than the random moment
            break
    if not out.exists():
        finish(clip, out)
    assert package_hashes(out) == package_hashes(expected)
    first, second = (json.loads((folder / "report.json").read_text())["provenance"] for folder in (expected, out))
    assert first == second
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["me.avatar", "me.work"]
