"""What a person's surface looks like: colours drawn at random within human ranges."""

from __future__ import annotations

import dataclasses

import numpy as np

_SKIN = ((234, 192, 170), (224, 177, 152), (208, 160, 132), (186, 134, 104), (150, 102, 76), (112, 74, 54))
_HAIR = ((38, 28, 22), (58, 40, 28), (84, 58, 38), (122, 88, 54), (24, 20, 19), (96, 92, 90))
_IRIS = ((92, 62, 36), (70, 46, 30), (96, 106, 76), (84, 106, 128), (100, 122, 140), (92, 80, 50))
_SHIRT = ((52, 66, 92), (96, 40, 44), (64, 84, 70), (120, 120, 124), (44, 44, 50), (96, 112, 132))


@dataclasses.dataclass(frozen=True)
class Look:
    """Colours are sRGB in [0, 1] as (3,) arrays. stubble, freckles, ruddy: strengths in [0, 1]. pupil_m: radius. seed: of the noise."""

    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    shirt: np.ndarray
    lip_red: float
    stubble: float
    freckles: float
    ruddy: float
    pupil_m: float
    tooth_shade: float
    hair_length_m: float
    seed: int


def draw_look(rng: np.random.Generator) -> Look:
    """A random person's colours."""

    def pick(table: tuple[tuple[int, int, int], ...], spread: float) -> np.ndarray:
        first, second = (np.array(table[int(rng.integers(len(table)))], dtype=np.float64) / 255 for _ in range(2))
        return np.clip(first + spread * rng.random() * (second - first), 0, 1)

    tone = rng.random() ** 1.3 * (len(_SKIN) - 1)
    low = int(min(tone, len(_SKIN) - 2))
    skin = (np.array(_SKIN[low]) * (1 - (tone - low)) + np.array(_SKIN[low + 1]) * (tone - low)) / 255
    hair = pick(_HAIR, 0.4) * (1.0 if tone < 3 else 0.55)
    iris = pick(_IRIS, 0.5) * (1.0 if tone < 3 else 0.7)
    return Look(
        skin=skin, hair=hair, iris=iris, shirt=pick(_SHIRT, 0.3), lip_red=rng.uniform(0.5, 1.0), stubble=max(0.0, rng.uniform(-0.8, 0.9)),
        freckles=max(0.0, rng.uniform(-1.5, 1.0)), ruddy=rng.uniform(0.4, 1.0), pupil_m=rng.uniform(0.0016, 0.0025), tooth_shade=rng.uniform(0.0, 0.6),
        hair_length_m=rng.uniform(0.010, 0.022), seed=int(rng.integers(2**31)),
    )
