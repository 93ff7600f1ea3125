"""Landmarks: coordinate conventions, equivariance, several faces, small faces, none. Real faces come from the shared clips."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from shared_data import shared_path

from backend.capture.follow import choose_person, temporal_consistency
from backend.capture.landmark_sets import BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, FACE_OVAL, eye_openness, lip_gap, mesh_triangles
from backend.capture.landmarks import Face, FaceDetector, Region, cut_patch, region_around
from backend.capture.video import iterate_frames
from backend.errors import AvatarError


@pytest.fixture(scope="module")
def detector() -> Iterator[FaceDetector]:
    with FaceDetector() as entered:
        yield entered


@pytest.fixture(scope="module")
def kitchen() -> np.ndarray:
    return next(iterate_frames(shared_path("clips/talking_man_kitchen.mp4")))[2]


@pytest.fixture(scope="module")
def gestures() -> np.ndarray:
    return next(iterate_frames(shared_path("clips/talking_man_gestures.mp4")))[2]


def _distance_percent(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(478,): distances in percent of the outer-eye distance."""
    return 100 * np.linalg.norm(one - two, axis=-1) / np.linalg.norm(one[263] - one[33])


def test_left_is_the_subjects_left(detector: FaceDetector, kitchen: np.ndarray) -> None:
    (face,) = detector.detect(kitchen)
    points = face.landmarks_px
    assert points.shape == (478, 2) and face.depth_px.shape == (478,)
    for left, right in ((263, 33), (454, 234), (468 + 5, 468)):
        assert points[left, 0] > points[right, 0]  # unmirrored: the subject's left is on the right
    assert points[10, 1] < points[6, 1] < points[152, 1]
    assert face.depth_px[1] < face.depth_px[[234, 454]].min()  # the nose is nearest
    assert 0.9 < face.confidence <= 1
    assert 0 <= face.spread < 0.03
    # irises lie inside the eyes
    for iris, (low, high) in ((468, (33, 133)), (473, (362, 263))):
        assert points[low, 0] < points[iris, 0] < points[high, 0]
    assert 230 < face.width_px < 330


def test_mirrored_picture_gives_mirrored_points(detector: FaceDetector, kitchen: np.ndarray) -> None:
    """The picture's width minus x, without any half-pixel shift, and left and right exchanged."""
    plain = detector.detect(kitchen)[0].landmarks_px
    flipped = detector.detect(np.ascontiguousarray(kitchen[:, ::-1]))[0].landmarks_px
    flipped[:, 0] = kitchen.shape[1] - flipped[:, 0]
    swap = {33: 263, 133: 362, 61: 291, 468: 473, 234: 454, 70: 300, 159: 386, 145: 374}
    pairs = list(swap.items()) + [(b, a) for a, b in swap.items()] + [(i, i) for i in (1, 6, 10, 13, 14, 152)]
    one, two = plain[[a for a, _ in pairs]], flipped[[b for _, b in pairs]]
    eye_px = np.linalg.norm(plain[263] - plain[33])
    assert np.abs((one - two)[:, 0].mean()) < 0.005 * eye_px
    assert np.linalg.norm(one - two, axis=-1).mean() < 0.02 * eye_px


