"""Does the model do what the face did? Landmark distances, lip gap, blinks (docs/evaluation.md).

A low landmark distance alone proves nothing: a fit that reached 1.15 % had eyes that never closed. So the lips are
measured by correlation *and* slope, and the eyes by the model's own lid aperture at each blink of the clip.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..rig.model import RigModel
from .events import find_blinks, match_blinks, open_level
from .performance import Performance, performance_from_track
from .points import EYE_CORNERS, LID_PAIRS, LIP_PAIRS, OUTER_EYE_CORNERS, point_groups
from .rounding import number

SIDES = ("left", "right")


def evaluate_signals(rig: RigModel, track: Any, capture: Any) -> dict[str, Any]:
    """Measures a raw track against the landmarks of the capture it came from.

    Args:
        rig: with its MediaPipe embedding.
        track: a ``Track``; only its arrays are read.
        capture: a ``Capture`` with the same samples.

    Returns:
        ``{"landmarks": {...}, "signals": {...}}``, JSON types, keys as in docs/formats/report.md. What cannot be known is None.
    """
    return measure_signals(performance_from_track(rig, track), capture.landmarks_px, capture.is_test)


def measure_signals(performance: Performance, landmarks_px: np.ndarray, is_test: np.ndarray) -> dict[str, Any]:
    """The same from arrays.

    Args:
        performance: N samples.
        landmarks_px: (N, 478, 2), NaN where no face was found.
        is_test: (N,) bool.
    """
    is_used = performance.is_tracked & np.isfinite(landmarks_px).all(axis=(1, 2))
    points_m = landmark_points(performance)
    return {
        "landmarks": landmark_distances(performance, points_m, landmarks_px, is_used, is_test),
        "signals": {**lip_signals(performance, points_m, landmarks_px, is_used, is_test), **blink_signals(performance, landmarks_px, is_used, is_test)},
    }


def landmark_points(performance: Performance) -> np.ndarray:
    """(N, 478, 3) float64 m, root frame: the embedded points on the posed mesh; NaN for points that have no place."""
    embedding = performance.embedding
    placed = np.flatnonzero(embedding.is_placed)
    corners = performance.triangles[embedding.triangle_ids[placed]]
    vertex_ids, inverse = np.unique(corners, return_inverse=True)
    vertices = performance.vertices(vertex_ids=vertex_ids).astype(np.float64)
    points = np.full((performance.num_samples, len(embedding.triangle_ids), 3), np.nan)
    points[:, placed] = np.einsum("npcd,pc->npd", vertices[:, inverse.reshape(corners.shape)], embedding.barycentric[placed].astype(np.float64))
    return points


def to_camera(performance: Performance, points_m: np.ndarray) -> np.ndarray:
    """(N, P, 3) root frame to camera frame, m."""
    matrices = performance.cam_from_root
    return np.einsum("nij,npj->npi", matrices[:, :3, :3], points_m) + matrices[:, None, :3, 3]


def to_pixels(performance: Performance, points_cam_m: np.ndarray) -> np.ndarray:
    """(N, P, 3) camera frame to (N, P, 2) px."""
    homogeneous = points_cam_m @ performance.px_from_cam.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return homogeneous[..., :2] / homogeneous[..., 2:]


def eye_distance_px(performance: Performance, points_m: np.ndarray) -> np.ndarray:
    """(N,) px: how long the model's outer-eye distance would look if it faced the camera where the head is.

    focal / depth times the 3D distance between the outer eye corners, so that turning the head does not shrink the unit.
    """
    right, left = (points_m[:, index] for index in OUTER_EYE_CORNERS)
    distance_m = np.linalg.norm(left - right, axis=-1)
    depth_m = to_camera(performance, 0.5 * (left + right)[:, None])[:, 0, 2]
    focal_px = float(np.sqrt(performance.px_from_cam[0, 0] * performance.px_from_cam[1, 1]))
    return focal_px * distance_m / depth_m


def landmark_distances(
    performance: Performance, points_m: np.ndarray, landmarks_px: np.ndarray, is_used: np.ndarray, is_test: np.ndarray
) -> dict[str, Any]:
    """Mean 2D distance between the model's points and the detected ones, percent of the outer-eye distance.

    All placed points count, face oval and irises included, as points fixed on the mesh (nothing slides here).
    """
    placed = np.flatnonzero(performance.embedding.is_placed)
    pixels = to_pixels(performance, to_camera(performance, points_m))
    percent = 100 * np.linalg.norm(pixels - landmarks_px, axis=-1) / eye_distance_px(performance, points_m)[:, None]
    mean = lambda samples, points: number(percent[np.ix_(samples, points)].mean()) if samples.any() and len(points) else None  # noqa: E731
    return {
        "mean_percent": mean(is_used, placed),
        "train_percent": mean(is_used & ~is_test, placed),
        "test_percent": mean(is_used & is_test, placed),
        "median_percent": number(np.median(percent[np.ix_(is_used, placed)])) if is_used.any() else None,
        "num_points": int(len(placed)),
        "num_frames": int(is_used.sum()),
        "groups": {name: mean(is_used, np.intersect1d(group, placed)) for name, group in point_groups().items()},
    }


def head_frame_points(performance: Performance, points_px: np.ndarray, depth_points_m: np.ndarray) -> np.ndarray:
    """Detected pixels seen from the head: each ray is cut by the plane through its model point, parallel to the face.

    So only the pose and the depth come from the model, and a model that projects exactly onto the landmarks gets exactly its own points back.

    Args:
        points_px: (N, P, 2). depth_points_m: (N, P, 3), the model's points, root frame; only z is read.

    Returns:
        (N, P, 3) m, root frame.
    """
    rotation = performance.cam_from_root[:, :3, :3]
    centre_m = -np.einsum("nji,nj->ni", rotation, performance.cam_from_root[:, :3, 3])
    homogeneous = np.concatenate([points_px, np.ones_like(points_px[..., :1])], -1) @ np.linalg.inv(performance.px_from_cam).T
    rays = np.einsum("nji,npj->npi", rotation, homogeneous)
    reach = (depth_points_m[..., 2] - centre_m[:, None, 2]) / rays[..., 2]
    return centre_m[:, None] + reach[..., None] * rays


def lip_gaps(performance: Performance, points_m: np.ndarray, landmarks_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean gap of the inner lip rims along the head's up axis, of the model and of the landmarks.

    Returns:
        Two (N,) arrays in mm; negative where lips overlap. NaN when no pair of the point list has a place on the mesh.
    """
    pairs = np.array([pair for pair in LIP_PAIRS if performance.embedding.is_placed[list(pair)].all()], int).reshape(-1, 2)
    if not len(pairs):
        return np.full(len(points_m), np.nan), np.full(len(points_m), np.nan)
    seen = head_frame_points(performance, landmarks_px[:, pairs.ravel()].astype(np.float64), points_m[:, pairs.ravel()])
    gap = lambda points: 1000 * (points[:, 0::2, 1] - points[:, 1::2, 1]).mean(1)  # noqa: E731
    return gap(points_m[:, pairs.ravel()]), gap(seen)


