"""Does Blender show what the backend measured? Test frames of an avatar through the tracked camera, in the clip's own light, drawn by both.

    python tools/benchmark_blender_parity.py NAME.avatar --work NAME.work [--frames 6] [--samples 64] [--eevee] [--subdivision 0]

Prints, per frame and as mean: PSNR over face pixels against the clip of the backend's own picture (distilled texture) and of Blender's (Cycles, with
``--eevee`` also Eevee; view transform Standard), and of the two against each other. Pictures go to ``--out``. ``--work`` is the work folder of the
reconstruction: the frames' face regions come from its capture. Blender draws in a child process, because its module can hang when Python ends.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 3600


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The table. Raises AvatarError when package, clip or capture cannot be used."""
    import cv2

    from backend.avatars.instant import Drive
    from backend.capture.colour import srgb_decode
    from backend.capture.model import read_capture
    from backend.evaluation.appearances import ALBEDO, DISTILLED, STATIC, appearances_of
    from backend.evaluation.crops import SIZE_PX, cut_frames, cutout_of, regions_of
    from backend.evaluation.drawing import encode
    from backend.evaluation.images import over_worst, surface_of, thinned
    from backend.evaluation.packaged import textured_mesh_of
    from backend.objectives.image_metrics import psnr_db
    from backend.package.read import read_package
    from backend.reevaluate import find_clip
    from backend.reporter import Reporter

    package = read_package(options.avatar)
    captures = sorted(options.work.glob("capture-*"), key=lambda path: path.stat().st_mtime)
    if not captures:
        raise SystemExit(f"{options.work} holds no capture.")
    capture = read_capture(captures[-1] / "capture.npz")
    video = find_clip(options.avatar.absolute(), {"sha256": package.source_sha256, "file_name": package.source_name}, options.video or _clip_of(options.work))
    samples = thinned(np.flatnonzero(capture.is_test & capture.has_face & package.animation.is_tracked), options.frames)
    cutout = cutout_of(capture)
    seen = {index: frame.astype(np.float32) / 255 for index, frame in cut_frames(video, cutout, capture.time_index[samples], Reporter()).items()}
    options.out.mkdir(parents=True, exist_ok=True)
    engines = ["CYCLES", *(["EEVEE"] if options.eevee else [])]
    order = {
        "avatar": str(options.avatar.absolute()), "out": str(options.out.absolute()), "samples": options.samples, "engines": engines, "size_px": SIZE_PX,
        "px_from_cam": (cutout.cutout_from_px @ package.animation.px_from_cam).tolist(), "frames": [int(sample) for sample in samples], "threads": options.threads,
        "subdivision": options.subdivision,
    }  # fmt: skip
    _draw_in_child(order)

    appearances, state, clip = appearances_of(package), textured_mesh_of(package), package.animation
    shown = next(appearances[name] for name in (DISTILLED, ALBEDO, STATIC) if name in appearances)
    rows = []
    for sample in samples.tolist():
        drive = Drive(clip.controls[[sample]], clip.joint_rotations[[sample]], clip.world_from_root[[sample]])
        surface = surface_of(package, state, drive, sample, cutout)
        target, face = seen[int(capture.time_index[sample])], regions_of(capture, sample, cutout)["face"]
        own = over_worst(shown.picture(surface, drive), surface.alpha, target)
        cv2.imwrite(str(options.out / f"backend_{sample:04d}.png"), np.round(own[..., ::-1] * 255))
        cv2.imwrite(str(options.out / f"clip_{sample:04d}.png"), np.round(target[..., ::-1] * 255))
        row: dict[str, Any] = {"sample": sample, "backend_db": psnr_db(own, target, face)}
        for engine in engines:
            drawn = cv2.imread(str(options.out / f"{engine.lower()}_{sample:04d}.png"), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]].astype(np.float32) / 65535
            alpha = drawn[..., 3]
            picture = encode(srgb_decode(drawn[..., :3]) * alpha[..., None] + (1 - alpha[..., None]) * (target < 0.5)).astype(np.float32)
            row[f"{engine.lower()}_db"] = psnr_db(picture, target, face)
            row[f"{engine.lower()}_against_backend_db"] = psnr_db(picture, own, face)
        rows.append(row)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "sample"}
    return {"shown": shown.name, "rows": rows, "mean": mean}


def _clip_of(work: Path) -> Path | None:
    job = work / "job.json"
    return Path(json.loads(job.read_text())["video"]) if job.is_file() else None


def _draw_in_child(order: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "order.json"
        path.write_text(json.dumps(order))
        done = subprocess.run([sys.executable, str(Path(__file__)), "--draw", str(path)], timeout=LIMIT_S, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"Blender did not draw: {done.stderr[-3000:]}")


def draw(order: dict[str, Any]) -> None:
    """In the child: imports the avatar as an artist does, brings the raw track back, and renders the cut-out of each frame."""
    import bpy

    from blender_avatar.scene import GROUPS, import_avatar, smooth_animation
    from blender_avatar.scene.camera import set_intrinsics

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.context.preferences.system.anisotropic_filter = "FILTER_0"  # software renderers get it wrong
    avatar = import_avatar(bpy.context, Path(order["avatar"]))
    scene, root, head = bpy.context.scene, bpy.data.objects[avatar.root], bpy.data.objects[avatar.heads[0]]
    smooth_animation(root, 0.0, frozenset(GROUPS), scene.frame_start, scene.frame_end)  # the backend measures the raw track
    head["as_filmed"] = 1.0
    head.modifiers["Subdivision"].render_levels = order["subdivision"]
    side = order["size_px"]
    set_intrinsics(scene.camera.data, np.array(order["px_from_cam"]), (side, side))
    scene.render.resolution_x = scene.render.resolution_y = side
    scene.render.film_transparent = True
    scene.render.dither_intensity = 0
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "16"
    scene.cycles.device, scene.cycles.samples, scene.cycles.use_denoising, scene.cycles.use_adaptive_sampling = "CPU", order["samples"], False, False
    scene.cycles.transparent_max_bounces = 16
    scene.render.threads_mode, scene.render.threads = "FIXED", order["threads"]
    scene.eevee.taa_render_samples = min(order["samples"], 16)
    for engine in order["engines"]:
        scene.render.engine = engine if engine == "CYCLES" else ("BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0, 0) else "BLENDER_EEVEE")
        for sample in order["frames"]:
            scene.frame_set(scene.frame_start + sample)
            scene.render.filepath = str(Path(order["out"]) / f"{engine.lower()}_{sample:04d}.png")
            bpy.ops.render.render(write_still=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avatar", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--video", type=Path)
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eevee", action="store_true")
    parser.add_argument("--subdivision", type=int, default=1, help="render level of the head's Subdivision; 0 = the backend's own polygons")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "parity")
    options = parser.parse_args()
    table = measure(options)
    (options.out / "parity.json").write_text(json.dumps(table, indent=2))
    keys = list(table["mean"])
    lines = [" ".join(["sample".rjust(7), *(key.rjust(26) for key in keys)])]
    lines += [" ".join([str(row["sample"]).rjust(7), *(f"{row[key]:26.2f}" for key in keys)]) for row in table["rows"]]
    lines.append(" ".join(["mean".rjust(7), *(f"{table['mean'][key]:26.2f}" for key in keys)]))
    sys.stdout.write(f"texture: {table['shown']}\n" + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if sys.argv[1:2] == ["--draw"]:
        try:
            draw(json.loads(Path(sys.argv[2]).read_text()))
            status = 0
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stderr.flush()
        os._exit(status)
    raise SystemExit(main())
