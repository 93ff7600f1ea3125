"""The photometric part of a track: the person, albedo and light from key frames; then every frame, chunk by chunk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from ..config import TrackConfig
from ..reporter import Reporter
from ..rig.model import RigModel
from .appearance import Appearance
from .chunk_workers import ChunkJob, solve_chunks
from .chunks import blended, chunks_of, disagreement_px
from .clip_fit import ClipFit, chains_of
from .energy import Observations, Priors, Shared, landmarks_in_camera, projected
from .face_pixels import FaceBox, face_box
from .face_regions import point_regions, region_confidence
from .landmark_model import joined
from .photometric import PhotometricTerm, photometric_term
from .pins import PinPoints
from .refine import FRAME_LEVELS, PERSON_LEVELS, Balance, Refined, frame_balance, person_balance, refine
from .silhouette import OutlinePoints, outline_points
from .state import FrameStates
from .surface_points import SurfacePoints, face_points

NEIGHBOURHOOD_M = 0.015
"""Residuals are compared with the mean of the skin around, this far (standard deviation, on the mean head)."""
LANDMARK_ROUNDS = 2
"""Rounds of landmarks alone after the person has changed."""
ROUNDS_OF_CHUNK = sum(number for _, number in FRAME_LEVELS)


@dataclasses.dataclass(frozen=True)
class PixelResult:
    """shared, states: refined. light: (9, 3) irradiance / pi, camera frame, mean shade 1. residual: (N,) sRGB, NaN where no skin is seen.
    regions: (N, R) confidence of ``face_regions.REGIONS``. disagreement_px: where chunks overlap, how far their landmarks were apart (mean). trust: in the landmarks."""

    shared: Shared
    states: FrameStates
    light: np.ndarray
    residual: np.ndarray
    regions: np.ndarray
    disagreement_px: float
    trust: float


@dataclasses.dataclass(frozen=True)
class PixelFit:
    """What all photometric solves of a clip have in common. trust: how far its landmarks are believed, in (0, 1]."""

    fit: ClipFit
    rig: RigModel
    config: TrackConfig
    points: SurfacePoints
    outline: OutlinePoints | None
    box: FaceBox
    trust: float = 1.0

    def refined(self, shared: Shared, states: FrameStates, usable: np.ndarray, reporter: Reporter) -> PixelResult:
        """Person, then frames.

        Args:
            states: landmark track of all frames. usable: training frames that show a face.
        """
        keys = self.fit.choose_key_frames(usable, self.config.num_photometric_keys)
        person = self.solve_person(shared, states, keys, reporter)
        states, residual, seen, disagreement = self.solve_frames(person.shared, states, person.appearance, reporter)
        regions = region_confidence(seen, point_regions(self.fit.model, self.points.model), usable)
        return PixelResult(person.shared, states, person.appearance.light, residual, regions, disagreement, self.trust)

    def solve_person(self, shared: Shared, states: FrameStates, keys: np.ndarray, reporter: Reporter) -> Refined:
        """Identity, albedo and light from key frames; the focal length stays."""
        priors = self.fit.priors(np.zeros(len(keys) - 1, dtype=bool), len(keys), 1e-4)
        resting = self.fit.model.resting_mode[self.fit.model.resting_mode >= 0]
        weight, mean = priors.identity / self.trust, np.zeros(len(priors.identity))
        weight[resting], mean[resting] = priors.identity[resting], shared.identity[resting]
        priors = dataclasses.replace(priors, identity=weight, identity_mean=mean, focal_prior_px=shared.focal_px)
        rounds = sum(number for _, number in PERSON_LEVELS)
        step = _Counter(reporter, rounds, 0.0, 0.35)
        return self._refine(keys, shared, states.take(keys), priors, PERSON_LEVELS, person_balance(self.trust), None, True, step)

    def solve_frames(
        self, shared: Shared, states: FrameStates, appearance: Appearance, reporter: Reporter, *, chains: Sequence[slice] | None = None,
        is_held: np.ndarray | None = None, pins: PinPoints | None = None,
    ) -> tuple[FrameStates, np.ndarray, np.ndarray, float]:
        """Frames with everything shared frozen, chunk by chunk, in ``TrackConfig.num_workers`` processes.

        Args:
            chains: runs of frames to solve; None = the whole clip. is_held: (N,) bool, frames that only hold their neighbours.
            pins: of all N frames.

        Returns:
            States of all frames (unsolved ones as given), residual (N,), residuals of points (N, P) with NaN where unseen or not solved,
            disagreement px.
        """
        parts = [chunk for chain in (chains_of(self.fit.capture) if chains is None else chains) for chunk in chunks_of(chain)]
        slices = [slice(part.start, part.stop) for part in parts]
        jobs = [
            ChunkJob(
                self.fit.part(rows), shared, states.take(rows), appearance, None if is_held is None else is_held[rows], None if pins is None else pins.within(rows)
            )
            for rows in slices
        ]
        step = _Counter(reporter, len(parts) * ROUNDS_OF_CHUNK, 0.35, 1.0)
        found = solve_chunks(self, jobs, self.config.num_workers, step)
        residual = np.full(len(states), np.nan)
        seen = np.full((len(states), len(self.points)), np.nan, np.float32)
        for part, one in zip(parts, found):
            kept = np.arange(part.keep_start, part.keep_stop)
            residual[kept], seen[kept] = one.residual[kept - part.start], one.point_residual[kept - part.start]
        solved = [one.states for one in found]
        where = lambda one: projected(landmarks_in_camera(self.fit.model, self.fit.unknowns, shared, one), shared)  # noqa: E731
        return blended(parts, solved, states), residual, seen, disagreement_px(parts, solved, where)

    def solve_chunk(self, job: ChunkJob, step: Callable[[], None], reporter: Reporter) -> Refined:
        """One chunk: landmarks alone first (the person has changed since they were fitted), then the pixels."""
        own = dataclasses.replace(self, fit=job.fit)
        frames = np.arange(len(job.states))
        priors = job.fit.priors_of_frames(job.shared, np.ones(len(frames) - 1, dtype=bool))
        states = job.fit.refine(job.shared, job.states, frames, priors, LANDMARK_ROUNDS, reporter, is_held=job.is_held, pins=job.pins)
        return own._refine(frames, job.shared, states, priors, FRAME_LEVELS, frame_balance(self.trust), job.appearance, False, step, job.is_held, job.pins)

    def _refine(
        self, frames: np.ndarray, shared: Shared, states: FrameStates, priors: Priors, levels: tuple[tuple[float, int], ...], balance: Balance, appearance: Appearance | None,
        solve_person: bool, step: Callable[[], None], is_held: np.ndarray | None = None, pins: PinPoints | None = None,
    ) -> Refined:
        term = self.term(frames)
        model = joined(self.fit.model, self.points.model)
        if self.outline is not None:
            model = joined(model, self.outline.model)
        if pins is not None:
            model = joined(model, pins.model)
        landmarks_of: Callable[[Shared, FrameStates], Observations] = lambda person, poses: self.fit.observe(person, poses, frames)  # noqa: E731
        return refine(
            term, model, shared, states, priors, landmarks_of, levels, balance, appearance, self.outline, solve_person=solve_person, on_round=step,
            is_held=is_held, pins=pins,
        )

    def term(self, frames: np.ndarray) -> PhotometricTerm:
        return photometric_term(self.fit.capture, self.rig, self.fit.unknowns, self.points, self.box, frames, self.fit.trust[frames] > 0)


def pixel_fit(fit: ClipFit, rig: RigModel, config: TrackConfig, trust: float) -> PixelFit:
    """Chooses points, outline and box for a clip; ``trust`` as in ``PixelFit``."""
    points = face_points(rig, config.num_points, NEIGHBOURHOOD_M)
    return PixelFit(fit, rig, config, points, outline_points(rig) if config.use_silhouette else None, face_box(fit.capture, config.face_px), trust)


class _Counter:
    """Reports rounds as a share of the second half of the stage; cancelling happens here."""

    def __init__(self, reporter: Reporter, rounds: int, start: float, stop: float) -> None:
        self.reporter, self.rounds, self.start, self.stop, self.done = reporter, max(rounds, 1), start, stop, 0

    def __call__(self, rounds: int = 1) -> None:
        """``rounds`` more are done (0: only look whether to stop)."""
        self.done += rounds
        share = self.start + (self.stop - self.start) * self.done / self.rounds
        self.reporter.check()
        self.reporter.progress("track", 0.2 + 0.8 * share, 1.0, "clip")
