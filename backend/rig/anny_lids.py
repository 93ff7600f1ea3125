"""Makes the lids fit the eyeballs: at rest, while blinking, and for every identity.

The source's eyeballs are a third too large and its blink drags the upper lid 4 mm past the lower one. Here the lid rims are
laid on a 24 mm eyeball, the blink is scaled and corrected until both rims meet on it, and identity modes move both rims of an eye
together, sliding over the ball, so that a blink closes for everybody. How far a person's eyes are open is an expression.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .anny_cut import HeadCut, QuadGraph
from .anny_eyes import CORNEA_BULGE_M, CORNEA_RINGS_M, EYE_RADIUS_M
from .anny_loops import closed_loop_through, split_rim
from .anny_rim_pairs import RimPair, make_rim_pair
from .anny_spread import SmoothSpread

RING_EDGES = ((7787, 7788), (7748, 7747), (13353, 13352), (6785, 6784), (11466, 11467))
"""An edge (body vertex ids) of five loops around the left eye, from inside out: behind the lid, inner edge of the margin, rim,
outer edge of the margin, first ring of the lid's skin."""

HALF_PUPIL_DISTANCE_M = 0.0315
EYE_DROP_M = 0.0008
"""The source's pupils stand high between the lids; the eyeballs are lowered by this."""

RIM_CLEARANCE_M = 0.0004
CLOSED_CLEARANCE_M = 0.0009
"""More than at rest, because a lid that moves on a straight line between two places on a ball dips towards the ball half way."""

LEAST_CLEARANCE_M = 0.00015
CARUNCLE_FROM_M = 0.0014
"""Rim vertices farther from the ball than this belong to the inner corner and keep most of their distance."""

CORNER_LEAD_M = 0.0002
"""The inner corner of the margin is drawn this much towards the nose, so that it is the end of both rows beyond doubt."""

FULL_OPENING_M = 0.003
"""Where the rims stand farther apart than this the closed lids are laid on the ball; less so towards the corners."""

CLOSED_LAP_M = 0.0002
"""How far the closed upper lid reaches below the lower rim, so that no slit shows."""

UPPER_SHARE_CLOSED = 0.15
"""Where the rims meet: 0 = where the lower lid rests, 1 = where the upper lid rests."""

NUM_RINGS = 5

LASH_LENGTH = (0.7, 0.45)
"""Upper and lower lashes, in parts of the source's, whose sheets hide the lower lid unless an alpha texture thins them."""


@dataclasses.dataclass(frozen=True)
class EyeLids:
    """One eye's lids as vertex ids of the head.

    hidden, edge, rim, margin, skin: loops from inside out (each (28,)). bag: what lies behind ``hidden``.
    rim_pair, margin_pair: the loops ``rim`` and ``margin`` as upper and lower rows.
    lashes: (n,) ids; lash_rim: (n, 2) margin vertices each follows; lash_weights: (n, 2); lash_length: (n,) factors.
    """

    hidden: np.ndarray
    edge: np.ndarray
    rim: np.ndarray
    margin: np.ndarray
    skin: np.ndarray
    bag: np.ndarray
    rim_pair: RimPair
    margin_pair: RimPair
    lashes: np.ndarray
    lash_rim: np.ndarray
    lash_weights: np.ndarray
    lash_length: np.ndarray

    @property
    def fixed(self) -> np.ndarray:
        """The vertices whose corrections are set by hand, inside out."""
        return np.concatenate([self.bag, self.hidden, self.edge, self.rim_pair.ids, self.margin_pair.ids, self.skin])


def clearance_m(points: np.ndarray) -> np.ndarray:
    """Signed distance (...,) of points (..., 3) in an eyeball's frame to the surface of ball and cornea; positive outside."""
    edge, apex = CORNEA_RINGS_M[0], EYE_RADIUS_M + CORNEA_BULGE_M
    base = np.sqrt(EYE_RADIUS_M**2 - edge**2)
    radius = (edge**2 + (apex - base) ** 2) / (2 * (apex - base))
    ball = np.linalg.norm(points, axis=-1) - EYE_RADIUS_M
    cap = np.linalg.norm(points - [0, 0, apex - radius], axis=-1) - radius
    return np.minimum(ball, cap)


