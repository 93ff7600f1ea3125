"""Matte, parsing, occlusion, sharpness and exposure."""

import dataclasses
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from shared_data import shared_path

from backend.capture import parsing as labels
from backend.capture.appearance import Appearance, fit_gaussian, learn_appearance
from backend.capture.hands import hand_mask
from backend.capture.landmark_sets import BROW_LEFT, BROW_RIGHT, FACE_OVAL
from backend.capture.landmarks import FaceDetector
from backend.capture.masks import crop_transform, cut_crop, head_patch, to_crop
from backend.capture.matte import Matter, guided_filter, without_islands
from backend.capture.parsing import parse_face, polygon_mask
from backend.capture.quality import face_sharpness, skin_exposure
from backend.capture.video import iterate_frames

NO_HANDS = np.zeros((256, 256), np.uint8)


@dataclasses.dataclass(frozen=True)
class Scene:
    """One frame of a real clip, its crop, landmarks in the crop, matte, and what was learnt from ten frames."""

    rgb: np.ndarray
    landmarks_px: np.ndarray
    crop: np.ndarray
    points: np.ndarray
    matte: np.ndarray
    appearance: Appearance


def _scene(name: str) -> Scene:
    frames = [rgb for _, _, rgb in iterate_frames(shared_path(f"clips/{name}.mp4"), range(0, 100, 10))]
    with FaceDetector() as detector, Matter() as matter:
        faces = [detector.detect(rgb)[0].landmarks_px for rgb in frames]
        patches = [head_patch(rgb, points) for rgb, points in zip(frames, faces)]
        appearance = learn_appearance([(rgb, matter(rgb), points) for rgb, points in patches])
        px_crop_from_px = crop_transform(np.stack(faces), 256)
        crop = cut_crop(frames[0], px_crop_from_px, 256)
        return Scene(frames[0], faces[0], crop, to_crop(faces[0], px_crop_from_px), matter(crop), appearance)


@pytest.fixture(scope="module")
def kitchen() -> Iterator[Scene]:
    yield _scene("talking_man_kitchen")


@pytest.fixture(scope="module")
def gestures() -> Iterator[Scene]:
    yield _scene("talking_man_gestures")


def test_matte_separates_person_and_wall(kitchen: Scene) -> None:
    matte = kitchen.matte
    assert matte[polygon_mask(kitchen.points, FACE_OVAL, matte.shape) > 0].min() > 200
    assert matte[:12].max() < 30  # wall above the head
    soft = ((matte > 25) & (matte < 230)).sum()
    assert soft < 0.05 * matte.size
    rows = np.flatnonzero((matte > 128).any(1))
    assert rows[0] < kitchen.points[:, 1].min() - 10  # the hair belongs to the person


def test_matte_drops_islands() -> None:
    matte = np.zeros((100, 100), np.uint8)
    matte[40:100, 30:70] = 255
    matte[5:9, 5:9] = 255
    cleaned = without_islands(matte)
    assert cleaned[:20].max() == 0 and np.array_equal(cleaned[40:], matte[40:])


def test_guided_filter_keeps_what_is_linear_in_the_guide() -> None:
    guide = np.random.default_rng(0).uniform(0, 1, (40, 50, 3)).astype(np.float32)
    values = (guide @ np.array([0.5, -0.3, 0.2]) + 0.1).astype(np.float32)
    np.testing.assert_allclose(guided_filter(guide, values, 4, 1e-7), values, atol=2e-3)
    flat = np.full((40, 50, 3), 0.5, np.float32)
    step = np.zeros((40, 50), np.float32)
    step[:, 25:] = 1
    assert guided_filter(flat, step, 4, 1e-3)[20, 24] == pytest.approx(cv2.blur(cv2.blur(step, (9, 9)), (9, 9))[20, 24], abs=0.02)


