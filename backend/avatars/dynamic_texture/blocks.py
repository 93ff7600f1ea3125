"""Which part of the face a texel belongs to, softly, and which controls that part listens to.

The texture is repainted in five blocks. Each has a window over the texture; at every texel the windows sum to 1, so that
painting with all of them is painting once. A block hears only the controls that move it, so that what happens to one part of
the face cannot leak into another that merely moved along with it in the clip.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from ...rig.model import RigModel
from ...texture.texels import BEHIND_LIDS, BEHIND_LIPS, Texels, find_texels

BLOCK_NAMES = ("eye_left", "eye_right", "mouth", "brows", "rest")
"""Left is the subject's. Of each window the first four have their own place; ``rest`` takes what they leave."""

EYE_LEFT, EYE_RIGHT, MOUTH, BROWS, REST = range(5)

REACH_M = {"eye_left": (0.008, 0.018), "eye_right": (0.008, 0.018), "mouth": (0.008, 0.022), "brows": (0.008, 0.016)}
"""Distance from the lid rims and eyeball, the lips, or the line of the brow up to which a window is full, and from which on it is empty, m."""

BROW_LANDMARKS = {"left": (276, 283, 282, 295, 285, 300, 293, 334, 296, 336), "right": (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)}
"""MediaPipe points along the lower and the upper border of the subject's brows."""

_EARS = {
    "eye": ("eyeBlink", "eyeLook", "eyeSquint", "eyeWide", "cheekSquint", "browDown", "browOuterUp", "browInnerUp"),
    "mouth": ("jaw", "mouth", "tongue", "cheekPuff", "cheekSquint", "noseSneer"),
    "brows": ("brow", "eyeSquint", "eyeWide", "noseSneer", "cheekSquint"),
    "rest": ("jaw", "mouth", "cheek", "noseSneer", "brow", "eyeSquint"),
}
"""How the names of the controls begin that a block hears. Blinks and gaze are heard by their own eye alone."""


def block_windows(rig: RigModel, size_px: int, texels: Texels | None = None) -> np.ndarray:
    """Soft windows over the whole texture.

    Args:
        rig: any head model. size_px: side of the texture. texels: ``find_texels(rig, size_px)`` when the caller has it.

    Returns:
        (5, S, S) float32 in [0, 1], sum 1 at every texel, row 0 is v = 1. Gaps between islands repeat the nearest texel.
    """
    texels = find_texels(rig, size_px) if texels is None else texels
    places = np.einsum("nc,ncd->nd", texels.barycentric, rig.template[rig.triangles[texels.triangle]].astype(np.float64))
    shares = np.zeros((len(BLOCK_NAMES), len(texels)))
    for index, name in enumerate(BLOCK_NAMES[:REST]):
        seeds = _seeds(rig, name)
        if len(seeds):
            full_m, empty_m = REACH_M[name]
            shares[index] = _fall(cKDTree(seeds).query(places)[0], full_m, empty_m)
    total = shares[:REST].sum(0)
    shares[:REST] /= np.maximum(total, 1)
    shares[REST] = np.maximum(1 - total, 0)
    for block, own in _owned(rig, texels, places):
        shares[:, own] = 0
        shares[block, own] = 1
    image = np.zeros((len(BLOCK_NAMES), size_px, size_px), np.float32)
    image[:, texels.rows, texels.cols] = shares
    is_empty = np.ones((size_px, size_px), bool)
    is_empty[texels.rows, texels.cols] = False
    rows, cols = distance_transform_edt(is_empty, return_distances=False, return_indices=True)
    return np.ascontiguousarray(image[:, rows, cols])


def heard_controls(names: tuple[str, ...]) -> np.ndarray:
    """(5, E) bool: which controls each block hears. A control whose name says nothing (another model's) is heard by all."""
    heard = np.zeros((len(BLOCK_NAMES), len(names)), bool)
    for column, name in enumerate(names):
        if not any(name.startswith(start) for starts in _EARS.values() for start in starts):
            heard[:, column] = True
            continue
        for block, block_name in enumerate(BLOCK_NAMES):
            other = {"eye_left": "Right", "eye_right": "Left"}.get(block_name, "none")
            heard[block, column] = name.startswith(_EARS[block_name.partition("_")[0]]) and not name.endswith(other)
    return heard


def _seeds(rig: RigModel, name: str) -> np.ndarray:
    """(n, 3) m: the points that a block's distance is measured from."""
    if name == "brows":
        return _brow_points(rig)
    if name == "mouth":
        regions = ("lips_upper", "lips_lower", "lip_inner_upper", "lip_inner_lower")
    else:
        side = name.removeprefix("eye_")
        regions = (f"lid_upper_{side}", f"lid_lower_{side}", f"eye_{side}")
    flags = [rig.regions[region] for region in regions if region in rig.regions]
    return rig.template[np.any(flags, axis=0)].astype(np.float64) if flags else np.zeros((0, 3))


def _brow_points(rig: RigModel) -> np.ndarray:
    """Brow landmarks where the rig has places for them, else the vertices that the brow controls move most."""
    if rig.mediapipe478 is not None:
        rows = [np.array(points).reshape(2, 5) for points in BROW_LANDMARKS.values()]
        return np.concatenate([_line(rig, row) for pair in rows for row in pair])
    moves = [np.linalg.norm(rig.expression_basis[:, :, column], axis=1) for column, name in enumerate(rig.expression_names) if name.startswith("brow")]
    if not moves:
        return np.zeros((0, 3))
    return rig.template[np.any([length > 0.8 * length.max() for length in moves if length.max() > 0], axis=0)].astype(np.float64)


def _line(rig: RigModel, ids: np.ndarray) -> np.ndarray:
    """(n, 3) m: densely spaced points through those landmarks of a row that have a place."""
    places = rig.mediapipe478
    assert places is not None
    ids = ids[places.triangle_ids[ids] >= 0]
    points = np.einsum("nc,ncd->nd", places.barycentric[ids], rig.template[rig.triangles[places.triangle_ids[ids]]].astype(np.float64))
    if len(points) < 2:
        return points
    steps = np.linspace(0, len(points) - 1, 8 * (len(points) - 1) + 1)
    return np.stack([np.interp(steps, np.arange(len(points)), points[:, axis]) for axis in range(3)], -1)


def _owned(rig: RigModel, texels: Texels, places: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Texels that belong to one block alone, whatever the distances say: eyeballs with their sockets, the inside of the mouth."""
    is_left = places[:, 0] > 0
    behind_lids = texels.inside == BEHIND_LIDS
    return [
        (EYE_LEFT, texels.of("eye_left", "cornea_left") | (behind_lids & is_left)),
        (EYE_RIGHT, texels.of("eye_right", "cornea_right") | (behind_lids & ~is_left)),
        (MOUTH, texels.of("teeth_upper", "teeth_lower", "tongue") | (texels.inside == BEHIND_LIPS)),
    ]


def _fall(distance_m: np.ndarray, full_m: float, empty_m: float) -> np.ndarray:
    share = np.clip((empty_m - distance_m) / (empty_m - full_m), 0, 1)
    return share * share * (3 - 2 * share)
