"""The worker as a child process: starting, writing, reading without waiting, ending."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from .wire import protocol

REMOVED_VARIABLES = ("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES")
"""Blender may set these for its own libraries; PYTHON* go too. The child has its own."""


@dataclasses.dataclass(frozen=True)
class Launch:
    """How the worker is started."""

    python: Path
    """Python of the backend's environment."""
    main: Path
    """``backend/__main__.py``."""
    log_path: Path
    """Where the worker's stderr goes; an older log is kept beside it."""

    def command(self) -> list[str]:
        """The command line: a list, never a shell."""
        return [str(self.python), "-I", str(self.main), "worker"]


@dataclasses.dataclass(frozen=True)
class Garbage:
    """The child wrote a line that is no message."""

    problem: str


@dataclasses.dataclass(frozen=True)
class Exited:
    """The child is gone."""

    returncode: int


Event = protocol.FromWorker | Garbage | Exited


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without what would lead another Python astray."""
    return {key: value for key, value in environ.items() if not key.startswith("PYTHON") and key not in REMOVED_VARIABLES}


class WorkerProcess:
    """A running worker. All methods are for the main thread; one daemon thread reads the child's lines into a queue.

    Raises:
        OSError: the program cannot be started, or the log cannot be written.
    """

    def __init__(self, launch: Launch, environ: Mapping[str, str]) -> None:
        launch.log_path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            os.replace(launch.log_path, launch.log_path.with_suffix(".previous.log"))
        with open(launch.log_path, "wb") as log:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                launch.command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=clean_environment(environ),
                cwd=launch.log_path.parent,
                start_new_session=sys.platform != "win32",  # what hits Blender's terminal must not hit the child
                creationflags=_windows_flags(),
            )
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="video_avatar_reader", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def send(self, message: protocol.ToWorker) -> bool:
        """Writes one message; False when the child no longer listens (an ``Exited`` event follows).

        Raises:
            ProtocolError: the message is not one that can be sent.
        """
        assert self._process.stdin is not None
        line = protocol.encode(message)
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except (OSError, ValueError):  # ValueError: closed by close()
            return False
        return True

    def events(self) -> Iterator[Event]:
        """Everything that has come in since the last call, without waiting."""
        while True:
            try:
                yield self._events.get_nowait()
            except queue.Empty:
                return

    def terminate(self) -> None:
        """Asks the operating system to end the child and what it started."""
        self._signal("SIGTERM")

    def kill(self) -> None:
        """Ends the child at once."""
        self._signal("SIGKILL")

    def close(self, grace_s: float = 1.0) -> None:
        """Ends the child, by asking first, and waits until it and the reader thread are gone."""
        assert self._process.stdin is not None
        self.send(protocol.Shutdown())
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        for end in (self.terminate, self.kill, lambda: None):
            try:
                self._process.wait(grace_s)
                break
            except subprocess.TimeoutExpired:
                end()
        self._reader.join(grace_s)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while line := stream.readline(protocol.MAX_LINE_BYTES + 1):
                try:
                    self._events.put(protocol.decode_from_worker(line))
                except protocol.ProtocolError as error:
                    self._events.put(Garbage(str(error)))
        self._events.put(Exited(self._process.wait()))

    def _signal(self, name: str) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, getattr(signal, name))  # its own session, so the group is the child's


def _windows_flags() -> int:
    if sys.platform != "win32":
        return 0
    return subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
