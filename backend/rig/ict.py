"""ICT-FaceKit (the MIT-licensed "light" model) as a rig model: from the packed ``.npz`` or from the original folder.

Vertex and face ranges, landmark numbers and names: README of the ICT-FaceKit repository. Its expressions follow ARKit with
``_L``/``_R`` for left and right. It has no skeleton: neck, head and eye joints are added here.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import AvatarError
from ..storage import read_arrays
from .ict_folder import read_ict_folder
from .model import PARTS, RigModel
from .rims import (
    edge_graph,
    edges_of_quads,
    inside_polygon,
    lowest_border_loop,
    mirrored_vertices,
    path_through,
    regressor_row,
    smooth_step,
)

METRES_FROM_CM = 0.01
NUM_VERTICES, NUM_FACES = 26719, 26384

# First face of each piece, in file order; "-" pieces are helpers of one renderer's eye shader and are left out.
PIECES = (
    ("face", 0), ("head", 9230), ("mouth_socket", 11144), ("eye_socket_left", 13226), ("eye_socket_right", 13630), ("gums", 14034),
    ("teeth", 17006), ("shell_left", 21496), ("ball_left", 22296), ("shell_right", 23094), ("ball_right", 23894), ("-", 24692), ("lashes", 25304),
)
LOWER_TEETH_FIRST_FACE = 19250
PART_OF_PIECE = {
    "face": "skin", "head": "skin", "mouth_socket": "skin", "eye_socket_left": "skin", "eye_socket_right": "skin", "gums": "skin",
    "teeth": "teeth_upper", "shell_left": "cornea_left", "ball_left": "eye_left", "shell_right": "cornea_right", "ball_right": "eye_right",
    "lashes": "lashes",
}
# Place of each piece in the one texture: (u, v, side). Pieces named together share a tile of the file without overlap.
UV_TILES = {
    ("face",): (0.0, 0.0, 0.66), ("head", "mouth_socket", "eye_socket_left", "eye_socket_right"): (0.66, 0.66, 0.34), ("teeth",): (0.66, 0.32, 0.34),
    ("gums",): (0.66, 0.10, 0.22), ("lashes",): (0.88, 0.20, 0.12), ("ball_left",): (0.0, 0.66, 0.22), ("ball_right",): (0.22, 0.66, 0.22),
    ("shell_left",): (0.44, 0.66, 0.11), ("shell_right",): (0.55, 0.66, 0.11),
}
UV_MARGIN = 4 / 1024

# Eye and mouth points out of the model's 68 landmarks: rims run from the subject's right (-X) to left (+X).
RIM_STOPS = {
    "lid_upper_right": (1507, 1542, 1537, 1528), "lid_lower_right": (1507, 1511, 1518, 1528),
    "lid_upper_left": (3742, 3751, 3756, 3721), "lid_lower_left": (3742, 3732, 3725, 3721),
    "lip_inner_upper": (5702, 5711, 5533, 6216, 6207), "lip_inner_lower": (5702, 5966, 5517, 6470, 6207),
}
LIP_OUTER_STOPS = {"lips_upper": (5708, 5695, 2081, 0, 4275, 6200, 6213), "lips_lower": (5708, 5841, 5957, 5518, 6461, 6346, 6213)}
JAW_LINE = (1278, 1272, 12, 1834, 243, 781, 2199, 1447, 966, 3661, 4390, 3022, 2484, 4036, 2253, 3490, 3496)

LICENCE = "ICT-FaceKit light: MIT, (c) 2020 USC Institute for Creative Technologies"


def load_ict(path: Path) -> RigModel:
    """Reads ICT-FaceKit.

    Args:
        path: the packed ``.npz`` (neutral, identity, expression, expression_names, faces, faces_uv, uv; centimetres) or the
            folder of the original distribution (its root or ``FaceXModel``).

    Raises:
        AvatarError: ``asset_missing`` when nothing is there, ``bad_input`` when it is something else or damaged.
    """
    path = Path(path)
    if path.is_dir():
        data = read_ict_folder(path)
    elif path.is_file():
        data = _read_packed(path)
    else:
        raise AvatarError(
            "asset_missing", f"There is no ICT-FaceKit model at {path}.", "Point to the ICT-FaceKit folder or its packed .npz.", {"path": str(path)}
        )
    return build_ict(data, str(path))


def _read_packed(path: Path) -> dict[str, np.ndarray]:
    wanted = ("neutral", "identity", "expression", "expression_names", "faces", "faces_uv", "uv")
    data = read_arrays(path) if path.suffix == ".npz" else {}
    missing = [key for key in wanted if key not in data]
    if missing:
        raise AvatarError(
            "bad_input", f"{path} is not a packed ICT-FaceKit model: {', '.join(missing)} not found.",
            "Point to the ICT-FaceKit folder or its packed .npz.", {"path": str(path), "missing": missing},
        )
    return data


def arkit_name(name: str) -> str:
    """``eyeBlink_L`` -> ``eyeBlinkLeft``; names without a side stay as they are."""
    return re.sub(r"_([LR])$", lambda match: {"L": "Left", "R": "Right"}[match[1]], name)


def other_side(name: str) -> str:
    """The name of the control on the other side of the face."""
    swap = {"Left": "Right", "Right": "Left"}
    return re.sub(r"(Left|Right)$", lambda match: swap[match[1]], name)


def build_ict(data: dict[str, np.ndarray], path: str) -> RigModel:
    """Builds the rig model out of the arrays of the packed file (see ``load_ict``)."""
    neutral, faces, faces_uv = np.asarray(data["neutral"], np.float64), np.asarray(data["faces"]), np.asarray(data["faces_uv"])
    names = [str(name) for name in data["expression_names"]]
    shapes_fit = (
        neutral.shape == (NUM_VERTICES, 3) and faces.shape == (NUM_FACES, 4) and faces_uv.shape == faces.shape
        and data["identity"].shape[1:] == neutral.shape and data["expression"].shape == (len(names), *neutral.shape)
        and "jawOpen" in names and "eyeBlink_L" in names
    )
    if not shapes_fit:
        raise AvatarError(
            "bad_input", f"{path} does not have the topology of ICT-FaceKit's light model ({NUM_VERTICES} vertices, {NUM_FACES} faces).",
            "Use the model as it is distributed.", {"path": path, "vertices": list(neutral.shape), "faces": list(faces.shape)},
        )
    piece_names = [name for name, _ in PIECES]
    piece_of_face = np.searchsorted([first for _, first in PIECES], np.arange(NUM_FACES), side="right") - 1
    keep_face = np.array([name != "-" for name in piece_names])[piece_of_face]
    quads, piece = faces[keep_face], piece_of_face[keep_face]
    quad_uv, uv = _packed_uv(faces_uv[keep_face], np.asarray(data["uv"], np.float64), piece, piece_names)
    part = np.array([PARTS.index(PART_OF_PIECE.get(name, "skin")) for name in piece_names], np.uint8)[piece]
    part[np.flatnonzero(keep_face) >= LOWER_TEETH_FIRST_FACE] = np.where(
        part[np.flatnonzero(keep_face) >= LOWER_TEETH_FIRST_FACE] == PARTS.index("teeth_upper"), PARTS.index("teeth_lower"),
        part[np.flatnonzero(keep_face) >= LOWER_TEETH_FIRST_FACE],
    )
    kept = np.unique(quads[quads >= 0])
    new_id = np.full(NUM_VERTICES, -1)
    new_id[kept] = np.arange(len(kept))
    quads = np.where(quads >= 0, new_id[quads], -1).astype(np.int32)
    vertices = neutral[kept] * METRES_FROM_CM
    part_of_vertex = np.zeros(len(kept), np.uint8)
    for number in np.unique(part):
        ids = quads[part == number]
        part_of_vertex[ids[ids >= 0]] = number

    regions = _regions(vertices, quads, part_of_vertex, new_id)
    origin = vertices[regions["neck_loop"]].mean(0)
    vertices = vertices - origin
    identity = np.moveaxis(np.asarray(data["identity"], np.float32)[:, kept], 0, -1) * METRES_FROM_CM
    expression = np.moveaxis(np.asarray(data["expression"], np.float32)[:, kept], 0, -1) * METRES_FROM_CM
    eyes = np.isin(part_of_vertex, [PARTS.index(name) for name in ("eye_left", "eye_right", "cornea_left", "cornea_right")])
    arkit = tuple(arkit_name(name) for name in names)
    for index, name in enumerate(arkit):
        if name.startswith("eyeLook"):
            expression[eyes, :, index] = 0  # gaze has one source: the eye joints
    joint_regressor, weights = _skeleton(vertices, part_of_vertex, regions)
    swapped = {PARTS.index(a): PARTS.index(b) for a, b in (("eye_left", "eye_right"), ("cornea_left", "cornea_right"))}
    swapped |= {b: a for a, b in swapped.items()}
    return RigModel(
        name="ict", source="ICT-FaceKit light", licences=(LICENCE,),
        template=vertices.astype(np.float32), quads=quads, uv=uv, quad_uv=quad_uv, quad_parts=part, part_names=PARTS,
        identity_basis=np.ascontiguousarray(identity), identity_names=tuple(f"identity{mode:03d}" for mode in range(identity.shape[2])),
        expression_basis=np.ascontiguousarray(expression), expression_names=arkit,
        expression_limits=np.tile(np.array([0, 1], np.float32), (len(arkit), 1)),
        joint_names=("root", "neck", "head", "eye_left", "eye_right"), joint_parents=np.array([-1, 0, 1, 2, 2], np.int32),
        joint_regressor=joint_regressor.astype(np.float32), skin_weights=weights.astype(np.float32),
        mirror_vertices=mirrored_vertices(vertices, part_of_vertex, np.array([swapped.get(n, n) for n in range(len(PARTS))])),
        mirror_expressions=np.array([arkit.index(other_side(name)) if other_side(name) in arkit else i for i, name in enumerate(arkit)], np.int32),
        source_vertex_ids=kept.astype(np.int32), regions=regions,
    )


def _packed_uv(faces_uv: np.ndarray, uv: np.ndarray, piece: np.ndarray, piece_names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Moves the file's tiles (u runs to 7, eyes lie over the face) into one unit square: quad_uv (Q, 4) and uv (T, 2)."""
    quad_uv = np.full(faces_uv.shape, -1, np.int32)
    packed, first = [], 0
    for members, (u, v, side) in UV_TILES.items():
        chosen = np.isin(piece, [piece_names.index(name) for name in members])
        ids, inverse = np.unique(faces_uv[chosen], return_inverse=True)
        inverse = inverse.reshape(-1, 4)
        pads = int((ids < 0).sum())
        local = uv[ids[pads:]] - np.floor(uv[ids[pads:]].min(0))
        packed.append(np.array([u, v]) + UV_MARGIN + np.clip(local, 0, 1) * (side - 2 * UV_MARGIN))
        quad_uv[chosen] = np.where(inverse >= pads, inverse - pads + first, -1)
        first += len(ids) - pads
    return quad_uv, np.concatenate(packed).astype(np.float32)


