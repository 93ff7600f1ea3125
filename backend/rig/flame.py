"""FLAME (2020, 2023, 2023 Open) as a rig model, out of the file a user got from its authors.

FLAME: T. Li, T. Bolkart, M. J. Black, H. Li, J. Romero, "Learning a model of facial shape and expression from 4D scans", 2017:
linear shape and expression, pose correctives, linear blend skinning with joints root, neck, jaw and both eyes. The arrays
are used as they are; only the origin moves to the height and depth of the root joint. What a FLAME file lacks is derived here: texture coordinates,
symmetry and named regions. The vertex numbers below were read off the (fixed) topology.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..errors import AvatarError
from ..storage import read_arrays
from .flame_uv import flame_uv
from .foreign_pickle import array_from, read_foreign_pickle
from .mesh_mirror import walk_mirror
from .model import PARTS, RigModel
from .rims import components, edge_graph, edges_of_quads, lowest_border_loop, path_through

NUM_VERTICES, NUM_TRIANGLES = 5023, 9976
NUM_IDENTITY = 300
KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "f")
JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
PARENTS = (-1, 0, 1, 1, 1)
EXPRESSION_LIMIT = 4.0
"""Expression coefficients are in standard deviations of the training data; nothing believable lies beyond."""

SKIN, EYE_LEFT, EYE_RIGHT = slice(0, 3931), slice(3931, 4477), slice(4477, 5023)
MIDDLE_EDGE = (3503, 3506)
"""Two neighbours on the middle line (lower lip)."""
# Stops along each rim on the subject's left half, from the middle or the inner corner outwards.
LEFT_LID_UPPER = (3833, 1336, 1331, 1340, 1343, 3855, 1344, 1218, 1216, 1175)
LEFT_LID_LOWER = (3833, 897, 829, 882, 883, 958, 1175)
LEFT_LIP_INNER_UPPER, LEFT_LIP_INNER_LOWER = (3531, 1670, 1730), (3504, 1804, 1730)
LEFT_LIP_OUTER_UPPER = (3543, 1657, 1694, 1696, 1717, 1712, 1576)
LEFT_LIP_OUTER_LOWER = (3503, 1865, 1802, 1795, 1774, 1773, 1577, 1576)

LICENCE = "FLAME: the licence of the file you supplied (FLAME 2023 Open: CC BY 4.0; others: research licence of the Max Planck Society)"
WRONG_KIND_HINT = "Point to generic_model.pkl, FLAME2023.pkl or their .npz as downloaded from the FLAME site."


def load_flame(path: Path) -> RigModel:
    """Reads a FLAME model.

    Args:
        path: ``.pkl`` (never unpickled freely, see ``foreign_pickle``) or ``.npz`` with the same keys.

    Raises:
        AvatarError: ``bad_input`` when the file is of another kind, damaged or tries to load foreign code; ``asset_missing``
            when it is not there.
    """
    path = Path(path)
    arrays = read_flame_arrays(path)
    return build_flame(arrays, path.name)


def read_flame_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a FLAME file, float64, checked: v_template (V, 3), shapedirs (V, 3, S + E), posedirs (V, 3, 36),
    J_regressor (5, V), weights (V, 5), kintree_table (2, 5), f (F, 3)."""
    if not path.is_file():
        raise AvatarError("asset_missing", f"There is no FLAME model at {path}.", WRONG_KIND_HINT, {"path": str(path)})
    with open(path, "rb") as handle:
        is_zip = handle.read(2) == b"PK"
    content: Any = read_arrays(path) if is_zip else read_foreign_pickle(path)
    if not isinstance(content, dict) or any(key not in content for key in KEYS):
        missing = [key for key in KEYS if not isinstance(content, dict) or key not in content]
        raise AvatarError("bad_input", f"{path} is not a FLAME model: {', '.join(missing)} not found.", WRONG_KIND_HINT, {"path": str(path), "missing": missing})
    try:
        arrays = {key: np.asarray(array_from(content[key], key), np.float64) for key in KEYS}
    except (ValueError, TypeError, IndexError) as error:
        raise AvatarError("bad_input", f"{path} is not a FLAME model: {error}.", WRONG_KIND_HINT, {"path": str(path)}) from error
    wanted = {
        "v_template": (NUM_VERTICES, 3), "posedirs": (NUM_VERTICES, 3, 36), "J_regressor": (5, NUM_VERTICES), "weights": (NUM_VERTICES, 5),
        "kintree_table": (2, 5), "f": (NUM_TRIANGLES, 3), "shapedirs": (NUM_VERTICES, 3, arrays["shapedirs"].shape[-1]),
    }
    for key, shape in wanted.items():
        if arrays[key].shape != shape:
            raise AvatarError(
                "bad_input", f"{path} is not a FLAME head: {key} has shape {arrays[key].shape}, not {shape}.", WRONG_KIND_HINT,
                {"path": str(path), "key": key, "shape": list(arrays[key].shape)},
            )
        if not np.isfinite(arrays[key]).all():
            raise AvatarError("bad_input", f"{path} is damaged: {key} holds values that are no numbers.", "Download the model again.", {"path": str(path), "key": key})
    faces = arrays["f"]
    rows = arrays["J_regressor"].sum(1)
    weights = arrays["weights"].sum(1)
    parents = np.where(arrays["kintree_table"][0] > 4, -1, arrays["kintree_table"][0])
    problems = {
        "f": faces.min() < 0 or faces.max() >= NUM_VERTICES or (faces != np.round(faces)).any(), "J_regressor": np.abs(rows - 1).max() > 1e-3,
        "weights": np.abs(weights - 1).max() > 1e-3, "kintree_table": tuple(parents.astype(int)) != PARENTS,
        "shapedirs": arrays["shapedirs"].shape[-1] <= NUM_IDENTITY,
    }
    for key, is_wrong in problems.items():
        if is_wrong:
            raise AvatarError("bad_input", f"{path} is not a FLAME model we know: unexpected content of {key}.", WRONG_KIND_HINT, {"path": str(path), "key": key})
    return arrays


