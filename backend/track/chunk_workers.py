"""Chunks of a clip solved side by side: one single-thread process each, the same bits whatever their number.

A process gets everything it needs with each chunk and keeps nothing between two. It ends with its parent, and is killed when the job
is cancelled: between two looks at the pictures it would not hear.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.shared_memory import SharedMemory
from typing import Any, Protocol

import numba
import numpy as np
import torch

from ..errors import AvatarError
from ..reporter import Reporter
from ..resources import num_cores
from .appearance import Appearance
from .clip_fit import ClipFit
from .energy import Shared
from .pins import PinPoints
from .refine import Refined
from .state import FrameStates

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
POLL_S = 0.2
"""How often the parent looks for progress and for a cancelled job."""


class Step(Protocol):
    """Told that some rounds are done (0: none, only look whether to stop); raises ``Cancelled``."""

    def __call__(self, rounds: int = 1) -> None: ...


@dataclasses.dataclass(frozen=True)
class ChunkJob:
    """One chunk. fit: of its frames only. states: where to start. is_held: (F,) bool or None. pins: of its frames, or None."""

    fit: ClipFit
    shared: Shared
    states: FrameStates
    appearance: Appearance
    is_held: np.ndarray | None
    pins: PinPoints | None


class ChunkSolver(Protocol):
    """What solves one chunk; it is sent to the processes once."""

    def solve_chunk(self, job: ChunkJob, step: Step, reporter: Reporter) -> Refined: ...


def solve_chunks(common: ChunkSolver, jobs: Sequence[ChunkJob], num_workers: int, step: Step) -> list[Refined]:
    """Solves chunks, in their order.

    Args:
        common: what all chunks share; its ``fit`` is not used. num_workers: 0 = one core is left free, 1 = in this process.
        step: hears of every round; cancels.

    Raises:
        AvatarError: ``environment`` when a process died; whatever a chunk raises.
        Cancelled: no process of ours is left then.
    """
    workers = min(num_workers or max(1, num_cores() - 1), len(jobs))
    if workers <= 1:
        with _one_thread():
            return [common.solve_chunk(job, step, _Stoppable(step)) for job in jobs]
    common = dataclasses.replace(common, fit=common.fit.part(slice(0, 0)))  # the clip's masks are large, and each chunk brings its own
    board = SharedMemory(create=True, size=8 * len(jobs))
    assert board.buf is not None
    counts = board.buf.cast("q")  # rounds done of each chunk; new shared memory is zero
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent)
    futures: list[Future[Refined | dict[str, Any]]] = []
    is_finished = False
    try:
        with _children_with_one_thread():
            futures = [pool.submit(_solve_one, common, job, board.name, number) for number, job in enumerate(jobs)]
        told, waiting = 0, set(futures)
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_EXCEPTION)
            for future in done:
                _answer(future)
            rounds = sum(counts[: len(jobs)])
            step(rounds - told)
            told = rounds
        is_finished = True
        return [_answer(future) for future in futures]
    finally:
        if not is_finished:
            for process in list((pool._processes or {}).values()):
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
        counts.release()
        board.close()
        board.unlink()


def _answer(future: Future[Refined | dict[str, Any]]) -> Refined:
    try:
        answer = future.result()
    except BrokenProcessPool as error:
        raise AvatarError(
            "environment", "A process that compares pixels ended unexpectedly; perhaps the memory did not suffice.",
            "Set track.num_workers to 1, close other programs, or choose the draft preset.", {"stage": "track"},
        ) from error
    if isinstance(answer, dict):
        raise AvatarError(**answer)
    return answer


def _solve_one(common: ChunkSolver, job: ChunkJob, board_name: str, number: int) -> Refined | dict[str, Any]:
    """In the process: a typed error travels as its fields."""
    board = SharedMemory(board_name)
    assert board.buf is not None
    counts = board.buf.cast("q")

    def step(rounds: int = 1) -> None:
        counts[number] += rounds

    try:
        with _one_thread():
            return common.solve_chunk(job, step, Reporter())
    except AvatarError as error:
        return error.to_dict()
    finally:
        counts.release()
        board.close()


def _end_with_parent() -> None:
    """A parent that was killed cannot say so; nobody would ever wake this process."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Stoppable(Reporter):
    def __init__(self, step: Step) -> None:
        super().__init__()
        self._step = step

    def check(self) -> None:
        self._step(0)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for this process's torch and compiled kernels meanwhile."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


@contextlib.contextmanager
def _children_with_one_thread() -> Iterator[None]:
    """Processes started meanwhile find the thread counts in their environment, where libraries look when they are imported."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
