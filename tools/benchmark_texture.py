"""The texture's evidence: albedo, light and changes against painted truth; de-lighting under several lights; real clips column by column.

    python tools/benchmark_texture.py synthetic [--renderer cycles] [--seconds 3] [--size 320] [--seeds 1] [--face-share 0.5] [--preset standard]
    python tools/benchmark_texture.py lights    [--renderer cycles] [--lights 3] ...
    python tools/benchmark_texture.py clips AVATAR [AVATAR ...]

``synthetic`` films a person whose texture changes with the expression, reconstructs the clip with the truth out of reach, and compares texels.
``lights`` films the same performance under several lights and tracks and unwraps each: how far the albedos differ between the lights, beside the
plain unwraps. ``clips`` prints the test-block columns of finished avatars from their reports. Clips and stages made earlier are used again.
Tables and figures go to ``texture_*.md`` and ``.json`` in ``--out``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from synthetic_clips import Clip, add_options, clips_of, rigs_of
from tracker_runs import ROOT, out_of_reach, tracked

MAX_FRAMES = 40
"""Test frames whose textures are compared, evenly spaced."""
COLUMNS = ("static", "albedo", "dynamic", "distilled", "neighbour_average", "flow_ceiling", "interpolated")
SEEN = 250


def main() -> int:
    parser = argparse.ArgumentParser(description="Figures about textures.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("synthetic", "lights"):
        one = commands.add_parser(name)
        add_options(one)
        one.set_defaults(out=ROOT / "build" / "texture", seconds=3.0, size=320, seeds=[1])
        one.add_argument("--preset", default="standard")
        one.add_argument("--settings", default="{}", help="settings of any stage, as JSON: {stage: {name: value}}")
        one.add_argument("--lights", type=int, default=3)
    clips = commands.add_parser("clips")
    clips.add_argument("avatars", type=Path, nargs="+")
    clips.add_argument("--out", type=Path, default=ROOT / "build" / "texture")
    options = parser.parse_args()
    found, text = {"synthetic": synthetic, "lights": lights, "clips": real_clips}[options.command](options)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"texture_{options.command}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (options.out / f"texture_{options.command}.md").write_text(text + "\n", encoding="utf-8")
    print(text)  # noqa: T201
    return 0


def synthetic(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Albedo, light and changes against the truth, one clip per seed."""
    options.dynamic_texture = True
    found = {clip.name: synthetic_figures(clip, reconstructed(clip, options)) for clip in clips_of(options)}
    return found, synthetic_table(found)


def reconstructed(clip: Clip, options: argparse.Namespace) -> Path:
    """The avatar of a clip, made from a copy that no truth lies beside."""
    alone = options.out / "alone" / f"{clip.name}.mp4"
    alone.parent.mkdir(parents=True, exist_ok=True)
    if not alone.exists():
        shutil.copyfile(clip.video, alone)
    package = options.out / f"{clip.name}.avatar"
    command = [sys.executable, str(ROOT / "tools" / "reconstruct_with.py"), str(alone.absolute()), "--out", str(package.absolute())]
    command += ["--preset", options.preset, "--settings", options.settings]
    with out_of_reach(clip.truth):
        subprocess.run(command, cwd=ROOT, check=True)
    return package


def synthetic_figures(clip: Clip, folder: Path) -> dict[str, Any]:
    """What ``evaluation.truth_texture`` says about one avatar of a synthetic clip."""
    from backend.evaluation.appearances import ALBEDO, STATIC, appearances_of, read_mask
    from backend.evaluation.images import thinned
    from backend.evaluation.packaged import drives_of
    from backend.evaluation.truth_texture import measure_albedo, measure_changes, measure_light, resized
    from backend.package.read import read_package

    package, truth = read_package(folder), painted_truth(clip)
    size = package.texture.size_px
    chosen = seen_skin(package)
    appearances, true = appearances_of(package), resized(truth.albedo, size)
    animation = package.animation
    painted = lambda name, sample: appearances[name].texture_of(drives_of(package, np.array([sample])), animation.world_from_cam[sample])  # noqa: E731
    figures: dict[str, Any] = {"unwrap": measure_albedo(painted(STATIC, 0), true, chosen)}
    if ALBEDO in appearances:
        figures["albedo"] = measure_albedo(painted(ALBEDO, 0), true, chosen)
    if package.texture.light is not None:
        figures["light"] = measure_light(package.texture.light, truth.light)
    compared = {name: lambda sample, name=name: painted(name, sample) for name in appearances if name != STATIC}
    test = thinned(np.flatnonzero((animation.split == 2) & animation.is_tracked), MAX_FRAMES)
    if truth.layers is not None and len(test) and compared:
        inside = chosen & (read_mask(package) > 0.5)
        figures["changes"] = measure_changes(compared, truth, np.array(figures["albedo"]["gains"]), test, animation.time_index[test], inside)
        figures["mask_of_changing_percent"] = changing_share(truth, chosen, read_mask(package))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return {**figures, "image": report["image"]}