def lip_signals(performance: Performance, points_m: np.ndarray, landmarks_px: np.ndarray, is_used: np.ndarray, is_test: np.ndarray) -> dict[str, Any]:
    """Correlation and slope of the model's lip gap against the landmarks' (least squares of model on landmark)."""
    model_mm, seen_mm = lip_gaps(performance, points_m, landmarks_px)
    result: dict[str, Any] = {}
    for suffix, samples in (("", is_used), ("_test", is_used & is_test)):
        good = samples & np.isfinite(model_mm) & np.isfinite(seen_mm)
        fit = _line(seen_mm[good], model_mm[good])
        result |= {f"lip_gap_correlation{suffix}": fit[0], f"lip_gap_slope{suffix}": fit[1], f"lip_gap_offset_mm{suffix}": fit[2]}
    good = is_used & np.isfinite(seen_mm)
    result["lip_gap_seen_max_mm"] = number(seen_mm[good].max()) if good.any() else None
    result["lip_gap_model_max_mm"] = number(model_mm[good].max()) if good.any() else None
    return result


def seen_lid_aperture(landmarks_px: np.ndarray) -> np.ndarray:
    """Lid gap over eye width of the detected landmarks, mean of both eyes; from the capture alone.

    Args:
        landmarks_px: (N, 478, 2).

    Returns:
        (N,) float64, about 0.3 when open; negative when the rims cross; NaN where no face was found.
    """
    landmarks_px = np.asarray(landmarks_px, np.float64)
    sides = []
    for side in SIDES:
        outer, inner = (landmarks_px[:, index] for index in EYE_CORNERS[side])
        along = inner - outer
        width = np.linalg.norm(along, axis=-1)
        down = np.stack([-along[:, 1], along[:, 0]], -1) / width[:, None]
        upper, lower = (landmarks_px[:, [pair[k] for pair in LID_PAIRS[side]]].mean(1) for k in (0, 1))
        # ``down`` points to larger y on the subject's right eye (outer corner at smaller x) and the other way on the left.
        sign = 1.0 if side == "right" else -1.0
        sides.append(sign * ((lower - upper) * down).sum(-1) / width)
    return np.mean(sides, axis=0)


