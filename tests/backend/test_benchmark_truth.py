"""The truth benchmark from film to table on a clip of another head model. Slow: it films, captures and tracks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from shared_data import shared_path

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_clip_of_another_head_is_filmed_tracked_and_measured(tmp_path):
    model = shared_path("models/ict_facekit_compact.npz")
    command = [sys.executable, str(ROOT / "tools" / "benchmark_truth.py"), "--out", str(tmp_path), "--rig", f"ict:{model}", "--renderer", "fast", "--seconds", "1.6"]
    subprocess.run([*command, "--size", "256", "--seeds", "3", "--given", "--preset", "draft"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=900)
    found = json.loads((tmp_path / "truth_ict_given.json").read_text(encoding="utf-8"))["results"]["ours"][0]
    assert found["topology"] == "mismatched" and found["num_frames"] > 30
    assert found["focal_percent"] < 0.1
    assert 0.3 < found["face_vertex_mm"] < 6 and found["face_vertex_mm"] < 1.1 * found["zero_effort"]["face_vertex_mm"]
    assert found["rotation_deg"] < found["zero_effort"]["rotation_deg"] and found["depth_sized_mm"] < 40
    assert {"jawOpen", "eyeBlinkLeft", "mouthSmileLeft"} <= set(found["units"])
    assert (tmp_path / "ict_fast_1.6s_256px_seed3" / "truth.npz").exists() and not list(tmp_path.glob(".truth_*"))
    assert "jawOpen" in (tmp_path / "truth_ict_given.md").read_text(encoding="utf-8")