def painted_truth(clip: Clip) -> Any:
    """The painted albedo, its layers when there are any, and the light of a synthetic clip."""
    from backend.evaluation.appearances import read_linear
    from backend.evaluation.truth_texture import PaintedTruth
    from backend.synth.expression_texture import read_expression_texture
    from backend.synth.truth import read_truth

    layers = clip.truth.with_name("expression_texture.npz")
    return PaintedTruth(read_linear(clip.truth.with_name("albedo.png")), read_expression_texture(layers) if layers.exists() else None, read_truth(clip.truth).light)


def seen_skin(package: Any) -> np.ndarray:
    """(S, S) bool: texels of the face's skin that the clip showed."""
    import cv2

    seen = cv2.imread(str(package.texture.seen), cv2.IMREAD_GRAYSCALE) >= SEEN
    rig, _ = rigs_of(argparse.Namespace(rig="anny"))
    return face_skin(rig, len(seen)) & seen


def face_skin(rig: Any, size_px: int) -> np.ndarray:
    """(S, S) bool: texels of skin on the front of the head that can be seen at all."""
    from backend.texture.texels import find_texels

    texels = find_texels(rig, size_px)
    chosen = texels.of("skin") & ~texels.is_inside & rig.regions["face"][rig.triangles].all(1)[texels.triangle]
    image = np.zeros((size_px, size_px), bool)
    image[texels.rows[chosen], texels.cols[chosen]] = True
    return image


def changing_share(truth: Any, chosen: np.ndarray, mask: np.ndarray) -> float:
    """How much of what the truth ever changes on seen skin the mask lets change, percent."""
    from backend.evaluation.truth_texture import resized

    full = truth.layers.texture(truth.albedo, truth.layers.weights.max(0))
    changing = (np.abs(resized(full, len(mask)) - resized(truth.albedo, len(mask))).max(-1) > 0.01) & chosen
    return round(100 * float(mask[changing].mean()), 1) if changing.any() else 0.0


