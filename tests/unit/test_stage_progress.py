"""The bar over many stages, and the thread policy."""

from __future__ import annotations

import pytest

from backend.errors import Cancelled
from backend.reporter import Reporter
from backend.resources import measured_peak_memory, num_cores, prepare_threads
from backend.stage_progress import StageProgress


class Recorder(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple] = []

    def progress(self, stage, done, total, unit=""):
        self.check()
        self.said.append(("progress", stage, done, total, unit))

    def overall(self, share, remaining_s):
        self.said.append(("overall", share, remaining_s))

    def shares(self) -> list[tuple[float, float | None]]:
        return [(entry[1], entry[2]) for entry in self.said if entry[0] == "overall"]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_share_and_time_left() -> None:
    inner, clock = Recorder(), Clock()
    bar = StageProgress(inner, {"a": 10.0, "b": 30.0}, clock)
    bar.begin("a")
    clock.now += 5
    bar.progress("inner name", 5, 10, "frames")
    assert inner.said[-1] == ("progress", "a", 5, 10, "frames"), "the pipeline's name for the stage, not the stage's own"
    share, left = inner.shares()[-1]
    assert share == pytest.approx(5 / 40) and left == pytest.approx(35.0)
    bar.end("a", was_reused=False)
    bar.begin("b")
    clock.now += 20
    bar.progress("b", 1, 2)
    share, left = inner.shares()[-1]
    assert share == pytest.approx(25 / 40) and left == pytest.approx(15.0)
    bar.end("b", was_reused=False)
    assert inner.shares()[-1] == (1.0, pytest.approx(0.0))


def test_reused_stages_do_not_make_the_rest_look_fast() -> None:
    inner, clock = Recorder(), Clock()
    bar = StageProgress(inner, {"a": 90.0, "b": 10.0}, clock)
    bar.begin("a")
    bar.end("a", was_reused=True)
    bar.begin("b")
    clock.now += 10
    bar.progress("b", 1, 2)
    share, left = inner.shares()[-1]
    assert share == pytest.approx(0.95) and left == pytest.approx(10.0)


def test_share_never_goes_back() -> None:
    inner = Recorder()
    bar = StageProgress(inner, {"a": 1.0, "b": 1.0})
    for name in ("a", "b"):
        bar.begin(name)
        for done in range(5):
            bar.progress(name, done, 4)
        bar.end(name, was_reused=False)
    shares = [share for share, _ in inner.shares()]
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_cancel_reaches_the_stage() -> None:
    inner = Recorder()
    bar = StageProgress(inner, {"a": 1.0})
    bar.begin("a")
    inner.cancel()
    with pytest.raises(Cancelled):
        bar.progress("a", 1, 2)
    with pytest.raises(Cancelled):
        bar.check()


def test_thread_policy_keeps_what_the_user_set() -> None:
    environ = {"OMP_NUM_THREADS": "7"}
    prepare_threads(environ)
    assert environ["OMP_WAIT_POLICY"] == "PASSIVE" and environ["OMP_NUM_THREADS"] == "7"
    assert environ["NUMBA_NUM_THREADS"] == str(max(1, num_cores() - 1))


def test_peak_memory_sees_an_allocation() -> None:
    with measured_peak_memory() as before:
        pass
    with measured_peak_memory() as peak:
        block = bytearray(64 << 20)
        block[::4096] = b"x" * len(block[::4096])
        del block
    assert before.mib is None or peak.mib > before.mib + 50
