"""The worker: a child process that runs one job at a time and speaks ``protocol`` over its stdin and stdout.

Two threads. The main thread reads requests; one compute thread runs every job (numba's ``workqueue`` layer
aborts when two threads compute). ``docs/protocol.md`` tells the conversation.
"""

from __future__ import annotations

import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from . import __version__, protocol
from .errors import AvatarError, Cancelled
from .reporter import Reporter
from .worker_jobs import run_job

EXIT_GRACE_S = 3.0
"""How long a job may take to stop once nobody listens any more."""

PROGRESS_INTERVAL_S = 0.1
"""Progress of one stage is sent at most this often; its first and last reports always are."""

Send = Callable[[protocol.FromWorker], None]


def run_worker() -> int:
    """Serves jobs until stdin ends or ``shutdown`` comes; returns the exit status (0, or 2 when versions differ).

    Takes over the process: file descriptor 1 becomes stderr, so that prints of any library cannot reach the wire,
    and descriptor 0 becomes the null device, so that no library can swallow a request.
    """
    requests, wire = _take_standard_streams()
    worker = Worker(wire)
    try:
        return worker.serve(requests)
    finally:
        worker.stop(EXIT_GRACE_S)


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    sys.stdout.flush()
    requests = os.fdopen(os.dup(0), "rb")
    wire = os.fdopen(os.dup(1), "wb", buffering=0)  # duplicates are not inherited by grandchildren
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return requests, wire


class Worker:
    """The conversation: what was asked, what runs, what was answered.

    Args:
        wire: unbuffered binary stream for the answers; written whole lines at a time from both threads.
    """

    def __init__(self, wire: BinaryIO) -> None:
        self._wire = wire
        self._wire_lock = threading.Lock()  # not the one below: a reader that dawdles must not keep a cancel waiting
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[tuple[protocol.Run, WireReporter] | None] = queue.SimpleQueue()
        self._running: tuple[str, WireReporter] | None = None
        self._known_ids: set[str] = set()
        self._thread = threading.Thread(target=self._compute, name="compute", daemon=True)

    def serve(self, requests: BinaryIO) -> int:
        """Reads requests until the end of the stream; returns the exit status."""
        if not self._greet(requests):
            return 2
        self._thread.start()
        while line := requests.readline(protocol.MAX_LINE_BYTES + 1):
            try:
                message = protocol.decode_to_worker(line)
            except protocol.ProtocolError as error:
                self._send(_conversation_error(f"A message was not understood: {error}."))
                continue
            if isinstance(message, protocol.Run):
                self._start(message)
            elif isinstance(message, protocol.Cancel):
                self._cancel(message.id)
            elif isinstance(message, protocol.Shutdown):
                break
            else:
                self._send(_conversation_error("hello was said already."))
        return 0

    def stop(self, grace_s: float) -> None:
        """Cancels what runs, waits for it, and ends the process when it does not stop in time."""
        self._cancel_running()
        self._jobs.put(None)
        if self._thread.is_alive():
            self._thread.join(grace_s)
            if self._thread.is_alive():  # deep inside a native library: nobody listens, so do not hold the machine
                sys.stderr.flush()
                os._exit(3)

    def _greet(self, requests: BinaryIO) -> bool:
        line = requests.readline(protocol.MAX_LINE_BYTES + 1)
        if not line:
            return False
        try:
            hello = protocol.decode_to_worker(line)
        except protocol.ProtocolError as error:
            self._send(_conversation_error(f"The first message must be hello: {error}."))
            return False
        if not isinstance(hello, protocol.Hello):
            self._send(_conversation_error(f"The first message must be hello, not {hello.TYPE}."))
            return False
        if hello.protocol_version != protocol.PROTOCOL_VERSION:
            self._send(_conversation_error(
                f"The backend speaks protocol {protocol.PROTOCOL_VERSION}, {hello.client} speaks {hello.protocol_version}.",
                "Install the add-on and the backend of the same release.",
            ))
            return False
        self._send(protocol.Ready(protocol.PROTOCOL_VERSION, __version__, platform.python_version(), os.getpid()))
        return True

    def _start(self, run: protocol.Run) -> None:
        reporter = WireReporter(run.id, self._send)
        with self._lock:
            is_known, is_busy = run.id in self._known_ids, self._running is not None
            self._known_ids.add(run.id)
            if not is_known and not is_busy:
                self._running = (run.id, reporter)
        if is_known:  # an error with this id could be a second terminal message for the first job
            self._send(_conversation_error(f"The job id {run.id!r} was used before."))
        elif is_busy:
            self._send(protocol.Error(run.id, "bad_request", "Another job is running.", "Wait for it or cancel it."))
        else:
            self._jobs.put((run, reporter))

    def _cancel_running(self) -> None:
        with self._lock:
            if self._running:
                self._running[1].cancel()

    def _cancel(self, job_id: str) -> None:
        with self._lock:
            if self._running and self._running[0] == job_id:
                self._running[1].cancel()

    def _compute(self) -> None:
        while job := self._jobs.get():
            run, reporter = job
            last = _run_to_its_end(run, reporter)
            with self._lock:
                self._running = None  # before the terminal message: whoever reads it may start the next job at once
            self._send(last)

    def _send(self, message: protocol.FromWorker) -> None:
        try:
            line = protocol.encode(message)
        except protocol.ProtocolError as error:
            line = protocol.encode(_replacement(message, error))
        try:
            with self._wire_lock:
                rest = memoryview(line)
                while rest:
                    rest = rest[self._wire.write(rest) :]
        except OSError:  # the other side is gone; the end of stdin will tell the main thread the same
            self._cancel_running()


