"""The photometric error and the side-by-side video, on a clip that was drawn from the package itself."""

from __future__ import annotations

import dataclasses

import av
import numpy as np
import pytest
import torch
from painted_package import NUM, painted_package

from backend.capture.model import PARSING
from backend.evaluation.crops import cutout_of
from backend.evaluation.images import encode
from backend.evaluation.photometric import Seen, Surface, fit_light, measure_photometric, squared_error
from backend.evaluation.side_by_side import PANEL_PX, write_side_by_side
from backend.package.read import read_package
from backend.render.shading import ambient_light, sh_basis
from backend.reporter import Reporter

SIDE = 512


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, clip, capture = painted_package(tmp_path_factory.mktemp("pixels"))
    return read_package(folder), clip, capture


@pytest.fixture(scope="module")
def right(made):
    package, clip, capture = made
    return measure_photometric(package, capture, clip, Reporter())


def shifted(package, metres):
    """The same avatar, its head moved sideways by so much on every other frame."""
    placed = package.animation.world_from_root.copy()
    placed[:, 0, 3] += metres * np.where(np.arange(len(placed)) % 2, 1, -1)
    return dataclasses.replace(package, animation=dataclasses.replace(package.animation, world_from_root=placed))


def test_a_track_that_is_right_explains_the_pixels_and_a_wrong_one_does_not(made, right):
    package, clip, capture = made
    assert right["rmse"] < 0.02 and right["rmse_covered"] <= right["rmse"] and right["uncovered_percent"] < 0.1
    assert right["num_frames"] == 3 and right["num_light_frames"] > 5
    np.testing.assert_allclose(np.array(right["light"]), ambient_light().numpy(), atol=0.08)
    wrong = measure_photometric(shifted(package, 0.002), capture, clip, Reporter())
    assert right["rmse"] * 1.5 < wrong["rmse"]


def test_only_test_frames_are_measured_and_only_training_frames_lit(made, right):
    package, clip, capture = made
    without_test = np.where(capture.split == 2, 0, capture.split).astype(np.uint8)
    assert measure_photometric(package, capture.replace(split=without_test), clip, Reporter()) is None
    # Poses spoiled in the gap change nothing.
    placed = package.animation.world_from_root.copy()
    placed[capture.split == 1, 0, 3] += 0.05
    spoiled = dataclasses.replace(package, animation=dataclasses.replace(package.animation, world_from_root=placed))
    assert measure_photometric(spoiled, capture, clip, Reporter()) == right


def test_the_mask_comes_from_the_capture_and_no_surface_counts_as_error(made):
    package, clip, capture = made
    hidden = np.full_like(capture.parsing, PARSING.index("occlusion"))
    assert measure_photometric(package, capture.replace(parsing=hidden), clip, Reporter()) is None
    gone = measure_photometric(shifted(package, 0.03), capture, clip, Reporter())
    assert gone["uncovered_percent"] > 0.2 and gone["rmse"] > gone["rmse_covered"]


def globe(light):
    """A white-and-grey ball lit by ``light``: what is seen, and the surface that shows it."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE / 2) - 1
    inside = x**2 + y**2 < 0.95
    normals = np.stack([x, y, -np.sqrt(np.maximum(1 - x**2 - y**2, 0.01))], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    basis = sh_basis(torch.from_numpy(normals)).numpy()
    albedo = np.where((np.arange(SIDE) // 32 % 2)[None, :, None], 0.5, 0.3) * np.ones((SIDE, SIDE, 3))
    picture = encode((albedo * np.maximum(basis @ light, 0.05)).astype(np.float32))
    return Seen(picture, inside, inside), Surface(albedo.astype(np.float32), basis, -normals[..., 2], inside)


def test_the_light_is_found_despite_a_highlight():
    light = ambient_light(0.9).numpy().astype(np.float64)
    light[1] += [-0.3, -0.25, -0.2]
    light[3] += [0.15, 0.1, 0.2]
    seen, surface = globe(light)
    burnt = seen.rgb.copy()
    burnt[200:260, 150:230] = 1.0
    found = fit_light([(dataclasses.replace(seen, rgb=burnt), surface)])
    far = np.zeros((SIDE, SIDE), bool)
    far[150:400, 260:400] = True
    assert np.sqrt(squared_error(seen, surface, found)[far].mean()) < 0.012
    assert np.sqrt(squared_error(seen, surface, ambient_light().numpy())[far].mean()) > 0.025


def test_the_light_stays_even_without_evidence():
    seen, surface = globe(ambient_light().numpy())
    np.testing.assert_array_equal(fit_light([(dataclasses.replace(seen, face=np.zeros_like(seen.face)), surface)]), ambient_light().numpy())
    np.testing.assert_array_equal(fit_light([]), ambient_light().numpy())


@pytest.fixture(scope="module")
def video(made, tmp_path_factory):
    package, clip, capture = made
    lost = package.animation.is_tracked.copy()
    lost[7] = False
    marked = dataclasses.replace(package, animation=dataclasses.replace(package.animation, is_tracked=lost))
    path = tmp_path_factory.mktemp("video") / "x.mp4"
    assert write_side_by_side(marked, capture, clip, path) == NUM
    return marked, path


def test_the_video_shows_clip_overlay_and_model(made, video):
    _, clip, capture = made
    with av.open(str(video[1])) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264" and (stream.height, stream.width) == (PANEL_PX, 3 * PANEL_PX) and float(stream.average_rate) == 25
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(stream)]
    assert len(frames) == NUM
    with av.open(str(clip)) as container:
        first = next(container.decode(video=0)).to_ndarray(format="rgb24")
    clip_panel, overlay, model = np.split(frames[0], 3, axis=1)
    expected = cutout_of(capture).cut(first)[::4, ::3][:90]
    assert abs(clip_panel[60:300].mean() - expected.mean()) < 25
    corner = (slice(30, 60), slice(5, 40))
    assert np.abs(clip_panel[corner] - overlay[corner]).mean() < 4 and model[corner].mean() < 60
    head = np.abs(overlay - clip_panel).mean(-1) > 15
    assert 0.05 < head.mean() < 0.8
    red = lambda frame: (frame[2:370, PANEL_PX + 1, 0] - frame[2:370, PANEL_PX + 1, 1]).mean()  # noqa: E731
    assert red(frames[7]) > 100 > 30 > abs(red(frames[6]))


def test_the_video_again_gives_equal_bytes(made, video, tmp_path):
    _, clip, capture = made
    write_side_by_side(video[0], capture, clip, tmp_path / "again.mp4")
    assert (tmp_path / "again.mp4").read_bytes() == video[1].read_bytes()
