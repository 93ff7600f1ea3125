"""The default head in a fast clip, seen by the landmark detector: found everywhere, and where the truth says."""

from __future__ import annotations

import av
import numpy as np
import pytest

from backend.geometry.cameras import project
from backend.reporter import Reporter
from backend.synth.build import write_clip
from backend.synth.config import SynthConfig
from backend.synth.truth import read_truth, truth_head, vertices_cam

OUTER_EYES = (33, 263)
LID, LIP = (159, 145), (13, 14)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Detected and true landmarks (N, 478, 2) px of a 256 px clip; NaN where no face was found."""
    pytest.importorskip("mediapipe")
    from backend.capture.embed import load_rig_with_landmarks

    rig = load_rig_with_landmarks("anny")
    folder = tmp_path_factory.mktemp("detector")
    clip = write_clip(folder, rig, SynthConfig(seconds=1.6, size_hw=(256, 256), seed=1), Reporter())
    import mediapipe

    truth = read_truth(folder / "truth.npz")
    head, placed = truth_head(truth, rig), rig.mediapipe478
    corners = rig.triangles[np.maximum(placed.triangle_ids, 0)]
    found, true = [], []
    with mediapipe.solutions.face_mesh.FaceMesh(refine_landmarks=True, max_num_faces=1) as detector, av.open(str(clip)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            faces = detector.process(frame.to_ndarray(format="rgb24")).multi_face_landmarks
            points = [(point.x * frame.width, point.y * frame.height) for point in faces[0].landmark] if faces else np.full((478, 2), np.nan)
            found.append(np.array(points))
            surface = np.einsum("pc,pcx->px", placed.barycentric, vertices_cam(truth, head, index)[corners].astype(np.float64))
            true.append(np.where(placed.is_placed[:, None], project(truth.px_from_cam, surface), np.nan))
    return np.stack(found), np.stack(true)


def apart(points, pair):
    return np.linalg.norm(points[:, pair[0]] - points[:, pair[1]], axis=-1)


def test_the_face_is_found_in_every_frame(measured):
    assert np.isfinite(measured[0]).all(-1).all(-1).mean() >= 0.99


def test_landmarks_are_where_the_truth_says(measured):
    found, true = measured
    error_percent = 100 * np.linalg.norm(found - true, axis=-1) / apart(true, OUTER_EYES)[:, None]
    assert np.nanmean(error_percent) < 4.0
    assert np.nanmean(error_percent[:, 468:478]) < 3.0, "irises"


def test_lids_and_lips_move_as_the_truth_does(measured):
    found, true = measured
    for pair, wanted in ((LID, 0.75), (LIP, 0.75)):
        gaps = [apart(points, pair) / apart(points, OUTER_EYES) for points in (found, true)]
        assert np.corrcoef(*gaps)[0, 1] > wanted