def build_flame(arrays: dict[str, np.ndarray], source: str) -> RigModel:
    """The rig model out of the arrays of ``read_flame_arrays``."""
    triangles = arrays["f"].astype(np.int32)
    regressor = arrays["J_regressor"] / arrays["J_regressor"].sum(1, keepdims=True)
    origin = (regressor[0] @ arrays["v_template"]) * [0, 1, 1]  # x stays: the model's middle plane is x = 0, its root joint lies beside it
    vertices = arrays["v_template"] - origin
    quads = np.concatenate([triangles, np.full((len(triangles), 1), -1, np.int32)], 1)
    mirror = _mirror(vertices, triangles)
    regions = _regions(vertices, quads, triangles, mirror)
    is_skin = np.zeros(NUM_VERTICES, bool)
    is_skin[SKIN] = True
    uv, corner_uv = flame_uv(vertices, triangles, is_skin, mirror, regions["face"], (regions["eye_left"], regions["eye_right"]))
    part = np.full(len(triangles), PARTS.index("skin"), np.uint8)
    for side in ("left", "right"):
        part[regions[f"eye_{side}"][triangles].all(1)] = PARTS.index(f"eye_{side}")
    identity, expression = arrays["shapedirs"][:, :, :NUM_IDENTITY], arrays["shapedirs"][:, :, NUM_IDENTITY:]
    num_expressions = expression.shape[2]
    return RigModel(
        name="flame", source=f"FLAME, {source}", licences=(LICENCE,),
        template=vertices.astype(np.float32), quads=quads, uv=uv, quad_uv=np.concatenate([corner_uv, np.full((len(triangles), 1), -1, np.int32)], 1),
        quad_parts=part, part_names=PARTS,
        identity_basis=np.ascontiguousarray(identity, np.float32), identity_names=tuple(f"shape{mode:03d}" for mode in range(NUM_IDENTITY)),
        expression_basis=np.ascontiguousarray(expression, np.float32), expression_names=tuple(f"expression{mode:03d}" for mode in range(num_expressions)),
        expression_limits=np.tile(np.array([-EXPRESSION_LIMIT, EXPRESSION_LIMIT], np.float32), (num_expressions, 1)),
        joint_names=JOINTS, joint_parents=np.array(PARENTS, np.int32), joint_regressor=regressor.astype(np.float32),
        skin_weights=(arrays["weights"] / arrays["weights"].sum(1, keepdims=True)).astype(np.float32),
        mirror_vertices=mirror, mirror_expressions=np.arange(num_expressions, dtype=np.int32), source_vertex_ids=np.arange(NUM_VERTICES, dtype=np.int32),
        regions=regions, correctives=np.ascontiguousarray(arrays["posedirs"], np.float32),
    )


