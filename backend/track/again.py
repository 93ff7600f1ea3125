"""Tracks a range of frames again: everything that belongs to the clip is frozen, the frames beside the range hold its ends.

Identity, size, camera and every frame outside the range come from a finished track. Its albedo and light are estimated once more from
training frames outside the range with that track's own poses: a package needs no tracker's data in it then, an avatar can be tracked again
after its work folder was deleted, and equal input still gives equal output.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..capture.model import TRAIN, Capture
from ..config import TrackConfig
from ..errors import AvatarError
from ..geometry.cameras import invert_rigid
from ..reporter import Reporter
from ..rig.model import RigModel
from .appearance import Appearance
from .clip_fit import CLIP_ROUNDS, ClipFit, chains_of, frame_trust
from .energy import Shared, landmarks_in_camera, projected
from .face_regions import REGIONS, point_regions, region_confidence
from .frame_faults import believed
from .landmark_model import landmark_model, point_model
from .lids import lid_openness
from .patch import TrackPatch
from .photometric import Look
from .pins import Pin, PinPoints, pin_points, vertex_model
from .pixels import NEIGHBOURHOOD_M, PixelFit, pixel_fit
from .refine import PERSON_LEVELS
from .result import frame_confidence, rigid_transforms, smooth_motion
from .state import FrameStates, Unknowns, unknowns_of
from .surface_points import face_points

HELD_FRAMES = 1
"""Frames beside the range that are held. The temporal terms are first differences, so more would change nothing."""
LIGHT_ROUNDS = 4
"""How often albedo and light are estimated by turns until they stand still."""
MIN_LIGHT_FRAMES = 3
MISSED_PX = 2.0
"""A pin that could not be reached by more than this is named in the log."""


@dataclasses.dataclass(frozen=True)
class StoredTrack:
    """The finished track of N frames, raw. scale: metres per unit of the rig. Other fields as in ``Track``."""

    controls: np.ndarray
    joint_rotations: np.ndarray
    world_from_root: np.ndarray
    world_from_cam: np.ndarray
    px_from_cam: np.ndarray
    scale: float
    landmark_trust: float = 1.0


@dataclasses.dataclass(frozen=True)
class _Range:
    """rows: (n,) of the range. parts: runs solved together, held frames included. is_held: (N,) bool, everything outside the range."""

    rows: np.ndarray
    parts: list[slice]
    is_held: np.ndarray


def track_again(
    capture: Capture, rig: RigModel, stored: StoredTrack, frame_start: int, frame_end: int, pins: Sequence[Pin], config: TrackConfig, reporter: Reporter,
    reference: RigModel | None = None,
) -> TrackPatch:
    """Solves poses, controls and gaze of a range anew.

    Args:
        rig: the person: a rig whose neutral is theirs (no identity modes), unscaled. stored: indexed like ``capture``.
        frame_start, frame_end: first and last ``time_index``, inclusive. pins: checked (``pins.checked_pins``).
        config: of the clip's track, with what is to change. reference: the rig of which ``rig`` is one person: colours are then compared at the very
            points at which they were compared before. Without it other points are chosen, and nothing new gives a slightly other track.

    Returns:
        The range's new motion. Smoothed values see the unchanged neighbours.

    Raises:
        AvatarError: ``bad_request`` for an empty range, ``bad_input`` when too few frames show a face, ``diverged``.
        Cancelled: the reporter was asked to stop.
    """
    capture = believed(capture)
    model = landmark_model(rig)
    unknowns = unknowns_of(model)
    trust = frame_trust(capture)
    is_usable = (trust > 0) & (capture.split == TRAIN)
    if is_usable.sum() < MIN_LIGHT_FRAMES:
        raise AvatarError("bad_input", f"Only {int(is_usable.sum())} frames show a usable face.", "Reconstruct the avatar from a better clip.", {})
    chosen = _chosen(capture, frame_start, frame_end)
    fit = ClipFit(capture, model, unknowns, trust, lid_openness(capture.landmarks_px, is_usable), config)
    shared = Shared(np.zeros(model.identity.shape[2]), float(stored.px_from_cam[0, 0]), stored.px_from_cam[:2, 2].astype(np.float64))
    before = stored_states(stored, rig, unknowns)
    points = pin_points(pins, rig, unknowns, shared, before, capture.time_index, chosen.parts, chosen.is_held)
    if config.use_photometric:
        states, photo, regions = _by_pixels(_pixels(fit, rig, config, reference, stored.landmark_trust), shared, before, chosen, points, np.flatnonzero(is_usable), reporter)
    else:
        states, photo, regions = _by_landmarks(fit, shared, before, chosen, points, reporter), np.ones(len(chosen.rows)), np.zeros((len(chosen.rows), 0))
    new = states.take(chosen.rows)
    if not all(np.isfinite(getattr(new, field.name)).all() for field in dataclasses.fields(new)):
        raise AvatarError("diverged", "Tracking again diverged.", "Check the pins, or choose a shorter range.", {"stage": "track"})
    _tell_missed_pins(pins, rig, unknowns, shared, states, capture.time_index, reporter)
    residual = fit.residual_percent(shared, _merged(before, states, chosen.rows))
    confidence = frame_confidence(residual, trust, is_usable)[chosen.rows] * photo
    is_tracked = trust[chosen.rows] > 0
    return _patch(capture, rig, unknowns, stored, new, chosen, np.where(is_tracked, confidence, 0), np.where(is_tracked[:, None], regions, 0), config)


def _pixels(fit: ClipFit, rig: RigModel, config: TrackConfig, reference: RigModel | None, landmark_trust: float) -> PixelFit:
    pixels = pixel_fit(fit, rig, config, landmark_trust)
    if reference is None:
        return pixels
    points = face_points(reference, config.num_points, NEIGHBOURHOOD_M)
    return dataclasses.replace(pixels, points=dataclasses.replace(points, model=point_model(rig, points.triangle_ids, points.barycentric)))


def stored_states(stored: StoredTrack, rig: RigModel, unknowns: Unknowns) -> FrameStates:
    """The solver's states of a finished track: the inverse of ``result.assemble_track``."""
    cam_from_root = invert_rigid(stored.world_from_cam) @ stored.world_from_root
    joint = lambda name: stored.joint_rotations[:, rig.joint_names.index(name)].astype(np.float64)  # noqa: E731
    gaze, jaw = np.zeros((len(cam_from_root), 4)), np.zeros((len(cam_from_root), 3))
    if unknowns.has_eyes:
        gaze = np.concatenate([joint("eye_left")[:, 1::-1], joint("eye_right")[:, 1::-1]], 1)
    if unknowns.has_jaw:
        jaw = joint("jaw")
    states = FrameStates(cam_from_root[:, :3, :3].copy(), cam_from_root[:, :3, 3] / stored.scale, stored.controls.astype(np.float64), gaze, jaw)
    return unknowns.with_looks(states)


