"""What a clip lacks for a good avatar, in the words of somebody who films, not of somebody who fits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .landmark_sets import CHEEK_LEFT, CHEEK_RIGHT, eye_openness, lip_gap

OK, WARN, BAD = "ok", "warn", "bad"
BLINK_OPENNESS = 0.5
"""An eye is shut when its lid gap is below this share of its open gap (90th percentile)."""
MAX_BLINK_S = 0.6


def check_clip(
    time_s: np.ndarray, landmarks_px: np.ndarray, depth_px: np.ndarray, face_width_px: np.ndarray, sharpness: np.ndarray,
    exposure: np.ndarray, burnt: np.ndarray, occlusion: np.ndarray, focal_source: str,
) -> tuple[dict[str, Any], ...]:
    """Judges a clip, item by item.

    Args:
        time_s: (N,). landmarks_px: (N, 478, 2), NaN without a face. depth_px: (N, 478). face_width_px, sharpness, exposure, burnt, occlusion:
        (N,), as in ``Capture`` and ``quality``; NaN or 0 without a face. focal_source: as in ``Capture``.

    Returns:
        one dict per item: "item", "verdict" (ok, warn, bad), "value" (text with unit), "advice" (empty when ok).
    """
    has_face = ~np.isnan(landmarks_px[:, 0, 0])
    seen, depth = landmarks_px[has_face].astype(np.float64), depth_px[has_face].astype(np.float64)
    length_s = float((time_s[-1] - time_s[0]) * len(time_s) / max(1, len(time_s) - 1))
    yaw_deg = head_yaw_deg(seen, depth)
    blinks = count_blinks(landmarks_px, time_s)
    gap = float(np.percentile(lip_gap(seen), 99))
    sharp = sharpness[has_face]
    blurred = float((sharp < 0.4 * np.median(sharp)).mean())
    light = exposure[has_face & (exposure > 0)]
    brightness = float(np.median(light)) if len(light) else 0.0
    flicker = float(np.std(light) / max(brightness, 1e-6)) if len(light) else 0.0
    glare = float(np.mean(burnt[has_face]))
    width_px = float(np.median(face_width_px[has_face]))
    left_deg, right_deg = float(np.percentile(yaw_deg, 99)), float(-np.percentile(yaw_deg, 1))
    turned_deg = left_deg + right_deg
    covered = float(np.mean(occlusion[has_face]))
    missing = float(1 - has_face.mean())
    return (
        _item("length", _grade(length_s, 8, 3), f"{length_s:.1f} s", "Film 10 to 30 seconds: more expressions are seen, and part of the clip is kept for checking."),
        _item("face visible", _grade(-missing, -0.02, -0.2), f"{100 * (1 - missing):.0f} % of frames", "Keep the face in the picture and turned to the camera."),
        _item("face size", _grade(width_px, 200, 100), f"{width_px:.0f} px wide", "Film closer or in a higher resolution: pores and lids need pixels."),
        _item(
            "head turns", _grade(turned_deg, 50, 20), f"{left_deg:.0f} deg to the left, {right_deg:.0f} deg to the right",
            "Turn the head slowly to both sides, as if looking over the shoulder: cheeks, ears and the shape of the nose are seen only then.",
        ),
        _item("mouth opening", _grade(gap, 0.2, 0.08), f"{gap:.2f} eye distances", "Open the mouth wide once: teeth and the inside of the mouth are learnt from it."),
        _item("blinks", _grade(blinks, 2, 1), f"{blinks}", "Blink a few times, once slowly: the lids are learnt from it."),
        _item("sharpness", _grade(float(np.median(sharp)), 12, 5), f"{np.median(sharp):.0f}", "Clean the lens, tap on the face to focus, and use more light."),
        _item("motion blur", _grade(-blurred, -0.1, -0.3), f"{100 * blurred:.0f} % of frames", "Move more slowly or use more light: then the shutter is shorter."),
        _item(
            "exposure", BAD if not 0.02 < brightness < 0.8 else _grade(-abs(np.log2(max(brightness, 1e-6) / 0.2)), -1.7, -2.6), f"{brightness:.2f} of white",
            "The skin is too dark." if brightness < 0.2 else "The skin is too bright." + " Lock the exposure on the face (hold the finger on it).",
        ),
        _item("steady light", _grade(-flicker, -0.2, -0.4), f"{100 * flicker:.0f} % change", "Lock exposure and white balance, and do not walk through changing light."),
        _item("glare", _grade(-glare, -0.01, -0.05), f"{100 * glare:.1f} % of the skin burnt out", "Use soft light from the front, powder shiny skin, or lower the exposure."),
        _item("covered face", _grade(-covered, -0.08, -0.3), f"{100 * covered:.0f} % of the face", "Keep hands away from the face and pin back hair from forehead and cheeks."),
        _item(
            "lens", OK if focal_source != "default" else WARN, {"metadata": "named by the file", "user": "given"}.get(focal_source, "unknown"),
            "The file does not name the focal length, so the distance is a guess: give it if you know it (35 mm equivalent), or send the original file.",
        ),
    )


def head_yaw_deg(landmarks_px: np.ndarray, depth_px: np.ndarray) -> np.ndarray:
    """(N,): turn of the head, positive to the subject's left, from the two ends of the face mesh and the detector's depth. A few degrees rough.

    Args:
        landmarks_px: (N, 478, 2). depth_px: (N, 478), smaller is nearer.
    """
    across = landmarks_px[:, CHEEK_LEFT] - landmarks_px[:, CHEEK_RIGHT]
    nearer = depth_px[:, CHEEK_LEFT] - depth_px[:, CHEEK_RIGHT]
    return np.degrees(np.arctan2(nearer, np.linalg.norm(across, axis=-1)))


def count_blinks(landmarks_px: np.ndarray, time_s: np.ndarray) -> int:
    """How often both eyes shut for at most 0.6 s.

    Args:
        landmarks_px: (N, 478, 2), NaN where there is no face. time_s: (N,).
    """
    openness = eye_openness(landmarks_px.astype(np.float64)).mean(-1)
    if np.isnan(openness).all():
        return 0
    is_shut = np.nan_to_num(openness, nan=np.inf) < BLINK_OPENNESS * np.nanpercentile(openness, 90)
    edges = np.diff(np.concatenate([[False], is_shut, [False]]).astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return int(sum(time_s[end] - time_s[start] <= MAX_BLINK_S for start, end in zip(starts, ends)))


def _grade(value: float, ok_from: float, warn_from: float) -> str:
    return OK if value >= ok_from else WARN if value >= warn_from else BAD


def _item(item: str, verdict: str, value: str, advice: str) -> dict[str, Any]:
    return {"item": item, "verdict": verdict, "value": value, "advice": "" if verdict == OK else advice}