def synthetic_table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: one column per clip."""
    rows = [
        ("albedo against truth, one gain per channel: plain unwrap / de-lit, PSNR dB", lambda f: pair(f, "psnr_db")),
        ("mean log difference, %", lambda f: pair(f, "log_error_percent")),
        ("correlation of fine detail", lambda f: pair(f, "detail_correlation")),
        ("light: shade error %, relative coefficients, direction deg", lambda f: " / ".join(show(f.get("light", {}).get(k)) for k in ("shade_error_percent", "coefficients_relative", "direction_deg"))),
        ("changing texels inside the mask, %", lambda f: show(f.get("mask_of_changing_percent"))),
    ]
    for name in ("albedo", "dynamic", "distilled"):
        rows.append((f"test frames, true texture against {name}: all / changing texels PSNR dB, correlation of changes", lambda f, n=name: " / ".join(
            show(f.get("changes", {}).get(n, {}).get(key)) for key in ("psnr_db", "psnr_changing_db", "change_correlation"))))
    head = ["| | " + " | ".join(found) + " |", "|---|" + "---|" * len(found)]
    return "\n".join([*head, *(f"| {text} | {' | '.join(value(figures) for figures in found.values())} |" for text, value in rows)])


def lights(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """One person and performance under several lights, for every seed."""
    from backend.evaluation.truth_texture import difference_percent, measure_albedo, measure_light, resized

    rig, _ = rigs_of(options)
    found: dict[str, Any] = {}
    for seed in options.seeds:
        textures, truths = [], []
        for number in range(options.lights):
            one = argparse.Namespace(**{**vars(options), "seeds": [seed], "light_seed": 100 + number if number else options.light_seed})
            clip = clips_of(one)[0]
            textures.append(unwrapped(clip, rig, options))
            truths.append(painted_truth(clip))
        size = textures[0].size_px
        chosen = face_skin(rig, size) & (np.min([texture.seen for texture in textures], axis=0) >= SEEN)
        filmed, albedo = [decoded(texture.unwrapped) for texture in textures], [texture.linear for texture in textures]
        pairs = list(itertools.combinations(range(len(textures)), 2))
        spread = {name: [difference_percent(made[a][chosen], made[b][chosen]) for a, b in pairs] for name, made in (("unwrap", filmed), ("albedo", albedo))}
        true = resized(truths[0].albedo, size)
        found[f"seed {seed}"] = {
            "num_texels": int(chosen.sum()), "between_lights_unwrap_percent": spread["unwrap"], "between_lights_albedo_percent": spread["albedo"],
            "ratio": float(np.mean(spread["unwrap"]) / max(np.mean(spread["albedo"]), 1e-9)), "lights": [
                {"unwrap": measure_albedo(raw, true, chosen), "albedo": measure_albedo(made, true, chosen), "light": measure_light(texture.light, truth.light)}
                for raw, made, texture, truth in zip(filmed, albedo, textures, truths)
            ],
        }
    return found, lights_table(found)


def unwrapped(clip: Clip, rig: Any, options: argparse.Namespace) -> Any:
    """The static texture of a clip, tracked without its truth."""
    from backend.capture.model import read_capture
    from backend.config import preset_config, to_dict
    from backend.reporter import Reporter
    from backend.texture.unwrap import unwrap_texture
    from backend.track.model import read_track

    config = preset_config(options.preset)
    run = tracked(clip.video, clip.work, {"track": to_dict(config.track)}, clip.truth)
    capture = read_capture(run.capture).replace(source_path=str(clip.video.absolute()))
    return unwrap_texture(capture, read_track(run.track), rig, config.texture, Reporter())


def decoded(srgb: np.ndarray) -> np.ndarray:
    from backend.capture.colour import srgb_decode

    return srgb_decode(srgb / 255.0)


def lights_table(found: dict[str, Any]) -> str:
    """Markdown: one row per seed and light, and the spread between the lights."""
    lines = ["| person | light | fine detail: unwrap / albedo | log error %: unwrap / albedo | shade error % | direction deg |", "|---|---|---|---|---|---|"]
    for name, figures in found.items():
        for number, one in enumerate(figures["lights"]):
            cells = [pair(one, "detail_correlation"), pair(one, "log_error_percent"), show(one["light"]["shade_error_percent"]), show(one["light"]["direction_deg"])]
            lines.append(f"| {name} | {number} | {' | '.join(cells)} |")
    lines += ["", "| person | difference between lights, unwrap % | albedo % | ratio |", "|---|---|---|---|"]
    for name, figures in found.items():
        raw, delit = (float(np.mean(figures[f"between_lights_{kind}_percent"])) for kind in ("unwrap", "albedo"))
        lines.append(f"| {name} | {raw:.2f} | {delit:.2f} | {figures['ratio']:.2f} |")
    return "\n".join(lines)


def real_clips(options: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """The columns of finished avatars, from their reports."""
    found = {avatar.stem: json.loads((avatar / "report.json").read_text(encoding="utf-8")) for avatar in options.avatars}
    return {name: report["image"] for name, report in found.items()}, clips_table({name: report["image"] for name, report in found.items()})


def clips_table(images: dict[str, dict[str, Any]]) -> str:
    """Markdown: PSNR / SSIM of face, mouth and eyes on the test block, driven."""
    lines = ["| clip | column | face dB | SSIM | LPIPS | mouth dB | SSIM | eyes dB | SSIM | over static, mouth / eyes dB |", "|" + "---|" * 10]
    for clip, image in images.items():
        for column in COLUMNS:
            values = image.get(column)
            if not values:
                continue
            regions, base = values["regions"], (image.get("static") or {}).get("regions")
            cells = [text for name in ("face", "mouth", "eyes") for text in (decibel(regions[name]["psnr_db"]), show(regions[name]["ssim"]))]
            over = "–"
            if base and column in ("albedo", "dynamic", "distilled"):
                over = " / ".join(signed(regions[name]["psnr_db"], base[name]["psnr_db"]) for name in ("mouth", "eyes"))
            label = f"{column.replace('_', ' ')}{' (not gated)' if column == 'interpolated' else ''}"
            lines.append(f"| {clip} | {label} | {cells[0]} | {cells[1]} | {show(values['lpips_face'])} | {' | '.join(cells[2:])} | {over} |")
        mask = image.get("mask")
        if mask:
            lines.append(f"| {clip} | mask: {show(mask['skin_area_percent'])} % of the skin, {show(mask['face_pixels_percent'])} % of the face's pixels | | | | | | | | |")
    return "\n".join(lines)


def pair(figures: dict[str, Any], key: str) -> str:
    return " / ".join(show((figures.get(name) or {}).get(key)) for name in ("unwrap", "albedo"))


def signed(value: float | None, base: float | None) -> str:
    return "–" if value is None or base is None else f"{value - base:+.2f}"


def decibel(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    raise SystemExit(main())
