"""Refines a landmark track by the pixels: the person on key frames, then every frame with the person frozen.

Coarse to fine: rounds at a strong blur catch displacements of several pixels, rounds at a weak one place features exactly. Each
round looks at the pictures again, so visibility, robust weights and targets belong to the current state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..geometry.cameras import intrinsics
from . import point_roles as names
from .appearance import Appearance
from .energy import Observations, Priors, Shared
from .landmark_model import LandmarkModel
from .levenberg import minimise
from .photometric import PhotometricTerm, weighed, with_points
from .pins import PinPoints
from .silhouette import OutlinePoints, outline_observations
from .state import FrameStates


@dataclasses.dataclass(frozen=True)
class Balance:
    """How much each part of the energy counts.

    photometric: factor of the photometric term. outline: of all outline points of a frame together, in landmarks.
    landmarks, contour, openings: what is left of the weights of the landmarks, of those around the face, and of the openings beside
        the pixels. The points that are compared end before the hairline and the jaw's edge; the contour's landmarks do not.
    """

    photometric: float
    outline: float
    landmarks: float
    contour: float
    openings: float


CONTOUR = (*names.FACE_OVAL, *names.FOREHEAD)
PERSON_LEVELS = ((3.0, 4), (1.5, 5), (0.8, 10))
FRAME_LEVELS = ((2.0, 2), (0.8, 3), (0.4, 3), (0.2, 2))
"""(blur of the pictures in their pixels, rounds)."""
USUAL_PERCENT = 1.2
"""Mean landmark residual that detectors reach on real faces."""
TRUST_POWER, LEAST_TRUST = 4.0, 0.1
PHOTOMETRIC, OUTLINE, PERSON_CONTOUR = 5.0, 10.0, 10.0
"""Weights beside landmarks that are fully trusted; identity hangs on the contour, which the compared points do not reach."""
REACH_BLURS = 3.0
"""Longest displacement believed in one round, blurs of the level (plus one pixel)."""


def landmark_trust(residual_percent: float) -> float:
    """How far a clip's landmarks are believed, from the mean residual of the landmark fit: 1 where it is usual for real faces.

    A fit that cannot reach its points tells of a detector that errs on this face. The power is chosen, not derived: the residual
    shows only the part of the errors that the model could not follow (rendered heads: 1.3 to 1.6 percent left of 2.3 to 2.9).
    """
    return float(np.clip((USUAL_PERCENT / max(residual_percent, 1e-6)) ** TRUST_POWER, LEAST_TRUST, 1))


def person_balance(trust: float) -> Balance:
    """For the person's solve."""
    return Balance(PHOTOMETRIC / trust, OUTLINE, trust, PERSON_CONTOUR * trust, trust)


def frame_balance(trust: float) -> Balance:
    """For the frames' solve."""
    return Balance(PHOTOMETRIC / trust, OUTLINE, trust, trust, trust)


@dataclasses.dataclass(frozen=True)
class Refined:
    """shared: the person. states: of the frames. appearance: of the clip. Before the last step, sRGB: residual (F,), root mean square over
    the seen points; point_residual (F, P), NaN where a point is not seen."""

    shared: Shared
    states: FrameStates
    appearance: Appearance
    residual: np.ndarray
    point_residual: np.ndarray


def refine(
    term: PhotometricTerm, model: LandmarkModel, shared: Shared, states: FrameStates, priors: Priors, landmarks_of: Callable[[Shared, FrameStates], Observations],
    levels: tuple[tuple[float, int], ...], balance: Balance, appearance: Appearance | None, outline: OutlinePoints | None, *, solve_person: bool, on_round: Callable[[], None],
    is_held: np.ndarray | None = None, pins: PinPoints | None = None,
) -> Refined:
    """Some rounds of looking and solving.

    Args:
        model: landmarks, then the term's points, then those of ``outline`` and of ``pins`` where there are such. landmarks_of: landmark observations around a state.
        appearance: frozen when given; otherwise estimated anew from these frames in every round.
        solve_person: whether identity moves too (then the appearance should not be frozen).
        on_round: called after each round (progress, cancelling).
        is_held: (F,) bool, frames that only hold their neighbours. pins: of the same frames.
    """
    is_frozen = appearance is not None
    point_residual = np.zeros((len(states), len(term.points)))
    for blur, rounds in levels:
        for _ in range(rounds):
            look = term.look(shared, states, blur)
            if not is_frozen:
                appearance = term.appearance(look, appearance)
            assert appearance is not None
            seen = landmarks_of(shared, states)
            reach_px = (REACH_BLURS * blur + 1) / float(term.box.scale.mean())
            residuals = term.residuals(look, appearance)
            targets, whitening = term.observations(look, residuals, seen.eye_px, balance.photometric, reach_px)
            point_residual = np.where(look.is_seen, np.sqrt((residuals**2).mean(-1)), np.nan)
            shares = np.where(np.isin(model.ids[: seen.points_px.shape[1]], CONTOUR), balance.contour, balance.landmarks)
            both = weighed(seen, shares, balance.openings)
            both = with_points(both, targets, whitening)
            if outline is not None:
                camera = intrinsics(shared.focal_px, tuple(shared.principal_px))
                both = with_points(both, *outline_observations(term.capture, term.samples, term.rig, outline, look.vertices_cam_m, look.normals, camera, seen.eye_px, balance.outline))
            if pins is not None:
                both = pins.added_to(both)
            solution = minimise(model, term.unknowns, shared, states, both, priors, solve_shared=solve_person, num_steps=2, is_held=is_held)
            shared, states = solution.shared, term.unknowns.with_looks(solution.states)
            on_round()
    assert appearance is not None
    count = np.isfinite(point_residual).sum(1)
    residual = np.where(count > 0, np.sqrt(np.nansum(point_residual**2, 1) / np.maximum(count, 1)), np.nan)
    return Refined(shared, states, appearance, residual, point_residual)
