"""Confidence as ranges and rectangles: no GPU, no window."""

from __future__ import annotations

import pytest

from blender_avatar.confidence import GOOD, LOST, WEAK, strip_bars, weak_ranges

FRAMES = [float(frame) for frame in range(1, 101)]
CONFIDENCE = [0.95] * 100
for weak in (10, 11, 13, 40):
    CONFIDENCE[weak] = 0.3
TRACKED = [1] * 100
for lost in (60, 61):
    TRACKED[lost], CONFIDENCE[lost] = 0, 0.0


def strip(view, width_px, **changed):
    values = {"frames": FRAMES, "confidence": CONFIDENCE, "is_tracked": TRACKED} | changed
    return strip_bars(values["frames"], values["confidence"], values["is_tracked"], view, width_px, 20.0, 6.0, 0.6)


def test_weak_frames_close_together_are_one_range():
    ranges = weak_ranges(FRAMES, CONFIDENCE, TRACKED, 0.6)
    assert [(found.start, found.end, found.lowest) for found in ranges] == [(11, 14, 0.3), (41, 41, 0.3), (61, 62, 0.0)]
    assert weak_ranges(FRAMES, CONFIDENCE, TRACKED, 0.2) == ranges[2:], "a lower limit lists only what was lost"
    assert weak_ranges([], [], [], 0.6) == []


def test_the_weakest_region_is_named():
    regions = [[0.9, 0.8] for _ in FRAMES]
    regions[40] = [0.7, 0.1]
    regions[10] = [0.0, 0.9]
    flat = [value for row in regions for value in row]
    assert [found.region for found in weak_ranges(FRAMES, CONFIDENCE, TRACKED, 0.6, ["mouth", "eyes"], flat)] == ["mouth", "eyes", "eyes"]
    assert [found.region for found in weak_ranges(FRAMES, CONFIDENCE, TRACKED, 0.6, ["mouth", "eyes"], flat[:-1])] == ["", "", ""], "regions that do not fit"


def test_ten_px_per_frame_draw_every_frame_where_it_is():
    bars = strip((1, 101), 1000)
    assert [(bar.left_px, bar.right_px, bar.colour) for bar in bars] == [
        (0, 100, GOOD), (100, 120, WEAK), (120, 130, GOOD), (130, 140, WEAK), (140, 400, GOOD), (400, 410, WEAK), (410, 600, GOOD), (600, 620, LOST), (620, 1000, GOOD),
    ]  # fmt: skip
    assert {(bar.bottom_px, bar.top_px) for bar in bars} == {(20, 26)}


@pytest.mark.parametrize("width_px", [7, 100, 333])
def test_however_small_the_strip_no_weak_frame_is_hidden(width_px):
    bars = strip((-20, 200), width_px)
    assert all(before.right_px <= after.left_px for before, after in zip(bars, bars[1:]))
    assert bars[0].left_px == int(21 / 220 * width_px) and bars[-1].right_px <= int(121 / 220 * width_px) + 1
    for frame, colour in ((41, WEAK), (61, LOST)):
        column = int((frame + 20) / 220 * width_px)
        assert any(bar.left_px <= column < bar.right_px and bar.colour in (colour, LOST) for bar in bars), frame


def test_a_view_beside_the_clip_and_one_without_width_show_nothing():
    assert strip((200, 300), 500) == strip((-50, 0), 500) == strip((10, 10), 500) == strip((1, 100), 0) == []
    assert strip((1, 100), 500, frames=[], confidence=[], is_tracked=[]) == []


def test_between_pictures_of_a_slow_clip_the_last_one_holds():
    bars = strip((1, 11), 100, frames=[1.0, 4.5, 8.0], confidence=[0.9, 0.1, 0.9], is_tracked=[1, 1, 1])
    assert [(bar.left_px, bar.right_px, bar.colour) for bar in bars] == [(0, 35, GOOD), (35, 70, WEAK), (70, 80, GOOD)]