def _regions(vertices: np.ndarray, quads: np.ndarray, part: np.ndarray, new_id: np.ndarray) -> dict[str, np.ndarray]:
    graph = edge_graph(vertices, edges_of_quads(quads))
    is_face = new_id[:9409]
    mask = lambda ids: np.isin(np.arange(len(vertices)), ids)  # noqa: E731
    rims = {name: path_through(graph, new_id[list(stops)]) for name, stops in RIM_STOPS.items()}
    regions = {name: mask(ids) for name, ids in rims.items()}
    front = np.zeros(len(vertices), bool)
    front[is_face] = True
    for name, stops in LIP_OUTER_STOPS.items():
        outer, inner = path_through(graph, new_id[list(stops)]), rims[name.replace("lips", "lip_inner")]
        polygon = vertices[outer + inner[::-1], :2]
        near = vertices[:, 2] > vertices[outer, 2].min() - 0.005
        regions[name] = (front & near & inside_polygon(vertices[:, :2], polygon)) | mask(outer) | mask(inner)
    regions["eye_left"], regions["eye_right"] = part == PARTS.index("eye_left"), part == PARTS.index("eye_right")
    skin = quads[np.isin(quads, is_face).any(1)]
    regions["neck_loop"] = lowest_border_loop(vertices, np.concatenate([skin, quads[np.isin(quads, new_id[9409:11248]).any(1)]]))
    # The front of the skin: within the jaw line and the forehead, in front of the ears.
    jaw = vertices[new_id[list(JAW_LINE)]]
    half_width = np.abs(jaw[:, 0]).max()
    brow = vertices[rims["lid_upper_left"], 1].max() + 0.055
    polygon = np.concatenate([jaw[:, :2], [[half_width, brow], [-half_width, brow]]])
    regions["face"] = front & inside_polygon(vertices[:, :2], polygon) & (vertices[:, 2] > jaw[[0, -1], 2].mean() + 0.01)
    return regions