@pytest.mark.parametrize("name", ["kitchen", "gestures"])
def test_clean_face(name: str, request: pytest.FixtureRequest) -> None:
    scene: Scene = request.getfixturevalue(name)
    parsed, covered = parse_face(scene.crop, scene.matte, scene.points, scene.appearance, NO_HANDS)
    where = {label: np.argwhere(parsed == label).mean(0) for label in range(1, 7)}  # every class but occlusion occurs
    assert where[labels.HAIR][0] < where[labels.BROWS][0] < where[labels.EYES][0] < where[labels.LIPS][0]
    assert abs(where[labels.LIPS][1] - scene.points[13, 0]) < 3
    for point, label in ((4, labels.SKIN), (50, labels.SKIN), (280, labels.SKIN), (152, labels.SKIN), (468, labels.EYES), (473, labels.EYES)):
        column, row = scene.points[point].astype(int)
        assert parsed[row - 2 if point == 152 else row, column] == label, point
    assert not np.any(parsed == labels.OCCLUSION)
    assert covered < 0.05
    column, row = scene.points[152].astype(int)
    assert (parsed[row + 4:row + 10, column] == labels.SKIN).all()  # the neck
    assert (parsed[-1] == labels.BACKGROUND).mean() > 0.4  # clothes
    brows = (polygon_mask(scene.points, BROW_LEFT, parsed.shape) | polygon_mask(scene.points, BROW_RIGHT, parsed.shape)) > 0
    assert (parsed[brows] == labels.BROWS).mean() > 0.9


@pytest.mark.parametrize("colour", [(40, 70, 160), (235, 235, 230), (25, 25, 28)])
def test_thing_in_front_of_the_cheek(kitchen: Scene, colour: tuple[int, int, int]) -> None:
    """A flat thing of 30 by 30 px: found, about as large as it is, and nothing else is."""
    column, row = kitchen.points[50].astype(int)
    crop = kitchen.crop.copy()
    thing = np.zeros((256, 256), np.uint8)
    thing[row - 15:row + 15, column - 15:column + 15] = 255
    crop[thing > 0] = colour
    parsed, covered = parse_face(crop, kitchen.matte, kitchen.points, kitchen.appearance, NO_HANDS)
    oval = polygon_mask(kitchen.points, FACE_OVAL, parsed.shape) > 0
    hidden = oval & (thing > 0) & ~np.isin(parsed, (labels.EYES, labels.LIPS, labels.INNER_MOUTH))
    found = parsed == labels.OCCLUSION
    assert found[hidden].mean() > 0.75
    assert (found & ~(cv2.dilate(thing, np.ones((9, 9))) > 0)).sum() < 30
    assert covered == pytest.approx(hidden.sum() / oval.sum(), rel=0.35)


def test_brighter_light_is_no_occlusion(kitchen: Scene) -> None:
    for gain in (0.6, 1.25):
        crop = np.clip(kitchen.crop * gain, 0, 255).astype(np.uint8)
        parsed, _ = parse_face(crop, kitchen.matte, kitchen.points, kitchen.appearance, NO_HANDS)
        assert (parsed == labels.OCCLUSION).mean() < 0.002


def test_hand_over_the_mouth(kitchen: Scene) -> None:
    middle, size = kitchen.points[[61, 291]].mean(0), 40.0
    joints = np.zeros((21, 2))
    joints[0] = middle + [0, size]
    for finger in range(5):
        for joint in range(4):
            joints[1 + 4 * finger + joint] = middle + [(finger - 2) * size / 4, size / 2 - joint * size / 3]
    mask = hand_mask([joints], (256, 256))
    assert mask[int(middle[1]), int(middle[0])] == 255 and mask[0, 0] == 0
    parsed, covered = parse_face(kitchen.crop, kitchen.matte, kitchen.points, kitchen.appearance, mask)
    assert parsed[int(middle[1]), int(middle[0])] == labels.OCCLUSION
    oval = polygon_mask(kitchen.points, FACE_OVAL, parsed.shape) > 0
    assert covered > 0.8 * (oval & (mask > 0)).sum() / oval.sum()


def test_fringe_is_hair_and_counts_as_covered(kitchen: Scene) -> None:
    crop = kitchen.crop.copy()
    forehead = polygon_mask(kitchen.points, (103, 67, 109, 10, 338, 297, 332, 334, 296, 336, 107, 66, 105), (256, 256)) > 0
    crop[forehead] = np.clip(np.array([45, 38, 33]) + np.random.default_rng(0).normal(0, 4, (forehead.sum(), 3)), 0, 255)
    parsed, covered = parse_face(crop, kitchen.matte, kitchen.points, kitchen.appearance, NO_HANDS)
    inside = cv2.erode(forehead.astype(np.uint8), np.ones((5, 5))) > 0
    assert (parsed[inside] == labels.HAIR).mean() > 0.8
    assert covered > 0.5 * forehead.sum() / (polygon_mask(kitchen.points, FACE_OVAL, (256, 256)) > 0).sum()