@pytest.mark.parametrize(("scale", "turn_deg"), [(1.0, 25.0), (0.5, 0.0), (0.37, -15.0)])
def test_points_move_with_the_picture(detector: FaceDetector, kitchen: np.ndarray, scale: float, turn_deg: float) -> None:
    plain = detector.detect(kitchen)[0].landmarks_px
    matrix = cv2.getRotationMatrix2D(tuple(plain.mean(0)), turn_deg, scale)
    source = cv2.GaussianBlur(kitchen, (0, 0), 0.5 / scale) if scale < 1 else kitchen
    inner = matrix.copy()
    inner[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    moved = detector.detect(cv2.warpAffine(source, inner, kitchen.shape[1::-1], flags=cv2.INTER_LINEAR))[0].landmarks_px
    expected = plain @ matrix[:, :2].T + matrix[:, 2]
    error = _distance_percent(expected, moved)
    assert error.mean() < (1.0 if scale > 0.4 else 1.6)
    assert np.abs((moved - expected).mean(0)).max() < 0.01 * np.linalg.norm(expected[263] - expected[33])


def test_same_picture_same_points_wherever_it_came_from(detector: FaceDetector, kitchen: np.ndarray) -> None:
    """No memory: a wrong starting guess is forgotten within the picture."""
    plain = detector.detect(kitchen)[0]
    again = detector.detect(kitchen)[0]
    np.testing.assert_array_equal(plain.landmarks_px, again.landmarks_px)
    shifted = detector.refine(kitchen, (plain.landmarks_px - plain.landmarks_px.mean(0)) * 1.15 + plain.landmarks_px.mean(0) + [25, -20])
    assert shifted is not None
    assert _distance_percent(plain.landmarks_px, shifted.landmarks_px).mean() < 0.6


def test_refine_says_when_the_face_is_gone(detector: FaceDetector, kitchen: np.ndarray) -> None:
    points = detector.detect(kitchen)[0].landmarks_px
    empty = np.full_like(kitchen, 90)
    assert detector.refine(empty, points) is None
    assert detector.detect(empty, is_thorough=True) == []


def test_two_faces_larger_first(detector: FaceDetector, kitchen: np.ndarray, gestures: np.ndarray) -> None:
    pair = np.hstack([cv2.resize(gestures, None, fx=0.5, fy=0.5), cv2.resize(kitchen, None, fx=0.5, fy=0.5)])
    faces = detector.detect(pair)
    assert len(faces) == 2
    assert faces[0].width_px > faces[1].width_px
    assert faces[0].landmarks_px[1, 0] > 540 > faces[1].landmarks_px[1, 0]


def test_small_face_is_found_only_when_searched_for(detector: FaceDetector, kitchen: np.ndarray) -> None:
    small = np.full((1080, 1920, 3), 128, np.uint8)
    small[500:760, 1500:1646] = cv2.resize(kitchen, (146, 260), interpolation=cv2.INTER_AREA)
    faces = detector.detect(small, is_thorough=True)
    assert len(faces) == 1
    assert 28 < faces[0].width_px < 48
    assert np.all(np.abs(faces[0].landmarks_px.mean(0) - [1573, 600]) < 60)


def test_patch_maps_pixel_centres() -> None:
    """The patch shows what the affine map says, to a tenth of a pixel, at any scale and turn."""
    rows, columns = np.mgrid[:400, :500] + 0.5
    picture = np.stack([columns / 2, rows / 2, np.full_like(rows, 7)], -1).astype(np.float32)
    for region in (Region(np.array([250.0, 200.0]), 96.0, 0.3), Region(np.array([240.0, 210.0]), 192.0, 0.0), Region(np.array([255.5, 190.25]), 280.0, -0.4)):
        patch = cut_patch(picture, region).astype(float)
        patch_from_px = region.patch_from_px()
        grid = np.stack(np.meshgrid(np.arange(40, 152, 8) + 0.5, np.arange(40, 152, 8) + 0.5), -1)
        source = (grid - patch_from_px[:, 2]) @ np.linalg.inv(patch_from_px[:, :2]).T
        seen = patch[np.floor(grid[..., 1]).astype(int), np.floor(grid[..., 0]).astype(int), :2] * 2
        assert np.abs(seen - source).max() < 0.1


def test_region_is_level_with_the_eyes() -> None:
    points = np.random.default_rng(0).uniform(0, 100, (478, 2))
    points[33], points[263] = (20, 30), (80, 60)
    region = region_around(points)
    patch_from_px = region.patch_from_px()
    eyes = points[[33, 263]] @ patch_from_px[:, :2].T + patch_from_px[:, 2]
    assert eyes[0, 1] == pytest.approx(eyes[1, 1])
    mapped = points[:468] @ patch_from_px[:, :2].T + patch_from_px[:, 2]
    assert np.ptp(mapped, axis=0).max() == pytest.approx(192 / 1.5)
    np.testing.assert_allclose((mapped.min(0) + mapped.max(0)) / 2, 96, atol=1e-6)


def test_loops_and_triangles(detector: FaceDetector, kitchen: np.ndarray) -> None:
    points = detector.detect(kitchen)[0].landmarks_px
    for loop in (FACE_OVAL, EYE_LEFT, EYE_RIGHT, BROW_LEFT, BROW_RIGHT):
        ring = points[list(loop)].astype(np.float32)
        assert len(set(loop)) == len(loop)
        # in order: a loop that crosses itself loses area (brows are arched: their hull is larger)
        assert cv2.contourArea(ring) > (0.5 if len(loop) == 10 else 0.85) * cv2.contourArea(cv2.convexHull(ring))
    triangles = mesh_triangles()
    assert 850 <= len(triangles) <= 930 and triangles.max() == 467
    assert len(np.unique(triangles)) == 468


def test_openness_and_gap_are_ratios() -> None:
    points = np.random.default_rng(1).uniform(0, 50, (3, 478, 2))
    np.testing.assert_allclose(eye_openness(points * 4 + 9), eye_openness(points))
    np.testing.assert_allclose(lip_gap(points * 4 - 2), lip_gap(points))
    points[:, 13] = points[:, 14]
    np.testing.assert_allclose(lip_gap(points), 0)


def _face(x: float, width: float) -> Face:
    points = np.random.default_rng(0).uniform(0, 1, (478, 2)) * width
    points[33], points[263] = (0.2 * width, 0.4 * width), (0.8 * width, 0.4 * width)
    return Face(points + [x, 100.0], np.zeros(478), 1.0, 1.0, 0.0)


def test_largest_face_that_persists() -> None:
    probes = [(30 * i, [_face(100 + i, 120), *([_face(600, 220)] if i == 4 else [])]) for i in range(10)]
    person, notes = choose_person(probes, 64, "clip.mp4")
    assert len(person.indices) == 10 and person.width_px < 130  # the visitor is larger but stays for one picture only
    assert "2 faces" in notes[0]
    centre, width = person.place(45)
    assert centre[0] == pytest.approx(_face(101.5, 120).landmarks_px.mean(0)[0]) and width < 130
    person, notes = choose_person([(0, [_face(0, 100)]), (30, [_face(3, 100)])], 64, "clip.mp4")
    assert notes == ()


def test_no_face_and_small_face_are_typed_errors() -> None:
    with pytest.raises(AvatarError) as none:
        choose_person([(0, []), (25, [])], 64, "wall.mp4")
    assert none.value.code == "bad_input" and "wall.mp4" in none.value.message and none.value.detail["frame"] == 0
    with pytest.raises(AvatarError) as small:
        choose_person([(0, []), (25, [_face(0, 40)])], 64, "far.mp4")
    assert small.value.code == "bad_input" and small.value.detail["frame"] == 25
    assert "64 px" in small.value.message and small.value.hint


def test_consistency_falls_at_a_jump_only() -> None:
    base = np.random.default_rng(2).uniform(0, 100, (478, 2))
    points = base + np.arange(20)[:, None, None] * [3.0, 1.0]
    time_s = np.arange(20) / 25
    assert temporal_consistency(points, time_s).min() > 0.99
    points[10] += 40
    consistency = temporal_consistency(points, time_s)
    assert consistency[10] < 0.2 and consistency[:8].min() > 0.99 and consistency[13:].min() > 0.99
    points[4] = np.nan
    assert np.isfinite(temporal_consistency(points, time_s)).all()