def _skeleton(vertices: np.ndarray, part: np.ndarray, regions: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Joint regressor (5, V) and skin weights (V, 5) of root, neck, head, eye_left, eye_right."""
    skin = np.flatnonzero(part == PARTS.index("skin"))
    eye_ids = [np.flatnonzero(regions[name]) for name in ("eye_left", "eye_right")]
    eyes = np.array([(vertices[ids].min(0) + vertices[ids].max(0)) / 2 for ids in eye_ids])
    root = vertices[regions["neck_loop"]].mean(0)
    # The skull turns on the atlas, about 5 cm below and 8 cm behind the eyes; the neck bends halfway down.
    head = np.array([0.0, eyes[:, 1].mean() - 0.05, eyes[:, 2].mean() - 0.08])
    neck = root * 0.55 + head * 0.45
    rows = [regressor_row(vertices, np.flatnonzero(regions["neck_loop"]), root)]
    for joint in (neck, head):
        ring = skin[np.abs(vertices[skin, 1] - joint[1]) < 0.012]
        rows.append(regressor_row(vertices, ring, joint))
    rows += [regressor_row(vertices, ids, eye) for ids, eye in zip(eye_ids, eyes)]
    # Height along an axis tilted forward, so that the chin goes with the skull and the nape with the neck.
    axis = np.array([0.0, np.cos(np.pi / 4), np.sin(np.pi / 4)])
    height = (vertices - head) @ axis
    to_head = smooth_step(-0.05, 0.005, height)
    to_neck = smooth_step(-0.13, -0.05, height) * (1 - to_head)
    weights = np.stack([1 - to_head - to_neck, to_neck, to_head, np.zeros(len(vertices)), np.zeros(len(vertices))], 1)
    weights[part != PARTS.index("skin")] = [0, 0, 1, 0, 0]
    for column, side in ((3, "left"), (4, "right")):
        weights[np.isin(part, [PARTS.index(f"eye_{side}"), PARTS.index(f"cornea_{side}")])] = np.eye(5)[column]
    return np.stack(rows), weights
