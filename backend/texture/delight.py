"""Tells the clip's light from the colour of the skin.

A sample shows albedo times shade, shade = nine harmonics of the normal (spec dynamic_texture.md 9.2, 13.7). Two things tell them apart: a texel that
turns with the head changes its shade and keeps its albedo; and the albedo of one kind of surface (skin, lips, brows) is about the same everywhere,
and about the same on both sides of the face. Neither is exact, so all residuals are robust.

Light first: for ``LIGHT_STEPS`` steps every texel has the median colour of its kind and only the light moves. Then both move. Everything is done on
the logarithm of luminance, where shade and albedo add up; each step is one of iteratively reweighted Gauss-Newton, with the albedos eliminated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from ..capture.model import PARSING
from ..reporter import Reporter
from .light import MIN_SHADE, ClipLight, even_light, harmonics
from .samples import FrameSamples

LIGHT_STEPS, JOINT_STEPS = 50, 30
KINDS = ("skin", "lips", "brows")
"""Classes of the parsing map whose colour tells about light. Hair is not matt."""
_MAX_TEXELS = 4000
_MIN_FRAMES = 2
_MIN_TEXELS = 200
_MIN_LUMINANCE = 0.004
_SAMPLE_SCALE, _ALBEDO_SCALE = 0.08, 0.15
"""Log differences from which a sample (gloss, cast shadow) and a texel's albedo (beard, mole) count less."""
_ALBEDO_WEIGHT = 0.10
"""Weight of "skin is the same everywhere" beside all samples of a texel together."""
_SIDES_SHARE = 0.5
"""Share of that weight which asks for the other side's albedo instead of the median's."""
_GAIN_SIGMA = 0.04
"""Log exposure of single frames that is put down to the camera rather than to the light."""
_BAND_SIGMA = np.array([np.inf, 0.6, 0.6, 0.6, 0.25, 0.25, 0.25, 0.25, 0.25])
"""Expected size of a coefficient beside the first; the clip says nothing about directions that no skin faced."""
_PRIOR_TEXELS = 30.0
"""Texels' worth of evidence that the expected size counts."""
_OVER_WEIGHT = 0.1
"""Weight of mean relu(shade - 1): bright places are rather bright skin than bright light."""
_MIN_ANYWHERE = 0.1
"""No direction is darker than this, whether skin faced it or not."""
_NUM_DIRECTIONS = 128
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


@dataclasses.dataclass(frozen=True)
class Delit:
    """What was found.

    light: gauge as in ``ClipLight``. log_albedo: (m,) float64, luminance of the sampled texels, NaN where unknown. gains: (F,) of the frames.
    is_estimated: False when there was too little to go by; the light is even then.
    """

    light: ClipLight
    log_albedo: np.ndarray
    gains: np.ndarray
    is_estimated: bool


Watch = Callable[[int, str, np.ndarray, np.ndarray], None]
"""Hears (step, phase "light" or "joint", log albedo (k,), coefficients (9,)) after every step."""


def delight(samples: FrameSamples, mirror: np.ndarray, frame: str = "world", start_sh: np.ndarray | None = None, watch: Watch | None = None, reporter: Reporter | None = None) -> Delit:
    """Estimates the light and the albedo of the sampled texels.

    Args:
        samples: per frame, normals in the frame of the light.
        mirror: (m,) int, the sampled texel on the other side of the head, -1 = none.
        frame: "world" or "camera", only noted in the result.
        start_sh: (9,) grey light to start from, for instance the tracker's; None = even light.
        watch: for tests and previews. reporter: may cancel.
    """
    problem = _Problem.of(samples, mirror)
    if problem is None:
        nothing = np.full(len(samples.texel), np.nan)
        return Delit(even_light(frame), nothing, np.ones(samples.num_frames), False)
    sh = np.asarray(even_light().sh if start_sh is None else start_sh, np.float64).copy()
    gains = np.zeros(samples.num_frames)
    albedo = problem.medians(problem.luminance_mean())
    reporter = reporter or Reporter()
    for step in range(LIGHT_STEPS):
        reporter.check()
        sh, gains = problem.light_step(sh, gains, albedo)
        if watch is not None:
            watch(step, "light", albedo, sh)
    for step in range(JOINT_STEPS):
        reporter.check()
        sh, gains, albedo = problem.joint_step(sh, gains, albedo)
        # Twice the light on half the albedo is the same picture: the gauge decides.
        level = problem.mean_shade(sh)
        sh, albedo = sh / level, albedo + np.log(level)
        if watch is not None:
            watch(LIGHT_STEPS + step, "joint", albedo, sh)
    light = ClipLight(sh.astype(np.float32), np.ones(3, np.float32), frame)
    log_albedo = np.full(len(samples.texel), np.nan)
    log_albedo[problem.chosen] = albedo
    return Delit(light, log_albedo, np.exp(gains), True)


