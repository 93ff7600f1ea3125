"""Runs one command: sets the threads, guards stdout, catches everything, ends with the right exit status."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from .. import protocol
from ..errors import CODES, AvatarError, Cancelled
from ..reporter import Reporter
from ..resources import cache_folder, prepare_threads
from .arguments import Command, parse

EXIT_CANCELLED = 130
EXIT_BY_CODE = {code: number for number, code in enumerate(CODES, start=2)}
"""Exit status of each error code: bad_request 2, bad_input 3, ... in the order of ``errors.CODES``."""

JOB_ID = "command-line"


@dataclasses.dataclass(frozen=True)
class Streams:
    """Where a command writes. out, err: text streams to the user. log_path: where everything else printed goes, or None."""

    out: IO[str]
    err: IO[str]
    log_path: Path | None


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status: 0, 130 when cancelled, or the error's number."""
    wants_json = "--json" in arguments
    try:
        command = parse(arguments)
    except AvatarError as error:
        return _fail(Streams(sys.stdout, sys.stderr, None), wants_json, error)
    prepare_threads(os.environ, command.settings.get("threads"))
    if command.kind == "worker":
        from ..worker import run_worker

        return run_worker()
    with guarded_streams() as streams:
        try:
            return _run(command, streams)
        except (Cancelled, KeyboardInterrupt):
            if command.is_json:
                _send(streams.out, protocol.Cancelled(JOB_ID))
            else:
                print("cancelled; finished stages are kept", file=streams.err)  # noqa: T201
            return EXIT_CANCELLED
        except AvatarError as error:
            traceback.print_exc()
            return _fail(streams, command.is_json, error)
        except MemoryError:
            traceback.print_exc()
            return _fail(streams, command.is_json, AvatarError("out_of_memory", "The machine ran out of memory.", "Use --preset draft or a shorter clip."))
        except ImportError as error:
            traceback.print_exc()
            text = f"This Python lacks something: {error}."
            return _fail(streams, command.is_json, AvatarError("environment", text, "Run 'make setup' again, or 'python -m backend probe'."))
        except Exception as error:
            traceback.print_exc()
            text = f"A mistake in the program: {type(error).__name__}: {error}."
            return _fail(streams, command.is_json, AvatarError("internal", text, "Please report it with the log file.", {"log": str(streams.log_path)}))


def _run(command: Command, streams: Streams) -> int:
    from .jobs import JOBS

    job = JOBS[command.kind]
    if command.is_json:
        from ..worker import WireReporter

        reporter: Reporter = WireReporter(JOB_ID, lambda message: _send(streams.out, message))
        with cancelled_by_signals(reporter):
            result = job.run(command.settings, reporter)
        _send(streams.out, protocol.Done(JOB_ID, result))
        return 0
    from .terminal import TerminalReporter

    with TerminalReporter(streams.err) as bar, cancelled_by_signals(bar):
        result = job.run(command.settings, bar)
    job.show(streams.out, result)
    return 0


def _fail(streams: Streams, is_json: bool, error: AvatarError) -> int:
    if is_json:
        _send(streams.out, protocol.Error(JOB_ID, error.code, error.message, error.hint, error.detail))
    else:
        from .terminal import show_error

        show_error(streams.err, error, streams.log_path)
    return EXIT_BY_CODE[error.code]


def _send(stream: IO[str], message: Any) -> None:
    stream.write(protocol.encode(message).decode("utf-8"))
    stream.flush()


@contextlib.contextmanager
def cancelled_by_signals(reporter: Reporter) -> Iterator[None]:
    """Ctrl-C and a polite termination cancel the job; a second Ctrl-C does not wait for it."""
    times = 0

    def handle(number: int, frame: object) -> None:
        nonlocal times
        times += 1
        reporter.cancel()
        if times > 1:
            raise KeyboardInterrupt

    before = [(number, signal.signal(number, handle)) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def guarded_streams() -> Iterator[Streams]:
    """Keeps the user's streams for us and sends descriptors 1 and 2 to a log file.

    Native libraries print to both; they would tear the progress bar and corrupt JSON lines. The log file is removed when
    nothing was printed to it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    log_path, log = _open_log()
    saved = sys.stdout, sys.stderr
    with open(kept[0], "w", encoding="utf-8", errors="backslashreplace") as out, open(kept[1], "w", encoding="utf-8", errors="backslashreplace", buffering=1) as err:
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout = sys.stderr = open(os.dup(log), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
        try:
            yield Streams(out, err, log_path)
        finally:
            sys.stdout.close()
            sys.stdout, sys.stderr = saved
            out.flush()
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            os.close(log)
            if log_path is not None:
                with contextlib.suppress(OSError):
                    if log_path.stat().st_size == 0:
                        log_path.unlink()


def _open_log() -> tuple[Path | None, int]:
    """A new log file, or the null device where none can be made. Keeps the newest 20 logs."""
    folder = cache_folder() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)[:-20]:
            old.unlink(missing_ok=True)
        path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return None, os.open(os.devnull, os.O_WRONLY)