def _run_to_its_end(run: protocol.Run, reporter: Reporter) -> protocol.FromWorker:
    """Runs a job; whatever happens becomes its one terminal message. A front door: the one place that catches all."""
    try:
        return protocol.Done(run.id, run_job(run.kind, run.settings, reporter))
    except Cancelled:
        return protocol.Cancelled(run.id)
    except AvatarError as error:
        return protocol.Error(run.id, error.code, error.message, error.hint, error.detail)
    except MemoryError:
        traceback.print_exc()
        return protocol.Error(run.id, "out_of_memory", "The machine ran out of memory.", "Choose a lower quality or a shorter clip.")
    except BaseException as error:
        traceback.print_exc()
        module = error.name or "" if isinstance(error, ImportError) else ""
        if module and not module.startswith(__package__):
            text = f"The backend's Python cannot load {module}: {error}."
            return protocol.Error(run.id, "environment", text, "Install the backend's requirements into it.", {"module": module})
        return protocol.Error(run.id, "internal", f"A mistake in the program: {type(error).__name__}: {error}.", "The log file has the details.")


def _conversation_error(message: str, hint: str = "") -> protocol.Error:
    return protocol.Error("", "protocol", message, hint)


def _replacement(message: protocol.FromWorker, error: protocol.ProtocolError) -> protocol.FromWorker:
    """What is sent instead of a message that cannot be encoded; a terminal message stays terminal."""
    job_id = getattr(message, "id", "")
    text = f"A {message.TYPE} message could not be sent: {error}."
    if isinstance(message, protocol.TERMINAL):
        return protocol.Error(job_id, "internal", text.encode("ascii", "backslashreplace").decode())
    return protocol.Log(job_id, text.encode("ascii", "backslashreplace").decode())


class WireReporter(Reporter):
    """Sends what a job reports. Used by the compute thread; ``cancel`` may come from any thread."""

    def __init__(self, job_id: str, send: Send) -> None:
        super().__init__()
        self._id = job_id
        self._send = send
        self._stage = ""
        self._next_s = 0.0
        self._overall = -1.0
        self._remaining_s = -1.0

    def progress(self, stage: str, done: float, total: float, unit: str = "") -> None:
        self.check()
        now_s = time.monotonic()
        if stage == self._stage and now_s < self._next_s and done < total:
            return
        self._stage, self._next_s = stage, now_s + PROGRESS_INTERVAL_S
        self._send(protocol.Progress(self._id, stage, float(done), float(total), unit, self._overall, self._remaining_s))

    def overall(self, share: float, remaining_s: float | None) -> None:
        """Share of the whole job that is done, 0..1, and seconds left; travels with the next progress message."""
        self._overall, self._remaining_s = float(share), -1.0 if remaining_s is None else float(remaining_s)

    def log(self, text: str) -> None:
        self._send(protocol.Log(self._id, text))

    def artifact(self, path: Path) -> None:
        self._send(protocol.Artifact(self._id, os.fspath(path)))


