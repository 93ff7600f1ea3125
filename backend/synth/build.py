"""Makes synthetic captures: clips, truth files and the data set's index (docs/formats/truth.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..render.shading import linear_from_srgb
from ..reporter import Reporter
from ..rig.model import RigModel
from ..storage import replacing, storage_error, write_arrays, write_json
from .anatomy import Anatomy, study
from .config import SynthConfig
from .cycles import cycles_frames
from .encode import write_video
from .expression_texture import ExpressionTexture, bake_expression_texture, write_expression_texture
from .fast import FastStage
from .light import Light, draw_light
from .performance import Performance, perform, world_from_root
from .person import Person, draw_person
from .scene import BODY_TURN, backdrop, draw_camera, world_from_body
from .truth import Truth, rig_sha256, write_truth

FORMAT, FORMAT_VERSION = "video_avatar.synth", 1
INDEX, CLIP, TRUTH, UV_POSITION, ALBEDO = "dataset.json", "clip.mp4", "truth.npz", "uv_position.npz", "albedo.png"
EXPRESSION_TEXTURE = "expression_texture.npz"


def write_clip(out_folder: Path, rig: RigModel, config: SynthConfig, reporter: Reporter) -> Path:
    """Writes a data set of synthetic clips; with one identity and one camera that is one clip and its truth.

    Args:
        out_folder: made when missing; files of the same names are replaced, others are left alone.
        rig: any rig model; with landmark embeddings the brows sit where the detector expects them.

    Returns:
        The first clip.

    Raises:
        AvatarError: ``bad_input`` when the folder is not writable, ``environment`` when the Blender child fails.
    """
    out_folder = Path(out_folder)
    try:
        out_folder.mkdir(parents=True, exist_ok=True)
        # The index comes last: while it is missing the data set is incomplete.
        (out_folder / INDEX).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(out_folder, error) from error
    anatomy = study(rig)
    identities = []
    for number in range(config.num_identities):
        name = "." if config.num_identities == 1 else f"identity_{number:03d}"
        identities.append({"id": number, **_write_identity(out_folder, name, number, rig, anatomy, config, reporter)})
    write_json(out_folder / INDEX, {
        "format": FORMAT, "format_version": FORMAT_VERSION, "rig": rig.name, "rig_sha256": rig_sha256(rig), "config": dataclasses.asdict(config), "identities": identities,
    })
    first = out_folder / identities[0]["clips"][0]["video"]
    reporter.artifact(first)
    return first


def _write_identity(out_folder: Path, name: str, number: int, rig: RigModel, anatomy: Anatomy, config: SynthConfig, reporter: Reporter) -> dict[str, Any]:
    """Draws, films and describes one person; returns their entry of the index."""
    streams = [np.random.default_rng((config.seed, number, purpose)) for purpose in range(5)]
    person = draw_person(rig, anatomy, config, streams[0])
    performance = perform(rig, config, streams[1])
    light_stream = np.random.default_rng((config.light_seed, number, 2)) if config.light_seed else streams[2]
    light = draw_light(light_stream).exposed_for(linear_from_srgb(torch.from_numpy(person.look.skin)).numpy())
    room = backdrop(config.size_hw, streams[3])
    layers = bake_expression_texture(rig, anatomy, person.look, person.texture, rig.expression_names, performance.controls) if config.use_dynamic_texture else None
    stage = FastStage(rig, anatomy, person, light, room, config.supersample, config.seed) if config.renderer == "fast" else None
    folder = Path(name)
    _write_maps(out_folder / folder, person)
    entry = {"uv_position": (folder / UV_POSITION).as_posix(), "albedo": (folder / ALBEDO).as_posix()}
    if layers is not None:
        write_expression_texture(out_folder / folder / EXPRESSION_TEXTURE, layers)
        entry["expression_texture"] = (folder / EXPRESSION_TEXTURE).as_posix()
    clips = []
    for camera in range(config.num_cameras):
        suffix = "" if config.num_cameras == 1 else f"_{camera:02d}"
        truth = _truth(rig, person, performance, light, config, camera, streams[4])
        paths = {kind: folder / f"{Path(file).stem}{suffix}{Path(file).suffix}" for kind, file in (("video", CLIP), ("truth", TRUTH))}
        bodies = world_from_body(truth.world_from_root, _neck(rig, person), 1.0 if config.performance == "chair" else BODY_TURN)
        if stage is not None:
            frames = _fast_frames(stage, truth, bodies, layers, reporter)
        else:
            frames = cycles_frames(out_folder / folder, rig, anatomy, person, light, room, truth, bodies, config, reporter, layers)
        write_video(out_folder / paths["video"], frames, config.size_hw, config.fps, config.crf)
        write_truth(out_folder / paths["truth"], truth)
        clips.append({"camera": camera, **{kind: path.as_posix() for kind, path in paths.items()}})
    return {**entry, "clips": clips}


def _truth(rig: RigModel, person: Person, performance: Performance, light: Light, config: SynthConfig, camera: int, rng: np.random.Generator) -> Truth:
    neutral = person.head.neutral.numpy()
    placed = world_from_root(performance, _neck(rig, person))
    centre = neutral[rig.regions["face"]].mean(0).astype(np.float64)
    px_from_cam, world_from_cam = draw_camera(config, placed[:, :3, :3].mean(0) @ centre, camera, rng)
    return Truth(
        rig_name=rig.name, rig_sha256=rig_sha256(rig), seed=config.seed, renderer=config.renderer, size_hw=tuple(config.size_hw), fps=float(config.fps),
        time_s=performance.time_s, identity=person.identity, scale=person.scale, neutral=neutral, control_names=rig.expression_names,
        controls=performance.controls, joint_names=rig.joint_names, joint_rotations=performance.joint_rotations, world_from_root=placed,
        world_from_cam=np.tile(world_from_cam, (len(placed), 1, 1)), px_from_cam=px_from_cam, light=light.coefficients(), blinks_s=performance.blinks_s,
    )


def _fast_frames(stage: FastStage, truth: Truth, bodies: np.ndarray, layers: ExpressionTexture | None, reporter: Reporter) -> Iterator[np.ndarray]:
    for index in range(truth.num_frames):
        reporter.progress("synth", index, truth.num_frames, "frames")
        yield stage.frame(
            index, truth.controls[index], truth.joint_rotations[index], truth.world_from_root[index], bodies[index], truth.world_from_cam[index], truth.px_from_cam,
            None if layers is None else layers.texture(stage.albedo, layers.weights[index]),
        )
    reporter.progress("synth", truth.num_frames, truth.num_frames, "frames")


def _neck(rig: RigModel, person: Person) -> np.ndarray:
    """(3,) float64 m: the point of the root frame about which the head turns."""
    if "neck" not in rig.joint_names:
        return np.zeros(3)
    return person.head.joints[rig.joint_names.index("neck")].numpy().astype(np.float64)


def _write_maps(folder: Path, person: Person) -> None:
    """The painted texture, and which template point each texel shows."""
    with replacing(folder / ALBEDO) as temporary:
        encoded = (np.clip(person.texture.albedo, 0, 1) * 255 + 0.5).astype(np.uint8)
        temporary.write_bytes(cv2.imencode(".png", encoded[..., ::-1])[1].tobytes())
    write_arrays(folder / UV_POSITION, {"format_version": np.array(1), "position_m": person.texture.position.astype(np.float32)})
