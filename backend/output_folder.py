"""The folder the user asked for: what may be written there, and how it appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .errors import AvatarError
from .package.model import KNOWN_FILES
from .package.write import check_output
from .storage import storage_error


def avatar_name(out: Path) -> str:
    """``me`` for ``.../me.avatar``."""
    return out.name.removesuffix(".avatar") or out.name


def work_folder(out: Path) -> Path:
    """Where the stages' results of ``out`` lie: ``me.work`` beside ``me.avatar``. May be deleted at any time."""
    return out.with_name(f"{avatar_name(out)}.work")


def check_writable(out: Path) -> None:
    """Raises ``bad_input`` when ``out`` cannot be made: tries it, in the nearest folder that exists, and leaves nothing behind."""
    parent = out.parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise storage_error(parent, error) from error


def publish(sources: Sequence[Path], out: Path, overwrite: bool, finish: Callable[[Path], None]) -> None:
    """Makes ``out`` from the files of ``sources``.

    The new folder is built beside ``out`` and renamed. Where a package is replaced, files in it that no package wrote are kept.
    The caller holds the work folder's lock.

    Args:
        sources: folders whose content is copied, later ones over earlier ones.
        out: the folder to make.
        overwrite: ``out`` may exist if it is a package.
        finish: called with the new folder before it is renamed.

    Raises:
        AvatarError: ``bad_input`` or ``environment`` (disk full); ``out`` is as it was.
    """
    temporary, old = _beside(out, "part"), _beside(out, "old")
    try:
        temporary.mkdir(parents=True)
        for source in sources:
            shutil.copytree(source, temporary, dirs_exist_ok=True)
        finish(temporary)
        check_output(out, overwrite)
        if out.exists():
            _keep_foreign_files(out, temporary)
            os.rename(out, old)
        os.rename(temporary, out)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        recover(out)
        raise storage_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def recover(out: Path) -> None:
    """Puts right what a killed ``publish`` left: the old package comes back if the new one is not there yet."""
    old, temporary = _beside(out, "old"), _beside(out, "part")
    if old.exists() and not os.path.lexists(out):
        os.rename(old, out)
    for leftover in (old, temporary):
        shutil.rmtree(leftover, ignore_errors=True)


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(f".{out.name}.{kind}")


def _keep_foreign_files(old: Path, new: Path) -> None:
    """Gives the files in ``old`` that no package wrote a second name in ``new``."""
    written = {Path(known) for known in KNOWN_FILES}
    for path in sorted(old.rglob("*")):
        relative = path.relative_to(old)
        if path.is_dir() and not path.is_symlink():
            (new / relative).mkdir(parents=True, exist_ok=True)
        elif relative not in written:
            if os.path.lexists(new / relative):
                raise AvatarError("bad_input", f"{path} is in the way and was not written by Video Avatar.", "Move it away.", {"path": str(path)})
            with contextlib.suppress(OSError):
                os.link(path, new / relative, follow_symlinks=False)
                continue
            shutil.copy2(path, new / relative, follow_symlinks=False)