def find_lids(cut: HeadCut, graph: QuadGraph, points: np.ndarray, lash_ids: tuple[np.ndarray, np.ndarray]) -> EyeLids:
    """The left eye's lids.

    Args:
        points: (V, 3) m, neutral. lash_ids: the lashes of the upper and of the lower lid.
    """
    loops = [closed_loop_through(graph, *(int(i) for i in cut.head_ids(np.array(edge)))) for edge in RING_EDGES]
    hidden, edge, rim, margin, skin = loops
    pending = [n for i in hidden.tolist() for n in graph.neighbours[i] if n not in set(edge.tolist())]
    bag = set(pending) - set(hidden.tolist())
    pending = list(bag)
    while pending:
        for n in graph.neighbours[pending.pop()]:
            if n not in bag and n not in hidden:
                bag.add(n)
                pending.append(n)
    rim_pair, margin_pair = (make_rim_pair(*split_rim(loop, points), points) for loop in (rim, margin))
    lashes = np.concatenate(lash_ids)
    near, weights = [], []
    for ids, row in zip(lash_ids, (margin_pair.upper, margin_pair.lower)):
        distance = np.linalg.norm(points[ids][:, None] - points[row][None], axis=-1)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :2]
        inverse = 1 / (np.take_along_axis(distance, nearest, 1) + 1e-6)
        near.append(row[nearest])
        weights.append(inverse / inverse.sum(1, keepdims=True))
    return EyeLids(
        hidden, edge, rim, margin, skin, np.array(sorted(bag)), rim_pair, margin_pair, lashes, np.concatenate(near), np.concatenate(weights),
        np.repeat(LASH_LENGTH, [len(ids) for ids in lash_ids]),
    )  # fmt: skip


def mirrored_lids(lids: EyeLids, mirror: np.ndarray) -> EyeLids:
    """The other eye's lids: every vertex replaced by its mirror vertex."""

    def flip(pair: RimPair) -> RimPair:
        return RimPair(mirror[pair.upper][::-1], mirror[pair.lower][::-1], 1 - pair.upper_x[::-1], 1 - pair.lower_x[::-1])

    return EyeLids(
        *(mirror[ids] for ids in (lids.hidden, lids.edge, lids.rim, lids.margin, lids.skin, lids.bag)),
        flip(lids.rim_pair), flip(lids.margin_pair), mirror[lids.lashes], mirror[lids.lash_rim], lids.lash_weights, lids.lash_length,
    )  # fmt: skip


