"""Writing and reading files so that a killed process never leaves half of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AvatarError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary name beside ``path``; on success it becomes ``path``, on failure it is removed.

    Raises:
        AvatarError: ``bad_input`` when the folder is not writable, ``environment`` when the disk is full.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def storage_error(path: Path, error: OSError) -> AvatarError:
    """The typed form of an operating system error met while writing ``path``."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return AvatarError(
            "environment", f"The disk is full: cannot write {path}.", "Free some space or choose another folder, then run again; finished stages are kept.",
            {"path": str(path)},
        )
    return AvatarError("bad_input", f"Cannot write {path}: {error.strerror or error}.", "Choose a folder you may write to.", {"path": str(path)})


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes named arrays as one compressed ``.npz`` with equal bytes for equal content."""
    with replacing(path) as temporary, open(temporary, "wb") as handle:
        np.savez_compressed(handle, **{key: np.asarray(value) for key, value in arrays.items()})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads an ``.npz`` without ever unpickling.

    Raises:
        AvatarError: ``bad_input`` when the file is missing, truncated or holds Python objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise AvatarError("bad_input", f"{path} cannot be read: {error}.", "The file is missing or damaged; make it again.", {"path": str(path)}) from error


def write_json(path: Path, content: Any) -> None:
    """Writes strict JSON (no NaN), sorted keys, two spaces."""
    text = json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads JSON. Raises ``bad_input`` when the file is missing or is no JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AvatarError("bad_input", f"{path} cannot be read: {error}.", "The file is missing or damaged; make it again.", {"path": str(path)}) from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