def _chosen(capture: Capture, frame_start: int, frame_end: int) -> _Range:
    rows = np.flatnonzero((capture.time_index >= frame_start) & (capture.time_index <= frame_end))
    if not len(rows):
        allowed = f"{capture.time_index[0]} to {capture.time_index[-1]}, the first no later than the last"
        raise AvatarError(
            "bad_request", f"The range {frame_start} to {frame_end} holds no frame of the clip.", f"Allowed: {allowed}.",
            {"field": "frame_start", "value": [frame_start, frame_end], "allowed": allowed},
        )
    is_held = np.ones(capture.num_samples, bool)
    is_held[rows] = False
    parts = []
    for chain in chains_of(capture):
        start, stop = max(chain.start, int(rows[0])), min(chain.stop, int(rows[-1]) + 1)
        if start < stop:
            parts.append(slice(max(chain.start, start - HELD_FRAMES), min(chain.stop, stop + HELD_FRAMES)))
    return _Range(rows, parts, is_held)


def _by_landmarks(fit: ClipFit, shared: Shared, before: FrameStates, chosen: _Range, pins: PinPoints | None, reporter: Reporter) -> FrameStates:
    states, rounds = before, 0

    def on_round() -> None:
        nonlocal rounds
        rounds += 1
        reporter.progress("track", rounds, CLIP_ROUNDS * len(chosen.parts), "rounds")

    for part in chosen.parts:
        frames = np.arange(part.start, part.stop)
        priors = fit.priors_of_frames(shared, np.ones(len(frames) - 1, dtype=bool))
        solved = fit.refine(
            shared, before.take(part), frames, priors, CLIP_ROUNDS, reporter, on_round, is_held=chosen.is_held[part], pins=None if pins is None else pins.within(part)
        )
        own = ~chosen.is_held[part]
        states = _merged(states, solved.take(own), frames[own], is_aligned=True)
    return states


