"""The benchmarks' own arithmetic: tables, curves, and a truth that nobody can read while the tracker runs."""

from __future__ import annotations

import argparse
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(autouse=True)
def tools_path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(TOOLS), *sys.path])


def result(vertex, rotation, unit_error=0.1):
    errors = {"face_vertex_mm": vertex, "rotation_deg": rotation, "expression_relative": None}
    unit = {"true_max": 1.0, "true_rms": 0.5, "error_rms": unit_error, "relative": 2 * unit_error, "induced_mm": 10 * unit_error}
    idle = {"face_vertex_mm": 6.0, "rotation_deg": 4.0, "expression_relative": 1.0}
    resting = {**unit, "relative": None}
    return {**errors, "zero_effort": idle, "units": {"jawOpen": unit, "cheekPuff": resting}}


def test_the_table_says_who_wins_by_how_much_and_how_often():
    from benchmark_truth import LANDMARKS, PHOTOMETRIC, aggregate, units

    found = {LANDMARKS: [result(4.0, 1.0), result(2.0, 1.0)], PHOTOMETRIC: [result(1.0, 2.0, 0.05), result(1.0, 0.5, 0.05)]}
    text = aggregate(found)
    vertex = next(line for line in text.splitlines() if line.startswith("| face vertices"))
    assert [cell.strip() for cell in vertex.split("|")[2:-1]] == ["3 ± 1.4", "1 ± 0", "3.00", "2 of 2", "6 ± 0", "6.00"]
    assert "expression" not in text
    assert "better on 1 of 2 rows, equal on 0, worse on: head rotation" in text
    table = units(found)
    assert "| jawOpen | 2 | 0.5 | 0.1 | 0.05 | 1 | 0.5 |" in table and "cheekPuff" not in table


def test_one_variant_has_no_winner():
    from benchmark_truth import aggregate

    text = aggregate({"ours": [result(4.0, 1.0)]})
    assert "better" not in text and "| face vertices after one rigid motion per clip, mm | 4 ± 0 | 6 ± 0 | 1.50 |" in text


@pytest.mark.parametrize(("changes", "name"), [
    ({}, "cycles_5s_320px_seed2"), ({"rig": "ict:/models/x.npz"}, "ict_cycles_5s_320px_seed2"), ({"performance": "chair", "fps": 10.0}, "cycles_5s_320px_10fps_chair_seed2"),
    ({"face_share": 0.5, "light_seed": 7, "dynamic_texture": True}, "cycles_5s_320px_face0.5_light7_dynamic_seed2"),
])  # fmt: skip
def test_clips_are_found_by_what_was_filmed(changes, name):
    from synthetic_clips import add_options, name_of

    parser = argparse.ArgumentParser()
    add_options(parser)
    options = argparse.Namespace(**{**vars(parser.parse_args([])), "size": 320, **changes})
    assert name_of(options, 2) == name


def test_the_truth_is_out_of_reach_while_the_tracker_runs(tmp_path):
    from tracker_runs import hiding_place, out_of_reach, restore

    truth = tmp_path / "clip_seed1" / "truth.npz"
    truth.parent.mkdir()
    truth.write_bytes(b"secret")
    with out_of_reach(truth):
        assert list(truth.parent.iterdir()) == [] and hiding_place(truth).read_bytes() == b"secret"
    assert truth.read_bytes() == b"secret" and not hiding_place(truth).exists()
    with pytest.raises(RuntimeError), out_of_reach(truth):
        raise RuntimeError
    assert truth.exists()
    truth.rename(hiding_place(truth))  # a run that was killed
    with out_of_reach(truth):
        assert not truth.exists()
    assert truth.exists()
    truth.rename(hiding_place(truth))
    restore(truth)
    assert truth.read_bytes() == b"secret"


def test_curves_are_drawn_where_their_values_are():
    from curve_svg import Curve, draw_curves

    text = draw_curves("Depth & focus", "prior", "mm", [Curve("seed 1", [0.01, 0.1, 1.0], [1.0, 10.0, 100.0]), Curve("seed 2", [0.01, 1.0], [2.0, 2.0])])
    root = xml.etree.ElementTree.fromstring(text)  # noqa: S314
    lines = [element for element in root.iter() if element.tag.endswith("polyline")]
    places = [[tuple(map(float, pair.split(","))) for pair in line.get("points").split()] for line in lines]
    (x0, y0), (x1, y1), (x2, y2) = places[0]
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2) and y0 - y1 == pytest.approx(y1 - y2, abs=0.2) and y0 > y2
    assert places[1][0][0] == x0 and places[1][0][1] == places[1][1][1]
    assert text == draw_curves("Depth & focus", "prior", "mm", [Curve("seed 1", [0.01, 0.1, 1.0], [1.0, 10.0, 100.0]), Curve("seed 2", [0.01, 1.0], [2.0, 2.0])])
    with pytest.raises(ValueError):
        draw_curves("", "", "", [Curve("zero", [0.0], [1.0])])