@dataclasses.dataclass
class _Problem:
    """k texels that were seen often enough and are of a kind that tells about light.

    chosen: (k,) into the samples' texels. log_luminance, weight: (F, k); the weights of a texel sum to at most 1. basis: (F, k, 9).
    kind: (k,) into ``KINDS``. mirror: (k,) into the k, -1 = none. around: (d, 9) harmonics of directions all around.
    """

    chosen: np.ndarray
    log_luminance: np.ndarray
    weight: np.ndarray
    basis: np.ndarray
    kind: np.ndarray
    mirror: np.ndarray
    around: np.ndarray

    @staticmethod
    def of(samples: FrameSamples, mirror: np.ndarray) -> "_Problem | None":
        luminance = samples.colour.astype(np.float64) @ _LUMINANCE
        weight = np.where(luminance > _MIN_LUMINANCE, samples.weight, 0).astype(np.float64)
        votes = np.stack([(weight * (samples.label == PARSING.index(name))).sum(0) for name in KINDS], -1)
        total = weight.sum(0)
        is_usable = ((weight > 0).sum(0) >= min(_MIN_FRAMES, samples.num_frames)) & (votes.max(1) > 0.6 * np.maximum(total, 1e-9)) & (total > 0)
        chosen = np.flatnonzero(is_usable)
        if len(chosen) < _MIN_TEXELS:
            return None
        # Thinned out so that both sides of the head keep the same places.
        first = np.where(mirror >= 0, np.minimum(mirror, np.arange(len(mirror))), np.arange(len(mirror)))[chosen]
        chosen = chosen[first % max(1, round(len(chosen) / _MAX_TEXELS)) == 0]
        place = np.full(len(samples.texel) + 1, -1)
        place[chosen] = np.arange(len(chosen))
        weight = weight[:, chosen]
        # What was seen well counts in full, what was only glimpsed counts less.
        weight /= np.maximum(weight.sum(0), np.percentile(weight.sum(0), 50))
        return _Problem(
            chosen, np.log(np.maximum(luminance[:, chosen], _MIN_LUMINANCE)), weight, harmonics(samples.normals[:, chosen].astype(np.float64)),
            votes[chosen].argmax(1), place[mirror[chosen]], harmonics(_directions(_NUM_DIRECTIONS)),
        )

    def log_shade(self, sh: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(self.basis @ sh, MIN_SHADE))

    def mean_shade(self, sh: np.ndarray) -> float:
        return float((self.weight * np.maximum(self.basis @ sh, MIN_SHADE)).sum() / self.weight.sum())

    def luminance_mean(self) -> np.ndarray:
        """(k,) log luminance of each texel over the frames."""
        return (self.weight * self.log_luminance).sum(0) / np.maximum(self.weight.sum(0), 1e-12)

    def medians(self, values: np.ndarray) -> np.ndarray:
        """(k,) the median of each texel's kind."""
        result = np.empty_like(values)
        for kind in np.unique(self.kind):
            result[self.kind == kind] = np.median(values[self.kind == kind])
        return result

    def light_step(self, sh: np.ndarray, gains: np.ndarray, albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The light moves, albedo (k,) is given: every texel is one observation of the light, its samples averaged for the step."""
        shade = np.maximum(self.basis @ sh, MIN_SHADE)
        error = self.log_luminance - albedo - np.log(shade) - gains[:, None]
        weight = self.weight * _trust(error, _ALBEDO_SCALE)
        flat = self.basis.reshape(-1, 9)
        normal = (flat * (weight / shade**2).reshape(-1, 1)).T @ flat
        right = (weight * error / shade).ravel() @ flat
        return sh + self._solve(normal, right, sh), gains

    def joint_step(self, sh: np.ndarray, gains: np.ndarray, albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Light, gains and albedo move together; the albedo of a texel is known when the others are, so it is eliminated."""
        shade = np.maximum(self.basis @ sh, MIN_SHADE)
        left = self.log_luminance - np.log(shade) - gains[:, None]
        weight = self.weight * _trust(left - albedo, _SAMPLE_SCALE)
        wanted, pull = self._wanted(albedo)
        total = weight.sum(0) + pull
        best = ((weight * left).sum(0) + pull * wanted) / np.maximum(total, 1e-12)
        error = left - best
        flat = self.basis.reshape(-1, 9)
        weighted = self.basis * (weight / shade)[..., None]
        summed = weighted.sum(0)
        num = len(gains)
        normal, right = np.zeros((9 + num, 9 + num)), np.zeros(9 + num)
        normal[:9, :9] = (weighted / shade[..., None]).reshape(-1, 9).T @ flat - (summed / total[:, None]).T @ summed
        normal[:9, 9:] = weighted.sum(1).T - (summed / total[:, None]).T @ weight.T
        normal[9:, :9] = normal[:9, 9:].T
        normal[9:, 9:] = np.diag(weight.sum(1)) - (weight / total) @ weight.T
        right[:9] = error.ravel() @ weighted.reshape(-1, 9)
        right[9:] = (weight * error).sum(1)
        # Exposure is expected to be steady; how steady, in units of the noise of a sample.
        steady = (_SAMPLE_SCALE / _GAIN_SIGMA) ** 2 * len(self.chosen) / num / 10
        normal[9:, 9:] += np.eye(num) * steady
        right[9:] -= steady * gains
        change = self._solve(normal, right, sh)
        sh, gains = sh + change[:9], gains + change[9:]
        gains = gains - gains.mean()
        left = self.log_luminance - self.log_shade(sh) - gains[:, None]
        return sh, gains, ((weight * left).sum(0) + pull * wanted) / np.maximum(total, 1e-12)

    def _wanted(self, albedo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(k,) the albedo that a texel should have for its kind and its other side, and (k,) the weight of that wish."""
        usual = self.medians(albedo)
        has_other = self.mirror >= 0
        other = np.where(has_other, albedo[np.maximum(self.mirror, 0)], usual)
        to_usual, to_other = _trust(albedo - usual, _ALBEDO_SCALE), np.where(has_other, _trust(albedo - other, _ALBEDO_SCALE), 0)
        first, second = (1 - _SIDES_SHARE) * to_usual, _SIDES_SHARE * to_other
        strength = first + second
        return (first * usual + second * other) / np.maximum(strength, 1e-12), _ALBEDO_WEIGHT * strength

    def _solve(self, normal: np.ndarray, right: np.ndarray, sh: np.ndarray) -> np.ndarray:
        """The step for light (first nine unknowns) and whatever follows, with what is expected of any light."""
        normal, right = normal.copy(), right.copy()
        expected = np.zeros(9)
        expected[1:] = _PRIOR_TEXELS / (_BAND_SIGMA[1:] * sh[0]) ** 2 * _ALBEDO_SCALE**2
        normal[np.arange(9), np.arange(9)] += expected + 1e-9
        right[:9] -= expected * sh
        shade = self.basis @ sh
        over = self.weight * (shade > self.mean_shade(sh))
        right[:9] -= _OVER_WEIGHT * _ALBEDO_SCALE**2 * _ALBEDO_WEIGHT * (over.ravel() @ self.basis.reshape(-1, 9))
        # Light from directions that no skin faced may not become negative.
        dark = self.around[self.around @ sh < _MIN_ANYWHERE]
        if len(dark):
            strength = _PRIOR_TEXELS / len(self.around)
            normal[:9, :9] += strength * dark.T @ dark
            right[:9] += strength * dark.T @ (_MIN_ANYWHERE - dark @ sh)
        step = np.linalg.solve(normal, right)
        longest = np.abs(step[:9]).max()
        return step * min(1.0, 0.5 * sh[0] / max(longest, 1e-12))


def _trust(error: np.ndarray, scale: float) -> np.ndarray:
    """Weight of a residual: 1 when small, falling with its square (Cauchy)."""
    return 1 / (1 + (error / scale) ** 2)


def _directions(num: int) -> np.ndarray:
    """(num, 3) unit vectors all around, evenly (a spiral whose turns grow by the golden angle)."""
    height = 1 - (2 * np.arange(num) + 1) / num
    turn = np.pi * (3 - np.sqrt(5)) * np.arange(num)
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], -1)
