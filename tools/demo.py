"""``make demo``: a clip becomes an avatar package, a .blend, a rendered clip and a contact sheet.

    python tools/demo.py --out demo [--video clip.mp4] [--preset standard] [--consent]

Without ``--video`` a synthetic person is filmed first, and the report then also holds the errors against the known truth.
Everything made earlier for the same clip and settings is used again.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SYNTHETIC = ("--seconds", "6", "--size", "512", "--seed", "1", "--renderer", "fast")
CLIP_SECONDS, SIDE_PX = 4.0, 480
VIEW_PX, VIEW_SAMPLES = 256, 10
BLENDER_LIMIT_S = 3600
GREY = (52, 50, 50)


def main() -> int:
    parser = argparse.ArgumentParser(description="From a clip to a .blend, with pictures.")
    parser.add_argument("--out", type=Path, default=ROOT / "demo")
    parser.add_argument("--video", type=Path)
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--consent", action="store_true")
    options = parser.parse_args()
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    is_synthetic = options.video is None
    video = synthetic_clip(out) if is_synthetic else options.video.absolute()
    name = "synthetic" if is_synthetic else re.sub(r"[^\w.-]+", "_", video.stem)
    package, blend, movie, sheet = (out / f"{name}{ending}" for ending in (".avatar", ".blend", "_rendered.mp4", "_contact_sheet.png"))
    consent = ["--consent"] if options.consent or is_synthetic else []
    backend("reconstruct", video, "--out", package, "--preset", options.preset, "--overwrite", *consent)
    if is_synthetic:
        backend("evaluate", package, "--video", video)
    sheet.write_bytes((package / "contact_sheet.png").read_bytes())
    with tempfile.TemporaryDirectory(dir=out, prefix=".pictures-") as folder:
        run_blender("demo_blend.py", "make", package, blend, folder, CLIP_SECONDS, SIDE_PX)
        write_movie(Path(folder), package / "animation" / "background.mp4", movie)
    views = out / f"{name}_pictures"
    run_blender("avatar_pictures.py", package, views, "--side", VIEW_PX, "--samples", VIEW_SAMPLES)
    found = json.loads(run_blender("demo_blend.py", "check", blend).strip().splitlines()[-1])
    if not (found["heads"] and found["moved_mm"] > 1 and found["textures_packed"] and not found["our_modules"]):
        raise SystemExit(f"The .blend does not stand on its own: {found}")
    print(f"\nopened without the add-on, the head's vertices move by up to {found['moved_mm']:.0f} mm over the clip")  # noqa: T201
    for text, path in (("Blender file", blend), ("rendered clip", movie), ("contact sheet", sheet), ("more pictures", views), ("avatar package", package), ("report", package / "report.json")):
        print(f"{text:<15} {path}")  # noqa: T201
    return 0


def synthetic_clip(out: Path) -> Path:
    """The demo's own clip; made once."""
    folder = out / "synthetic_clip"
    if not (folder / "clip.mp4").exists():
        backend("synth", "--out", folder, *SYNTHETIC)
    return folder / "clip.mp4"


def backend(*arguments: object) -> None:
    """Runs the command line as a user would."""
    done = subprocess.run([sys.executable, "-m", "backend", *map(str, arguments)], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def run_blender(script: str, *arguments: object) -> str:
    """Runs one of the tools with Blender's module in a child with a time limit, showing its progress; returns what it printed."""
    command = [sys.executable, str(ROOT / "tools" / script), *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(command, stdout=printed, stderr=subprocess.PIPE, text=True)
        kept: list[str] = []
        assert child.stderr is not None
        for line in child.stderr:
            if match := re.fullmatch(r"(\w+) (\d+)/(\d+)", line.strip()):
                show_progress(match[1], int(match[2]), int(match[3]))
            else:
                kept = [*kept[-40:], line]
        try:
            status = child.wait(BLENDER_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            status = child.wait()
        if status:
            sys.stderr.write("".join(kept))
            raise SystemExit(f"Blender ended with status {status}")
        printed.seek(0)
        return printed.read()


def show_progress(stage: str, done: int, total: int) -> None:
    words = {"scene": "building the scene", "clip": "rendering the performance", "turn": "rendering the turn", "views": "rendering views and expressions"}.get(stage, stage)
    is_terminal = sys.stderr.isatty()
    if is_terminal or done in (0, total):
        sys.stderr.write(f"\r{words} {done}/{total}" + ("\n" if not is_terminal or done == total else ""))
        sys.stderr.flush()


def write_movie(pictures: Path, background: Path, target: Path) -> None:
    """The clip beside the avatar in the same pose, then the turn around the head."""
    facts = json.loads((pictures / "crop.json").read_text())
    inputs = cropped_frames(background, facts["frames"], facts["crop_px"], facts["size_wh"])
    side = SIDE_PX
    shown: list[np.ndarray] = []
    for number, picture in enumerate(inputs, start=1):
        avatar = cv2.imread(str(pictures / f"clip_{number:04d}.png"))
        shown.append(np.hstack([titled(square(picture, side), "clip"), titled(square(avatar, side), "avatar, in the clip's light")]))
    for path in sorted(pictures.glob("turn_*.png")):
        turn = titled(square(cv2.imread(str(path)), side), "avatar, in the scene's light")
        margin = np.full((side, side // 2, 3), GREY, np.uint8)
        shown += [np.hstack([margin, turn, margin])] * 2  # half speed
    encode(shown, facts["fps"], target)


def cropped_frames(background: Path, wanted: Sequence[int], crop_px: Sequence[int], size_wh: Sequence[int]) -> list[np.ndarray]:
    """(h, w, 3) BGR pictures of the background clip, cut to the same part of the frame as the renders."""
    left, top, right, bottom = crop_px
    frames: dict[int, np.ndarray] = {}
    with av.open(str(background)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                picture = frame.to_ndarray(format="bgr24")
                scale_x, scale_y = picture.shape[1] / size_wh[0], picture.shape[0] / size_wh[1]
                frames[index] = picture[round(top * scale_y) : round(bottom * scale_y), round(left * scale_x) : round(right * scale_x)]
    last = max(frames)
    return [frames[min(index, last)] for index in wanted]


def square(picture: np.ndarray, side: int) -> np.ndarray:
    """Scaled to fit a square, on grey."""
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    canvas = np.full((side, side, 3), GREY, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    return canvas


def titled(picture: np.ndarray, text: str) -> np.ndarray:
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, (12, len(picture) - 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, width, cv2.LINE_AA)
    return picture


def encode(pictures: list[np.ndarray], fps: float, target: Path) -> None:
    """Writes BGR pictures as H.264 that every player shows."""
    part = target.with_name(f".{target.name}")
    with av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=round(fps))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
    part.replace(target)


if __name__ == "__main__":
    sys.exit(main())