def test_no_face_no_labels(kitchen: Scene) -> None:
    parsed, covered = parse_face(kitchen.crop, kitchen.matte, None, kitchen.appearance, NO_HANDS)
    assert parsed.max() == 0 and covered == 0


def test_polygon_pixel_centres() -> None:
    points = np.array([[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0]])
    mask = polygon_mask(points, (0, 1, 2, 3), (40, 40)) > 0
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() + 0.5 - 15) < 0.1 and abs(columns.mean() + 0.5 - 15) < 0.1
    assert mask.sum() == 100
    assert polygon_mask(points + 1000, (0, 1, 2, 3), (40, 40)).sum() == 0
    assert polygon_mask(points - 15, (0, 1, 2, 3), (40, 40)).sum() == 25 * 255


def test_crop_holds_every_face_and_keeps_pixel_centres() -> None:
    generator = np.random.default_rng(4)
    landmarks_px = generator.uniform([300, 400], [500, 650], (5, 478, 2)) + np.arange(5)[:, None, None] * [20, 5]
    landmarks_px[2] = np.nan
    px_crop_from_px = crop_transform(landmarks_px, 256)
    mapped = to_crop(landmarks_px[[0, 1, 3, 4]], px_crop_from_px)
    assert mapped.min() > 10 and mapped.max() < 246
    assert px_crop_from_px[0, 0] == px_crop_from_px[1, 1]
    rows, columns = np.mgrid[:900, :1000] + 0.5
    picture = np.stack([columns / 4, rows / 4, rows], -1).astype(np.float32)
    crop = cut_crop(picture, px_crop_from_px, 256)
    grid = np.stack(np.meshgrid(np.arange(60, 200, 20) + 0.5, np.arange(60, 200, 20) + 0.5), -1)
    source = (grid - px_crop_from_px[:2, 2]) / px_crop_from_px[0, 0]
    seen = crop[np.floor(grid[..., 1]).astype(int), np.floor(grid[..., 0]).astype(int), :2] * 4
    assert np.abs(seen - source).max() < 0.15


def test_crop_outside_the_frame_is_black() -> None:
    crop = cut_crop(np.full((50, 50, 3), 200, np.uint8), np.array([[1, 0, 20.0], [0, 1, 20.0], [0, 0, 1]]), 96)
    assert crop[5:15].max() == 0 and crop[25:65, 25:65].min() == 200 and crop[80:].max() == 0


def test_gaussian_ignores_strays() -> None:
    generator = np.random.default_rng(6)
    lab = generator.normal([60, 15, 18], [6, 2, 2], (2000, 3))
    lab[:100] = [20, 0, 0]
    model = fit_gaussian(lab)
    np.testing.assert_allclose(model.mean, [60, 15, 18], atol=0.5)
    assert model.distance_squared(np.array([[60.0, 15.0, 18.0]]))[0] < 0.1 < 9 < model.distance_squared(np.array([[20.0, 0.0, 0.0]]))[0]


def test_sharpness_falls_with_blur_and_ignores_size(kitchen: Scene) -> None:
    sharp = face_sharpness(kitchen.rgb, kitchen.landmarks_px)
    soft = face_sharpness(cv2.GaussianBlur(kitchen.rgb, (0, 0), 3), kitchen.landmarks_px)
    assert soft < 0.3 * sharp
    double = cv2.resize(kitchen.rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert face_sharpness(double, kitchen.landmarks_px * 2) == pytest.approx(sharp, rel=0.25)
    assert face_sharpness(kitchen.rgb // 2, kitchen.landmarks_px) == pytest.approx(sharp / 4, rel=0.2)  # rounding to 8 bits adds a little


def test_exposure_is_linear_light(kitchen: Scene) -> None:
    parsed, _ = parse_face(kitchen.crop, kitchen.matte, kitchen.points, kitchen.appearance, NO_HANDS)
    grey = np.full_like(kitchen.crop, 188)
    luminance, burnt = skin_exposure(grey, parsed, kitchen.points)
    assert luminance == pytest.approx(0.503, abs=0.002) and burnt == 0
    assert skin_exposure(np.full_like(grey, 255), parsed, kitchen.points) == (pytest.approx(1.0), 1.0)
    assert skin_exposure(grey, np.zeros_like(parsed), kitchen.points) == (0.0, 0.0)