def _mirror(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Skin by walking the mesh, eyeballs by position about their centres."""
    from scipy.spatial import cKDTree

    mirror = walk_mirror(triangles, NUM_VERTICES, MIDDLE_EDGE)
    left, right = vertices[EYE_LEFT], vertices[EYE_RIGHT]
    centred = (left - left.mean(0)) * [-1, 1, 1], right - right.mean(0)
    _, to_right = cKDTree(centred[1]).query(centred[0])
    _, to_left = cKDTree(centred[0]).query(centred[1])
    mirror[EYE_LEFT] = np.where(to_left[to_right] == np.arange(546), to_right + EYE_RIGHT.start, -1)
    mirror[EYE_RIGHT] = np.where(to_right[to_left] == np.arange(546), to_left + EYE_LEFT.start, -1)
    return mirror


def _regions(vertices: np.ndarray, quads: np.ndarray, triangles: np.ndarray, mirror: np.ndarray) -> dict[str, np.ndarray]:
    edges = edges_of_quads(quads)
    graph = edge_graph(vertices, edges)

    def mask(ids: np.ndarray | list[int]) -> np.ndarray:
        return np.isin(np.arange(NUM_VERTICES), ids)

    def both_sides(stops: tuple[int, ...]) -> list[int]:
        """A path that starts on the middle line, with its mirror image."""
        half = path_through(graph, stops)
        return [int(mirror[vertex]) for vertex in half[::-1] if mirror[vertex] != vertex] + half

    inner = {"upper": both_sides(LEFT_LIP_INNER_UPPER), "lower": both_sides(LEFT_LIP_INNER_LOWER)}
    outer = {"upper": both_sides(LEFT_LIP_OUTER_UPPER), "lower": both_sides(LEFT_LIP_OUTER_LOWER)}
    corners = path_through(graph, (LEFT_LIP_INNER_UPPER[-1], LEFT_LIP_OUTER_UPPER[-1]))
    corners = corners + [int(mirror[vertex]) for vertex in corners]
    regions: dict[str, np.ndarray] = {}
    for which in ("upper", "lower"):
        regions[f"lip_inner_{which}"] = mask(inner[which])
        fence = inner[which] + outer[which] + corners
        regions[f"lips_{which}"] = mask(fence) | _enclosed(edges, fence)
    for which, stops in (("upper", LEFT_LID_UPPER), ("lower", LEFT_LID_LOWER)):
        left = path_through(graph, stops)
        regions[f"lid_{which}_left"] = mask(left)
        regions[f"lid_{which}_right"] = mask(mirror[left])
    for side, ids in (("left", EYE_LEFT), ("right", EYE_RIGHT)):
        regions[f"eye_{side}"] = mask(np.arange(NUM_VERTICES)[ids])
    regions["neck_loop"] = lowest_border_loop(vertices, quads[(triangles < SKIN.stop).all(1)])
    rims = np.any([on_rim for name, on_rim in regions.items() if name.startswith(("lip_inner", "lid_"))], axis=0)
    regions["face"] = _face(vertices, triangles, regions) & ~_enclosed(edges, np.flatnonzero(rims), 1000)  # no sockets, no inside of the mouth
    return regions


def _enclosed(edges: np.ndarray, fence: list[int] | np.ndarray, max_size: int = 200) -> np.ndarray:
    """(V,) bool: skin that a closed fence of vertices separates from the rest, in pieces of fewer than ``max_size`` vertices."""
    is_fence = np.isin(np.arange(NUM_VERTICES), fence)
    is_fence[SKIN.stop:] = True
    label = components(NUM_VERTICES, edges[~is_fence[edges].any(1)])
    outside = np.bincount(label[~is_fence]).argmax()
    small = np.bincount(label) < max_size
    return ~is_fence & (label != outside) & small[label]


def _face(vertices: np.ndarray, triangles: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """The front of the skin from chin to forehead and ear to ear, without lids' insides and mouth."""
    eyes = (vertices[regions["eye_left"]].mean(0) + vertices[regions["eye_right"]].mean(0)) / 2
    mouth = vertices[regions["lip_inner_upper"]].mean(0)
    unit = eyes[1] - mouth[1]  # about 64 mm
    normal = np.zeros_like(vertices)
    corner = vertices[triangles]
    for k in range(3):
        np.add.at(normal, triangles[:, k], np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]))
    facing = normal[:, 2] / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    # The lower edge rises from the chin towards the ears.
    lower_edge = mouth[1] - 0.78 * unit + 0.55 * (mouth[2] - vertices[:, 2]).clip(0)
    face = (vertices[:, 1] > lower_edge) & (vertices[:, 1] < eyes[1] + 0.85 * unit) & (vertices[:, 2] > eyes[2] - 0.65 * unit) & (facing > -0.1)
    face[SKIN.stop:] = False
    edges = sp.coo_matrix((np.ones(3 * len(triangles)), (triangles.ravel(), triangles[:, [1, 2, 0]].ravel())), shape=(NUM_VERTICES, NUM_VERTICES))
    neighbours = (edges + edges.T).tocsr()
    neighbours.data[:] = 1
    share = (neighbours @ face) / np.maximum(np.asarray(neighbours.sum(1)).ravel(), 1)
    return face & (share > 0.4)