def model_lid_aperture(performance: Performance) -> np.ndarray | None:
    """The model's lid gap over its eye width, mean of both eyes, from the lid-rim regions of the mesh.

    Rim vertices in the middle half of each eye are paired once, in the neutral pose; the gap is measured along the direction
    in which the neutral eye is open, so lids that cross give 0. None when the model has no lid regions.
    """
    sides = []
    for side in SIDES:
        rims = [performance.regions.get(f"lid_{which}_{side}") for which in ("upper", "lower")]
        if any(rim is None or rim.sum() < 2 for rim in rims):
            return None
        upper_ids, lower_ids = (np.flatnonzero(rim) for rim in rims)
        neutral = performance.head.neutral.numpy().astype(np.float64)
        lower_ids = lower_ids[np.argsort(neutral[lower_ids, 0], kind="stable")]
        both = np.concatenate([upper_ids, lower_ids])
        x_m = neutral[both, 0]
        low, high = x_m.min(), x_m.max()
        width_m = high - low
        upper_ids = upper_ids[np.abs(neutral[upper_ids, 0] - 0.5 * (low + high)) <= 0.25 * width_m]
        if not len(upper_ids):
            return None
        after = np.clip(np.searchsorted(neutral[lower_ids, 0], neutral[upper_ids, 0]), 1, len(lower_ids) - 1)
        first, second = lower_ids[after - 1], lower_ids[after]
        span = np.maximum(neutral[second, 0] - neutral[first, 0], 1e-9)
        weight = np.clip((neutral[upper_ids, 0] - neutral[first, 0]) / span, 0, 1)[:, None]
        opening = neutral[upper_ids] - ((1 - weight) * neutral[first] + weight * neutral[second])
        direction = opening.sum(0) * [0, 1, 1]
        direction /= np.linalg.norm(direction)
        posed = performance.vertices(vertex_ids=np.concatenate([upper_ids, first, second])).astype(np.float64)
        upper, first_m, second_m = np.split(posed, 3, axis=1)
        gap = ((upper - (1 - weight) * first_m - weight * second_m) @ direction).clip(min=0).mean(1)
        sides.append(gap / width_m)
    return np.mean(sides, axis=0)


def blink_signals(performance: Performance, landmarks_px: np.ndarray, is_used: np.ndarray, is_test: np.ndarray) -> dict[str, Any]:
    """Blinks of the clip against blinks of the model, and how far the model's lids were closed at each of the clip's.

    Both signals go through the same detector; the clip's comes from the landmarks alone, the model's from its mesh alone.
    """
    time_s = performance.time_s
    seen = np.where(is_used, seen_lid_aperture(landmarks_px), np.nan)
    true = find_blinks(seen, time_s)
    aperture = model_lid_aperture(performance)
    if aperture is None:
        keys = ("blink_f1", "blink_false", "blink_missed", "lid_aperture_at_blink_percent", "lid_aperture_at_blink_max_percent", "blinks")
        return {"blink_true": len(true), **dict.fromkeys(keys)}
    aperture = np.where(is_used, aperture, np.nan)
    agreement = match_blinks(true, find_blinks(aperture, time_s), time_s)
    is_open = is_used.copy()
    for blink in true:
        is_open[blink.start : blink.stop] = False
    open_aperture = float(np.median(aperture[is_open])) if is_open.any() else float("nan")
    found = {index for index, _ in agreement.pairs}
    blinks = []
    for index, blink in enumerate(true):
        around = aperture[max(0, blink.start - 1) : blink.stop + 1]
        percent = 100 * float(np.nanmin(around)) / open_aperture if np.isfinite(around).any() and open_aperture > 0 else None
        blinks.append({
            "start_s": number(time_s[blink.start]), "stop_s": number(time_s[blink.stop - 1]), "is_found": index in found,
            "is_test": bool(is_test[blink.lowest]), "model_aperture_percent": None if percent is None else number(percent),
            "seen_aperture_percent": number(100 * seen[blink.lowest] / open_level(seen[is_used], time_s[is_used])[np.count_nonzero(is_used[: blink.lowest])]),
        })
    percents = [blink["model_aperture_percent"] for blink in blinks if blink["model_aperture_percent"] is not None]
    return {
        "blink_f1": None if agreement.f1 is None else number(agreement.f1),
        "blink_true": agreement.num_true, "blink_false": agreement.num_false, "blink_missed": agreement.num_missed,
        "lid_aperture_at_blink_percent": number(np.median(percents)) if percents else None,
        "lid_aperture_at_blink_max_percent": number(max(percents)) if percents else None,
        "blinks": blinks,
    }


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Pearson's r, slope and offset of the least-squares line y = slope x + offset; None when x or y does not vary."""
    if len(x) < 3 or np.ptp(x) < 1e-9 or np.ptp(y) < 1e-9:
        return None, (0.0 if len(x) >= 3 and np.ptp(x) >= 1e-9 else None), None
    dx, dy = x - x.mean(), y - y.mean()
    slope = float((dx * dy).sum() / (dx * dx).sum())
    return number((dx * dy).sum() / np.sqrt((dx * dx).sum() * (dy * dy).sum())), number(slope), number(y.mean() - slope * x.mean())

