"""A head made by code: an ellipsoid with lips, eyes, corneas, teeth, tongue, lashes and a few expressions. No licence, no download."""

from __future__ import annotations

import numpy as np

from backend.rig.model import PARTS, LandmarkEmbedding, RigModel

EXPRESSIONS = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight",
    "jawOpen", "mouthClose", "mouthSmileLeft", "mouthSmileRight", "browInnerUp",
)
CENTRE = np.array([0.0, 0.15, 0.0])
RADII = np.array([0.075, 0.11, 0.09])
EYE = np.array([0.031, 0.165, 0.074])
EYE_RADIUS = 0.012
MOUTH = np.array([0.0, 0.095, 0.075])


class _Parts:
    """Collects grids of quads into one mesh."""

    def __init__(self) -> None:
        self.vertices: list[np.ndarray] = []
        self.quads: list[np.ndarray] = []
        self.uv: list[np.ndarray] = []
        self.quad_uv: list[np.ndarray] = []
        self.parts: list[np.ndarray] = []
        self.ranges: dict[str, slice] = {}

    def add(self, part: str, vertices: np.ndarray, quads: np.ndarray, uv: np.ndarray, quad_uv: np.ndarray) -> None:
        start, uv_start = sum(map(len, self.vertices)), sum(map(len, self.uv))
        self.vertices.append(vertices)
        self.quads.append(np.where(quads < 0, -1, quads + start))
        self.uv.append(uv)
        self.quad_uv.append(np.where(quad_uv < 0, -1, quad_uv + uv_start))
        self.parts.append(np.full(len(quads), PARTS.index(part), np.uint8))
        self.ranges[part] = slice(start, start + len(vertices))


