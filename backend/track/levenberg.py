"""Box-constrained Levenberg-Marquardt on a clip: projected steps with an active set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from .block_solver import solve
from .energy import Observations, Priors, Shared, cost, linearise
from .landmark_model import LandmarkModel
from .state import FrameStates, Unknowns

MAX_SHARED_STEP = 0.5
MAX_LOG_FOCAL = 1.2


@dataclasses.dataclass(frozen=True)
class Solution:
    """The fit so far: shared quantities, frames, energy, and how many steps were accepted."""

    shared: Shared
    states: FrameStates
    energy: float
    num_accepted: int


def minimise(
    model: LandmarkModel, unknowns: Unknowns, shared: Shared, states: FrameStates, seen: Observations, priors: Priors, *,
    solve_shared: bool, num_steps: int, tolerance: float = 1e-4, on_step: Callable[[int], None] | None = None,
) -> Solution:
    """Minimises the energy over the frames (and the shared quantities).

    Unknowns on a bound whose gradient pushes outwards are held (projected Newton, Bertsekas 1982); the step is
    clipped to the box and accepted only when the energy falls.

    Args:
        num_steps: most linearisations. tolerance: stop when a step lowers the energy by less than this share.
        on_step: called with the number of each step (progress, cancelling).
    """
    energy = cost(model, unknowns, shared, states, seen, priors)
    damping, accepted = 1e-4, 0
    for step_number in range(num_steps):
        if on_step is not None:
            on_step(step_number)
        system = linearise(model, unknowns, shared, states, seen, priors, solve_shared)
        values = unknowns.values(states)
        is_low = (values <= unknowns.lower + 1e-12) & (system.gradient > 0)
        is_high = (values >= unknowns.upper - 1e-12) & (system.gradient < 0)
        is_better = False
        for _ in range(6):
            step, shared_step = solve(system, is_low | is_high, damping)
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


def _moved(shared: Shared, step: np.ndarray) -> Shared:
    change = np.clip(step, -MAX_SHARED_STEP * 4, MAX_SHARED_STEP * 4)
    return Shared(shared.identity + change[:-1], float(shared.focal_px * np.exp(np.clip(change[-1], -0.2, 0.2))), shared.principal_px)
