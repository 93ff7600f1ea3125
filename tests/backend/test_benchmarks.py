"""The benchmark's own machinery: which trainer calls are timed, ratios, tables, and what is promised."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from backend.benchmarks.case import Case
from backend.benchmarks.render import Measured, result_of
from backend.benchmarks.report import plot_curves, straight_lines, table
from backend.benchmarks.run import run_render
from backend.benchmarks.timing import Timing, time_case
from backend.benchmarks.trainer_calls import untimed_calls, used_arguments
from backend.errors import AvatarError
from backend.reporter import Reporter


def test_every_trainer_call_is_timed():
    assert untimed_calls() == []


def test_calls_are_read_with_their_arguments(tmp_path: Path):
    """Positions are translated by the signature, modules and renamed functions are followed, other calls are left alone."""
    (tmp_path / "trainer.py").write_text(
        "from ...render import meshes\n"
        "from ...render.shading import shade as lit\n"
        "from ..geometry.rotations import matrix_from_axis_angle\n"
        "def step(v, t, k, n, e):\n"
        "    matrix_from_axis_angle(v)\n"
        "    print(lit(n, light=e))\n"
        "    return meshes.rasterise(v, t, k, (8, 8), near_m=0.1)\n"
    )
    assert used_arguments([tmp_path / "trainer.py"]) == {
        "shading.shade", "shading.shade(normals)", "shading.shade(light)", "meshes.rasterise", "meshes.rasterise(vertices_cam_m)",
        "meshes.rasterise(triangles)", "meshes.rasterise(px_from_cam)", "meshes.rasterise(size_hw)", "meshes.rasterise(near_m)",
    }


def test_a_case_and_its_reference_run_by_turns():
    calls = []
    case = Case("a", "a", lambda: calls.append("run"), reference=lambda: calls.append("reference"), reference_name="other")
    timing = time_case(case, torch.device("cpu"), 0.0)
    assert timing.turns == 7 and calls.count("reference") == 9 and timing.ratio > 0
    assert time_case(Case("b", "b", lambda: time.sleep(0.002)), torch.device("cpu"), 0.0).run_ms >= 2


def measured(ratio: float | None, reach: float | None, at_least: bool = False) -> Measured:
    case = Case("x", "X", lambda: None, reference=lambda: None, reference_name="other", reach=reach, at_least=at_least)
    return Measured(case, Timing("x", 2.0, None if ratio is None else 2.0 / ratio, ratio, 9, 1.0))


def test_promises():
    assert measured(1.1, 1.15).met is True and measured(1.2, 1.15).met is False
    assert measured(0.01, 50, at_least=True).met is True and measured(0.1, 50, at_least=True).met is False
    assert measured(None, 1.15).met is None and measured(1.0, None).met is None
    text = table(result_of([measured(1.2, 1.15), measured(0.01, 50, True)], [], {}))
    assert "| X | 2.00 | other 1.67 | 1.20 | ≤ 1.15 MISSED | 1 |" in text and "100× faster | ≥ 50 met" in text


def test_growth_of_a_curve(tmp_path: Path):
    cases = [Case(f"c{size}", "", lambda: None, curve="pixels", size=size) for size in (10, 100, 1000, 10000)]
    lines = [Measured(case, Timing(case.name, 2 + 0.5 * case.size, None, None, 9, None)) for case in cases]
    assert straight_lines(result_of(lines, [], {})) == {"pixels": {"fixed_ms": 2.0, "ms_per_unit": 0.5, "r2": 1.0}}
    plot_curves(result_of(lines, [], {}), tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_unknown_device_and_case():
    with pytest.raises(AvatarError) as caught:
        run_render("tpu", None, "*", 0, None, Reporter())
    assert caught.value.code == "bad_request"
    with pytest.raises(AvatarError) as caught:
        run_render("cpu", None, "no such case", 0, None, Reporter())
    assert caught.value.code == "bad_request"
