"""Box-constrained Levenberg-Marquardt on a clip: projected steps with an active set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from .block_solver import BlockSystem, gradient_at, solve
from .energy import Observations, Priors, Shared, cost, linearise
from .landmark_model import LandmarkModel
from .state import FrameStates, Unknowns

NUM_PASSES = 4
"""Active-set passes per step; a solve costs a tenth of a linearisation."""
MAX_IDENTITY_STEP, MAX_LOG_FOCAL_STEP = 2.0, 0.2


@dataclasses.dataclass(frozen=True)
class Solution:
    """The fit so far: shared quantities, frames, energy, and how many steps were accepted."""

    shared: Shared
    states: FrameStates
    energy: float
    num_accepted: int


def minimise(
    model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations, priors: Priors, *,
    solve_shared: bool, num_steps: int, tolerance: float = 1e-4, on_step: Callable[[int], None] | None = None, is_held: np.ndarray | None = None,
) -> Solution:
    """Minimises the energy over the frames (and the shared quantities).

    Each step minimises the quadratic model inside the box (``boxed_step``; projected Newton methods, Bertsekas 1982) and is
    accepted only when the energy falls.

    Args:
        num_steps: most linearisations. tolerance: stop when a step lowers the energy by less than this share.
        on_step: called with the number of each step (progress, cancelling).
        is_held: (F,) bool, frames that stay as they are; their neighbours are tied to them.
    """
    energy = cost(model, unknowns, shared, states, seen, priors)
    damping, accepted = 1e-4, 0
    for step_number in range(num_steps):
        if on_step is not None:
            on_step(step_number)
        system = linearise(model, unknowns, shared, states, seen, priors, solve_shared)
        values = unknowns.values(states)
        lowest, highest = unknowns.lower - values, unknowns.upper - values
        if is_held is not None:
            lowest[is_held], highest[is_held] = 0, 0
        is_better = False
        for _ in range(6):
            step, shared_step = boxed_step(system, lowest, highest, damping)
            new_shared = _moved(shared, shared_step) if solve_shared else shared
            new_states = unknowns.moved(states, step)
            new_energy = cost(model, unknowns, new_shared, new_states, seen, priors)
            if np.isfinite(new_energy) and new_energy < energy:
                is_better = True
                break
            damping = max(damping * 8, 1e-5)
        if not is_better:
            break
        gain = (energy - new_energy) / max(energy, 1e-12)
        shared, states, energy = new_shared, new_states, new_energy
        accepted += 1
        damping = max(damping / 5, 1e-7)
        if gain < tolerance:
            break
    return Solution(shared, states, energy, accepted)


def boxed_step(system: BlockSystem, lowest: np.ndarray, highest: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimises the quadratic model inside a box, by a few passes of an active set.

    Unknowns that would leave the box are put on its border and held while the others are solved again, so that these make
    up for what the held ones cannot do. Clipping a finished step instead can raise the energy.

    Args:
        lowest, highest: (F, n), how far each unknown may move.
    """
    is_held = ((lowest >= -1e-12) & (system.gradient > 0)) | ((highest <= 1e-12) & (system.gradient < 0)) | (lowest == highest)
    offset = np.zeros_like(system.gradient)
    for number in range(NUM_PASSES):
        seen_from = gradient_at(system, offset) if number else system
        step, shared_step = solve(seen_from, is_held, damping)
        step = step + offset
        is_low, is_high = (step < lowest) & ~is_held, (step > highest) & ~is_held
        if not (is_low.any() or is_high.any()):
            break
        offset = np.where(is_low, lowest, np.where(is_high, highest, offset))
        is_held |= is_low | is_high
    return np.clip(step, lowest, highest), shared_step


def _moved(shared: Shared, step: np.ndarray) -> Shared:
    change = np.clip(step[:-1], -MAX_IDENTITY_STEP, MAX_IDENTITY_STEP)
    return Shared(shared.identity + change, float(shared.focal_px * np.exp(np.clip(step[-1], -MAX_LOG_FOCAL_STEP, MAX_LOG_FOCAL_STEP))), shared.principal_px)