def _sphere(rows: int, columns: int, lowest: float, highest: float, window: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    """A band of the unit sphere from ``lowest`` to ``highest`` latitude (rad), open below, closed above by triangles at the pole when it
    is reached. ``window``: left, bottom and side of its square in the texture. Winding is outward."""
    reaches_pole = np.isclose(highest, np.pi / 2)
    latitudes = np.linspace(lowest, highest, rows + 1)[: rows if reaches_pole else rows + 1]
    turns = np.arange(columns) / columns * 2 * np.pi
    ring = np.stack([np.sin(turns), np.zeros(columns), np.cos(turns)], -1)
    vertices = [np.cos(latitude) * ring + [0, np.sin(latitude), 0] for latitude in latitudes]
    left, bottom, side = window
    grid = np.stack(np.meshgrid(np.arange(columns + 1) / columns, np.arange(rows + 1) / rows), -1) * side + [left, bottom]
    quads, quad_uv = [], []
    at = lambda row, column: row * columns + column % columns  # noqa: E731
    uv_at = lambda row, column: row * (columns + 1) + column  # noqa: E731
    for row in range(len(latitudes) - 1):
        for column in range(columns):
            quads.append([at(row, column), at(row, column + 1), at(row + 1, column + 1), at(row + 1, column)])
            quad_uv.append([uv_at(row, column), uv_at(row, column + 1), uv_at(row + 1, column + 1), uv_at(row + 1, column)])
    if reaches_pole:
        pole, row = len(latitudes) * columns, len(latitudes) - 1
        vertices.append(np.array([[0.0, 1.0, 0.0]]))
        for column in range(columns):
            quads.append([at(row, column), at(row, column + 1), pole, -1])
            quad_uv.append([uv_at(row, column), uv_at(row, column + 1), uv_at(row + 1, column), -1])
    return np.concatenate(vertices), np.array(quads), grid.reshape(-1, 2), np.array(quad_uv)


def _patch(points: np.ndarray, window: tuple[float, float, float]) -> tuple[np.ndarray, ...]:
    """A grid of (rows, columns, 3) points as quads."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1).reshape(-1, 4)
    left, bottom, side = window
    uv = np.stack(np.meshgrid(np.linspace(0, 1, columns), np.linspace(0, 1, rows)), -1).reshape(-1, 2) * side + [left, bottom]
    return points.reshape(-1, 3), quads, uv, quads.copy()


def _bump(points: np.ndarray, centre: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((points - centre) ** 2).sum(1) / width**2)


def procedural_rig(rows: int = 24, columns: int = 36) -> RigModel:
    """About 1200 vertices, 15 ARKit controls, 3 identity modes, 5 joints, 478 landmark places."""
    parts = _Parts()
    vertices, quads, uv, quad_uv = _sphere(rows, columns, np.radians(-62), np.pi / 2, (0.02, 0.02, 0.6))
    parts.add("skin", vertices * RADII + CENTRE, quads, uv, quad_uv)
    forward = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # turns the pole of a sphere to +Z
    for side, sign, left in (("left", 1.0, 0.66), ("right", -1.0, 0.82)):
        centre = EYE * [sign, 1, 1]
        ball, quads, uv, quad_uv = _sphere(8, 16, np.radians(-80), np.pi / 2, (left, 0.02, 0.14))
        parts.add(f"eye_{side}", ball @ forward.T * EYE_RADIUS + centre, quads, uv, quad_uv)
        cap, quads, uv, quad_uv = _sphere(3, 16, np.radians(55), np.pi / 2, (left, 0.2, 0.05))
        parts.add(f"cornea_{side}", cap @ forward.T * (EYE_RADIUS + 0.0006) + centre, quads, uv, quad_uv)
    across = np.linspace(-0.02, 0.02, 9)
    for name, height, bottom in (("teeth_upper", 0.1, 0.3), ("teeth_lower", 0.088, 0.42)):
        row = np.stack([np.stack([across, np.full(9, y), 0.07 - 20 * across**2], -1) for y in (height - 0.005, height)])
        parts.add(name, *_patch(row, (0.66, bottom, 0.1)))
    tongue = np.stack([np.stack([across * 0.6, np.full(9, 0.09), np.full(9, z)], -1) for z in (0.062, 0.05, 0.038, 0.026)])
    parts.add("tongue", *_patch(tongue, (0.8, 0.3, 0.1)))
    along = np.linspace(-0.014, 0.014, 7)
    lashes = np.stack([
        np.concatenate([np.stack([sign * EYE[0] + along, np.full(7, EYE[1] + 0.008), np.full(7, z)], -1) for sign in (1.0, -1.0)]) for z in (0.086, 0.094)
    ])
    points, quads, uv, quad_uv = _patch(lashes, (0.66, 0.56, 0.1))
    keep = np.arange(len(quads)) != 6  # the quad between the two eyes
    parts.add("lashes", points, quads[keep], uv, quad_uv[keep])

    template = np.concatenate(parts.vertices).astype(np.float32)
    num_vertices = len(template)
    of = {name: np.isin(np.arange(num_vertices), np.arange(num_vertices)[where]) for name, where in parts.ranges.items()}
    skin = of["skin"]
    centre_of = {"left": EYE, "right": EYE * [-1, 1, 1]}
    basis = _expression_basis(template.astype(np.float64), of, centre_of)
    identity = np.zeros((num_vertices, 3, 3))
    relative = template - CENTRE
    for mode, axis in enumerate((0, 1, 2)):  # broader, taller, deeper, eyes carried along rigidly
        identity[:, axis, mode] = 0.04 * relative[:, axis]
        for side in ("left", "right"):
            rows_of_eye = of[f"eye_{side}"] | of[f"cornea_{side}"]
            identity[rows_of_eye, axis, mode] = 0.04 * (centre_of[side] - CENTRE)[axis]

    weights = np.zeros((num_vertices, 5))
    head = 1 / (1 + np.exp(-(template[:, 1] - 0.075) / 0.012))
    neck = (1 - head) / (1 + np.exp(-(template[:, 1] - 0.058) / 0.006))
    weights[:, 2], weights[:, 1], weights[:, 0] = head, neck, 1 - head - neck
    for joint, side in ((3, "left"), (4, "right")):
        rows_of_eye = of[f"eye_{side}"] | of[f"cornea_{side}"]
        weights[rows_of_eye] = np.eye(5)[joint]
    regressor = np.zeros((5, num_vertices))
    loop = np.zeros(num_vertices, bool)
    loop[:columns] = True
    regressor[0] = loop / loop.sum()
    ring = np.zeros(num_vertices, bool)
    ring[4 * columns: 5 * columns] = True
    regressor[1] = ring / ring.sum()
    ring = np.zeros(num_vertices, bool)
    ring[8 * columns: 9 * columns] = True
    regressor[2] = ring / ring.sum()
    for joint, side in ((3, "left"), (4, "right")):
        rim = np.flatnonzero(of[f"eye_{side}"])
        opposite = rim[: 16 * 8].reshape(8, 16)  # rings about the line of sight; the widest is centred on the eye
        widest = opposite[np.argmin(np.abs(template[opposite].mean(1)[:, 2] - EYE[2]))]
        offset = template[widest].mean(0) - centre_of[side]
        regressor[joint, widest] = 1 / 16
        # two rings on both sides of the centre, weighted so that their mean is the centre
        others = sorted(range(8), key=lambda ring: abs(template[opposite[ring]].mean(0)[2] - EYE[2]))[:2]
        depth = [float(template[opposite[ring]].mean(0)[2] - EYE[2]) for ring in others]
        if abs(offset[2]) > 1e-9:
            regressor[joint] = 0
            share = depth[1] / (depth[1] - depth[0])
            regressor[joint, opposite[others[0]]] = share / 16
            regressor[joint, opposite[others[1]]] = (1 - share) / 16

    mirrored = template * [-1, 1, 1]
    mirror = np.array([int(np.argmin(((template - point) ** 2).sum(1))) for point in mirrored], np.int32)
    names = [name.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for name in EXPRESSIONS]
    rig = RigModel(
        name="procedural", source="tests/procedural_rig.py", licences=("Made by code: CC0",), template=template,
        quads=np.concatenate(parts.quads).astype(np.int32), uv=np.concatenate(parts.uv).astype(np.float32),
        quad_uv=np.concatenate(parts.quad_uv).astype(np.int32), quad_parts=np.concatenate(parts.parts), part_names=PARTS,
        identity_basis=identity.astype(np.float32), identity_names=("broader", "taller", "deeper"), expression_basis=basis.astype(np.float32),
        expression_names=EXPRESSIONS, expression_limits=np.tile(np.float32([0, 1]), (len(EXPRESSIONS), 1)),
        joint_names=("root", "neck", "head", "eye_left", "eye_right"), joint_parents=np.array([-1, 0, 1, 2, 2], np.int32),
        joint_regressor=regressor.astype(np.float32), skin_weights=weights.astype(np.float32), mirror_vertices=mirror,
        mirror_expressions=np.array([EXPRESSIONS.index(name) for name in names], np.int32), source_vertex_ids=np.full(num_vertices, -1, np.int32),
        regions=_regions(template, skin, loop, of),
    )
    return rig.replace(mediapipe478=_landmarks(rig, skin))


def _expression_basis(template: np.ndarray, of: dict[str, np.ndarray], centre_of: dict[str, np.ndarray]) -> np.ndarray:
    basis = np.zeros((len(template), 3, len(EXPRESSIONS)))
    soft = (of["skin"] | of["lashes"]).astype(float)
    lower = soft * _bump(template, MOUTH - [0, 0.02, 0], 0.022) * (template[:, 1] < MOUTH[1])
    for index, name in enumerate(EXPRESSIONS):
        side = "left" if name.endswith("Left") else "right"
        sign = 1.0 if side == "left" else -1.0
        if name.startswith("eye"):
            field = soft * _bump(template, centre_of[side] + [0, 0.008, 0.012], 0.008)
            way = {"Blink": (0, -0.012, 0.001), "LookDown": (0, -0.005, 0), "LookUp": (0, 0.003, 0), "LookIn": (-0.001 * sign, 0, 0), "LookOut": (0.001 * sign, 0, 0)}
            basis[:, :, index] = field[:, None] * next(np.array(move) for key, move in way.items() if name.startswith(f"eye{key}"))
        elif name == "jawOpen":
            basis[:, :, index] = (lower + of["teeth_lower"] + of["tongue"])[:, None] * [0, -0.02, -0.004]
        elif name == "mouthClose":
            basis[:, :, index] = lower[:, None] * [0, 0.018, 0.002]
        elif name.startswith("mouthSmile"):
            basis[:, :, index] = (soft * _bump(template, MOUTH + [0.022 * sign, 0, 0], 0.012))[:, None] * [0.004 * sign, 0.006, -0.001]
        else:
            basis[:, :, index] = (soft * _bump(template, np.array([0, 0.19, 0.085]), 0.015))[:, None] * [0, 0.007, 0]
    return basis


def _regions(template: np.ndarray, skin: np.ndarray, loop: np.ndarray, of: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    x, y, z = template.T
    near = lambda centre, radius: skin & (((template - centre) ** 2).sum(1) < radius**2)  # noqa: E731
    mouth = near(MOUTH + [0, 0, 0.005], 0.035)
    regions = {
        "face": skin & (z > 0.03) & (y > 0.06), "lips_upper": mouth & (y >= MOUTH[1]), "lips_lower": mouth & (y < MOUTH[1]),
        "lip_inner_upper": mouth & (y >= MOUTH[1]) & (y < MOUTH[1] + 0.008), "lip_inner_lower": mouth & (y < MOUTH[1]) & (y > MOUTH[1] - 0.008),
        "eye_left": of["eye_left"], "eye_right": of["eye_right"], "neck_loop": loop,
    }
    for side, sign in (("left", 1.0), ("right", -1.0)):
        lids = near(EYE * [sign, 1, 1] + [0, 0, 0.008], 0.02)
        regions[f"lid_upper_{side}"] = lids & (y >= EYE[1])
        regions[f"lid_lower_{side}"] = lids & (y < EYE[1])
    return regions


def _landmarks(rig: RigModel, skin: np.ndarray) -> LandmarkEmbedding:
    """Places spread over the front of the face; the last ten on the eyeballs. One has no place, as on real models."""
    random = np.random.default_rng(7)
    triangles, _, owner = rig.triangles_of_quads()
    middle = rig.template[triangles].mean(1)
    front = np.flatnonzero(skin[triangles].all(1) & (middle[:, 2] > 0.04))
    eyes = [np.flatnonzero((rig.quad_parts[owner] == PARTS.index(part)) & (middle[:, 2] > EYE[2] + 0.006)) for part in ("eye_right", "eye_left")]
    ids = np.concatenate([random.choice(front, 468), random.choice(eyes[0], 5), random.choice(eyes[1], 5)]).astype(np.int32)
    weights = random.dirichlet(np.ones(3), 478).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    ids[17], weights[17] = -1, 0
    return LandmarkEmbedding(ids, weights, np.full(478, 1e-4, np.float32))
