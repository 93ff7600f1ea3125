"""Two rims that meet: the upper and lower lid, the upper and lower lip."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class RimPair:
    """An upper and a lower rim with common corners, paired at equal x.

    upper: (U,) vertex ids, lower: (L,) vertex ids, both from small to large x with the corners at both ends.
    upper_x, lower_x: (U,), (L,) ascending stations in [0, 1] along the opening.
    """

    upper: np.ndarray
    lower: np.ndarray
    upper_x: np.ndarray
    lower_x: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """All vertices of the rim, each once: the upper row, then the lower row without its corners."""
        return np.concatenate([self.upper, self.lower[1:-1]])

    def on_lower(self, upper_values: np.ndarray) -> np.ndarray:
        """Values (U, ...) of the upper row, read at the stations of the lower row: (L, ...)."""
        return _interpolate(self.lower_x, self.upper_x, upper_values)

    def on_upper(self, lower_values: np.ndarray) -> np.ndarray:
        """Values (L, ...) of the lower row, read at the stations of the upper row: (U, ...)."""
        return _interpolate(self.upper_x, self.lower_x, lower_values)

    def blend(self, field: np.ndarray, upper_share: float) -> np.ndarray:
        """What both rows would be if they agreed.

        Args:
            field: (V, ...) values per vertex. upper_share: how much the upper row decides, 0..1.

        Returns:
            (len(ids), ...) upper_share * upper + (1 - upper_share) * lower, at every rim vertex' station.
        """
        upper, lower = field[self.upper], field[self.lower]
        at_upper = upper_share * upper + (1 - upper_share) * self.on_upper(lower)
        at_lower = upper_share * self.on_lower(upper) + (1 - upper_share) * lower
        return np.concatenate([at_upper, at_lower[1:-1]])

    def gap(self, points: np.ndarray) -> np.ndarray:
        """(U, 3) upper minus lower row at the upper stations."""
        return points[self.upper] - self.on_upper(points[self.lower])


def make_rim_pair(upper: np.ndarray, lower: np.ndarray, points: np.ndarray) -> RimPair:
    """Pairs two rims by x at the given points (V, 3)."""

    def stations(row: np.ndarray) -> np.ndarray:
        x = np.maximum.accumulate(points[row, 0])
        return (x - x[0]) / (x[-1] - x[0])

    return RimPair(upper, lower, stations(upper), stations(lower))


def _interpolate(wanted: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    flat = values.reshape(len(known), -1)
    columns = [np.interp(wanted, known, flat[:, column]) for column in range(flat.shape[1])]
    return np.stack(columns, -1).reshape(len(wanted), *values.shape[1:])