def _by_pixels(
    pixels: PixelFit, shared: Shared, before: FrameStates, chosen: _Range, pins: PinPoints | None, usable: np.ndarray, reporter: Reporter
) -> tuple[FrameStates, np.ndarray, np.ndarray]:
    """New states of all frames; of the range's: confidence by the pixels (n,) and of the regions (n, R)."""
    others = usable[chosen.is_held[usable]]
    keys = pixels.fit.choose_key_frames(others if len(others) >= MIN_LIGHT_FRAMES else usable, pixels.config.num_photometric_keys)
    appearance, usual = _appearance(pixels, shared, before, keys, reporter)
    states, residual, seen, _ = pixels.solve_frames(shared, before, appearance, reporter, chains=chosen.parts, is_held=chosen.is_held, pins=pins)
    every = np.concatenate([usual, seen[chosen.rows]])
    is_key = np.arange(len(every)) < len(usual)
    count = np.isfinite(usual).sum(1)
    of_keys = np.where(count > 0, np.sqrt(np.nansum(usual**2, 1) / np.maximum(count, 1)), np.nan)
    both = np.concatenate([of_keys, residual[chosen.rows]])
    confidence = frame_confidence(both, np.isfinite(both).astype(float), is_key)
    regions = region_confidence(every, point_regions(pixels.fit.model, pixels.points.model), np.flatnonzero(is_key))
    return states, confidence[len(usual):], regions[len(usual):]


def _appearance(pixels: PixelFit, shared: Shared, states: FrameStates, keys: np.ndarray, reporter: Reporter) -> tuple[Appearance, np.ndarray]:
    """Albedo and light of the clip as the stored track sees them, and the key frames' residuals (K, P), NaN where unseen."""
    term = pixels.term(keys)
    look: Look = term.look(shared, states.take(keys), PERSON_LEVELS[-1][0])
    appearance = None
    for number in range(LIGHT_ROUNDS):
        appearance = term.appearance(look, appearance)
        reporter.progress("track", 0.2 + 0.3 * (number + 1) / LIGHT_ROUNDS, 1.0, "clip")
    assert appearance is not None
    residual = np.sqrt((term.residuals(look, appearance) ** 2).mean(-1))
    return appearance, np.where(look.is_seen, residual, np.nan)


def _merged(states: FrameStates, new: FrameStates, rows: np.ndarray, is_aligned: bool = False) -> FrameStates:
    """``states`` with some rows replaced. new: of all frames, or of ``rows`` only when ``is_aligned``."""
    fields = {}
    for field in dataclasses.fields(states):
        values = getattr(states, field.name).copy()
        values[rows] = getattr(new, field.name) if is_aligned else getattr(new, field.name)[rows]
        fields[field.name] = values
    return FrameStates(**fields)


def _tell_missed_pins(
    pins: Sequence[Pin], rig: RigModel, unknowns: Unknowns, shared: Shared, states: FrameStates, time_index: np.ndarray, reporter: Reporter
) -> None:
    for pin in pins:
        row = np.flatnonzero(time_index == pin.frame)
        place = projected(landmarks_in_camera(vertex_model(rig, np.array([pin.vertex_id])), unknowns, shared, states.take(row)), shared)[0, 0]
        missed_px = float(np.hypot(place[0] - pin.x_px, place[1] - pin.y_px))
        if missed_px > MISSED_PX:
            reporter.log(f"The pin of vertex {pin.vertex_id} in frame {pin.frame} was missed by {missed_px:.1f} px: the head cannot take that shape.")


def _patch(
    capture: Capture, rig: RigModel, unknowns: Unknowns, stored: StoredTrack, new: FrameStates, chosen: _Range, confidence: np.ndarray, regions: np.ndarray,
    config: TrackConfig,
) -> TrackPatch:
    rows = chosen.rows
    cam_from_root = rigid_transforms(new.cam_from_root_rotation, new.translation_m * stored.scale)
    controls, joints, world_from_root = stored.controls.copy(), stored.joint_rotations.copy(), stored.world_from_root.copy()
    controls[rows] = new.controls
    joints[rows] = 0
    for name, vectors in unknowns.joint_rotations(new).items():
        joints[rows, rig.joint_names.index(name)] = vectors
    world_from_root[rows] = stored.world_from_cam[rows] @ cam_from_root
    smooth = smooth_motion(
        rig, controls.astype(np.float64), joints.astype(np.float64), world_from_root[:, :3, :3], world_from_root[:, :3, 3], config.smooth_frames, chains_of(capture)
    )
    return TrackPatch(
        capture.time_index[rows].astype(np.int32), tuple(rig.expression_names), controls[rows].astype(np.float32), joints[rows].astype(np.float32),
        world_from_root[rows].astype(np.float64), smooth[0][rows].astype(np.float32), smooth[1][rows].astype(np.float32),
        rigid_transforms(smooth[2][rows], smooth[3][rows]), confidence.astype(np.float32), REGIONS if config.use_photometric else (), regions.astype(np.float32),
    )
