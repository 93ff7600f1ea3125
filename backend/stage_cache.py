"""Finished work on disk: every stage's result lies in its own folder and is used again when nothing it depends on changed.

A result's folder is named after the stage and a hash of everything the result depends on: the stage's code version, its
settings and the content of its inputs. The folder is built under a temporary name and renamed when complete, and
``result.json``, the commit mark, is written last. So a process that is killed at any moment leaves either a whole result or
something the next run throws away. Standard library only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from . import __version__
from .errors import AvatarError
from .resources import MIB, measured_peak_memory
from .storage import file_sha256, read_json, storage_error, write_json

FORMAT_VERSION = 1
COMMIT_MARK = "result.json"


@dataclasses.dataclass(frozen=True)
class StageResult:
    """A finished stage.

    name: of the stage. folder: where its files are. key: hash of everything it depends on.
    content_sha256: hash of its files, what stages that use this result depend on.
    seconds: wall time of the run that computed it. frames: clip frames it worked on, or None.
    peak_memory_mib: largest resident memory of the process during that run, or None where it cannot be measured.
    was_reused: it was found, not computed.
    """

    name: str
    folder: Path
    key: str
    content_sha256: str
    seconds: float
    frames: int | None
    peak_memory_mib: float | None
    was_reused: bool

    def to_report(self) -> dict[str, Any]:
        """The entry under ``stages.<name>`` of a report."""
        return {"seconds": self.seconds, "frames": self.frames, "peak_memory_mib": self.peak_memory_mib}


class StageCache:
    """The results in one work folder. Use as a context manager: only one process at a time works in a folder."""

    def __init__(self, work: Path) -> None:
        self.work = Path(work)
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> StageCache:
        try:
            self.work.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.work / ".lock", "ab")
        except OSError as error:
            raise storage_error(self.work, error) from error
        if not _try_lock(self._lock):
            self._lock.close()
            self._lock = None
            raise AvatarError(
                "bad_input", f"Another run is already working in {self.work}.", "Wait for it or stop it, or choose another output.", {"path": str(self.work)}
            )
        self._remove_leftovers()
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        is_empty = not any(entry.name != ".lock" for entry in self.work.iterdir())
        if is_empty:
            with contextlib.suppress(OSError):
                (self.work / ".lock").unlink()
                self.work.rmdir()
        self._lock.close()
        self._lock = None

    def run(
        self, name: str, *, code_version: str, inputs: Mapping[str, str], config: Mapping[str, Any], compute: Callable[[Path], int | None]
    ) -> StageResult:
        """Returns the result of a stage, computing it only when it is not there.

        Args:
            name: of the stage.
            code_version: changes with the code that computes the stage.
            inputs: hash of every input, by name.
            config: the stage's settings, JSON types.
            compute: writes the result's files into the folder it is given; returns the number of frames it worked on.

        Raises:
            AvatarError: ``environment`` when the disk is full, ``out_of_memory``, and whatever ``compute`` raises.
        """
        key = stage_key(name, code_version, inputs, config)
        folder = self.work / f"{name}-{key[:16]}"
        found = self._read(name, folder, key)
        if found is not None:
            return found
        temporary = self.work / f".{folder.name}.{os.getpid()}.part"
        started = time.monotonic()
        try:
            if folder.exists():
                shutil.rmtree(folder)
            temporary.mkdir()
            with measured_peak_memory() as peak:
                frames = compute(temporary)
            mark = {
                "format_version": FORMAT_VERSION,
                "writer_version": __version__,
                "stage": name,
                "key": key,
                "code_version": code_version,
                "inputs": dict(inputs),
                "config": dict(config),
                "files": _file_hashes(temporary),
                "seconds": round(time.monotonic() - started, 3),
                "frames": frames,
                "peak_memory_mib": peak.mib,
            }
            write_json(temporary / COMMIT_MARK, mark)
            os.rename(temporary, folder)
        except OSError as error:
            raise storage_error(folder, error) from error
        except MemoryError as error:
            raise AvatarError(
                "out_of_memory", f"Not enough memory for the stage {name}.", "Choose the draft preset or a shorter clip.", {"stage": name, "free_mib": _free_mib()}
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return _result(folder, mark, was_reused=False)

    def has(self, name: str, *, code_version: str, inputs: Mapping[str, str], config: Mapping[str, Any]) -> bool:
        """Whether ``run`` with these arguments would find a result (its files are not checked)."""
        return (self.work / f"{name}-{stage_key(name, code_version, inputs, config)[:16]}" / COMMIT_MARK).exists()

    def _read(self, name: str, folder: Path, key: str) -> StageResult | None:
        """The result in ``folder``, or None when there is none or it is damaged."""
        try:
            mark = read_json(folder / COMMIT_MARK)
            is_good = mark["format_version"] == FORMAT_VERSION and mark["key"] == key and mark["stage"] == name
            return _result(folder, mark, was_reused=True) if is_good and mark["files"] == _file_hashes(folder) else None
        except (AvatarError, OSError, KeyError, TypeError):
            return None

    def _remove_leftovers(self) -> None:
        """Removes what killed runs left. Safe because this process holds the lock."""
        for entry in self.work.iterdir():
            if entry.name.startswith(".") and entry.name.endswith(".part"):
                shutil.rmtree(entry, ignore_errors=True)


def stage_key(name: str, code_version: str, inputs: Mapping[str, str], config: Mapping[str, Any]) -> str:
    """SHA-256 of everything a stage's result depends on, in hexadecimal."""
    text = json.dumps([FORMAT_VERSION, name, code_version, dict(inputs), dict(config)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _result(folder: Path, mark: Mapping[str, Any], was_reused: bool) -> StageResult:
    content = json.dumps({path: entry["sha256"] for path, entry in mark["files"].items()}, sort_keys=True)
    return StageResult(
        mark["stage"], folder, mark["key"], hashlib.sha256(content.encode()).hexdigest(), mark["seconds"], mark["frames"], mark["peak_memory_mib"], was_reused
    )


def _file_hashes(folder: Path) -> dict[str, dict[str, Any]]:
    """Path inside the folder -> size and hash, of every file but the commit mark."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / COMMIT_MARK)
    return {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)} for path in files}


def _free_mib() -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    return None


def _try_lock(handle: IO[bytes]) -> bool:
    """Locks an open file for this process; the system releases it even when the process is killed."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        locking: Any = msvcrt
        try:
            locking.locking(handle.fileno(), locking.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