class LidFitter:
    """Corrections around one eye. ``side``: +1 the subject's left, -1 right."""

    def __init__(self, lids: EyeLids, graph: QuadGraph, num_vertices: int, side: int):
        self.lids, self.side, self.num_vertices = lids, side, num_vertices
        self._spread = SmoothSpread(graph, lids.fixed, NUM_RINGS, seeds=lids.skin)
        self._towards_rim = {}
        for ring, nearer in ((lids.hidden, lids.edge), (lids.edge, lids.rim), (lids.skin, lids.margin)):
            members = set(nearer.tolist())
            for i in ring.tolist():
                self._towards_rim[i] = min(graph.neighbours[i] & members)

    def _spread_out(self, field: np.ndarray) -> np.ndarray:
        """(V, ...) correction from one that holds values at bag, hidden, edge, rim and margin; skin and lashes follow the margin."""
        field = field.copy()
        field[self.lids.skin] = field[self._nearer(self.lids.skin)]
        values = field[self.lids.fixed]
        field = self._spread.apply(values, self.num_vertices)
        shape = (-1, 2) + (1,) * (values.ndim - 1)
        field[self.lids.lashes] = (field[self.lids.lash_rim] * self.lids.lash_weights.reshape(shape)).sum(1)
        return field

    def shorten_lashes(self, field: np.ndarray) -> np.ndarray:
        """Positions or displacements (V, 3, ...) with the lashes drawn towards the margin they grow from."""
        lids = self.lids
        tail = (1,) * (field.ndim - 1)
        root = (field[lids.lash_rim] * lids.lash_weights.reshape(-1, 2, *tail)).sum(1)
        field = field.copy()
        field[lids.lashes] = root + lids.lash_length.reshape(-1, *tail) * (field[lids.lashes] - root)
        return field

    def _nearer(self, ids: np.ndarray) -> np.ndarray:
        """For vertices of hidden, edge or skin their neighbour on the next loop towards the rim."""
        return np.array([self._towards_rim[i] for i in ids.tolist()])

    def place_eye(self, points: np.ndarray, old_centre: np.ndarray) -> np.ndarray:
        """The eyeball's centre (3,) m: pupil distance given, lowered, and as far forward as the lids allow."""
        centre = np.array([self.side * HALF_PUPIL_DISTANCE_M, old_centre[1] - EYE_DROP_M, old_centre[2]])
        pair = self.lids.rim_pair
        middle = np.concatenate([pair.upper[(pair.upper_x > 0.3) & (pair.upper_x < 0.7)], pair.lower[(pair.lower_x > 0.3) & (pair.lower_x < 0.7)]])
        low, high = -0.005, 0.015
        for _ in range(40):
            forward = (low + high) / 2
            nearest = clearance_m(points[middle] - centre - [0, 0, forward]).min()
            low, high = (forward, high) if nearest > RIM_CLEARANCE_M else (low, forward)
        return centre + [0, 0, low]

    def fit_rest(self, points: np.ndarray, old_centre: np.ndarray, old_radius: float, centre: np.ndarray) -> np.ndarray:
        """(V, 3) m correction that lays the lids of a neutral head on the new eyeball."""
        lids = self.lids
        shift = np.zeros_like(points)

        def settle(ids: np.ndarray, wanted: np.ndarray) -> None:
            offset = points[ids] - centre
            shift[ids] = offset / np.linalg.norm(offset, axis=1, keepdims=True) * (wanted - clearance_m(offset))[:, None]

        distance = clearance_m(points[lids.rim] - centre)
        settle(lids.rim, RIM_CLEARANCE_M + 0.7 * np.maximum(distance - CARUNCLE_FROM_M, 0))
        shift[lids.margin] = shift[lids.rim[_matching(points, lids.margin, lids.rim)]]
        shift[lids.margin_pair.upper[0 if self.side > 0 else -1], 0] -= self.side * CORNER_LEAD_M
        settle(lids.edge, np.full(len(lids.edge), 0.0001))
        settle(lids.hidden, np.full(len(lids.hidden), -0.0008))
        shift[lids.bag] = centre + (points[lids.bag] - old_centre) * (EYE_RADIUS_M / old_radius) - points[lids.bag]
        return self._spread_out(shift)

    def fix_blink(self, neutral: np.ndarray, blink: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """The blink (V, 3) m at 1, scaled and corrected so that both rims meet in front of the eyeball."""
        lids = self.lids
        goal = np.zeros_like(neutral)
        for pair in (lids.rim_pair, lids.margin_pair):
            meet = pair.blend(neutral, UPPER_SHARE_CLOSED) - centre
            own = _scatter(clearance_m(neutral[pair.ids] - centre), pair, len(neutral))
            height = np.maximum(pair.blend(own, 0.5), CLOSED_CLEARANCE_M)
            outward = meet / np.linalg.norm(meet, axis=1, keepdims=True)
            raised = meet + outward * (height - clearance_m(meet))[:, None]
            # towards the corners the rims already touch, and the inner one does not lie on the ball
            opening = np.clip(pair.blend(_opening(neutral, pair), 0.5) / FULL_OPENING_M, 0, 1)[:, None]
            lap = np.concatenate([np.full(len(pair.upper), CLOSED_LAP_M), np.zeros(len(pair.lower) - 2)])[:, None] * [0, 1, 0]
            goal[pair.ids] = centre + opening * (raised - lap) + (1 - opening) * meet - neutral[pair.ids]
        upper = np.concatenate([lids.rim_pair.upper, lids.margin_pair.upper])
        share = (goal[upper] * blink[upper]).sum() / (blink[upper] ** 2).sum()
        blink = blink * share
        miss = goal - blink
        miss[lids.edge] = miss[self._nearer(lids.edge)]
        miss[lids.hidden] = 0.5 * miss[self._nearer(lids.hidden)]
        miss[lids.bag] = 0
        fixed = blink + self._spread_out(miss)
        return self.keep_outside(neutral, fixed, centre)

    def keep_outside(self, neutral: np.ndarray, shape: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """``shape`` (V, 3), changed where it would push the outer lid skin into the eyeball at any value up to 1."""
        ids = np.concatenate([self._spread.free, self.lids.rim, self.lids.margin])
        ids = ids[(neutral[ids] - centre)[:, 2] > 0]
        shape = shape.copy()
        for _ in range(4):
            for value in (0.5, 0.75, 1.0):
                offset = neutral[ids] + value * shape[ids] - centre
                lack = np.maximum(LEAST_CLEARANCE_M - clearance_m(offset), 0)
                lack[clearance_m(neutral[ids] - centre) < LEAST_CLEARANCE_M] = 0
                shape[ids] += offset / np.linalg.norm(offset, axis=1, keepdims=True) * (lack / value)[:, None]
        return shape

    def constrain_identity(self, neutral: np.ndarray, modes: np.ndarray, ball_shift: np.ndarray, centre: np.ndarray) -> np.ndarray:
        """Modes (V, 3, S) changed around this eye: socket rigid with the ball, both rims move as one and slide over the ball.

        Args:
            ball_shift: (3, S) m, the translation of the eyeball per mode.
        """
        lids = self.lids
        wanted = modes.copy()
        inside = np.concatenate([lids.bag, lids.hidden])
        wanted[inside] = ball_shift
        for pair in (lids.rim_pair, lids.margin_pair):
            outward = neutral[pair.ids] - centre
            outward /= np.linalg.norm(outward, axis=1, keepdims=True)
            slide = pair.blend(modes, 0.5) - ball_shift
            flat = pair.blend(_scatter(outward, pair, len(neutral)), 0.5)
            flat /= np.linalg.norm(flat, axis=1, keepdims=True)
            slide = slide - flat[:, :, None] * np.einsum("vc,vcs->vs", flat, slide)[:, None]
            wanted[pair.ids] = slide + ball_shift
        wanted[lids.edge] = wanted[self._nearer(lids.edge)]
        return modes + self._spread_out(wanted - modes)


def _matching(points: np.ndarray, ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each of ``ids`` the place in ``others`` that is nearest."""
    return np.argmin(np.linalg.norm(points[ids][:, None] - points[others][None], axis=-1), axis=1)


def _opening(points: np.ndarray, pair: RimPair) -> np.ndarray:
    """(V,) m: at the rim's vertices how far the rows stand apart, zero elsewhere."""
    upper = np.linalg.norm(pair.gap(points), axis=1)
    opening = np.zeros(len(points))
    opening[pair.lower] = pair.on_lower(upper)
    opening[pair.upper] = upper
    return opening


def _scatter(values: np.ndarray, pair: RimPair, num_vertices: int) -> np.ndarray:
    """(num_vertices, ...) with the values of ``pair.ids`` in place, zero elsewhere."""
    out = np.zeros((num_vertices, *values.shape[1:]))
    out[pair.ids] = values
    return out
