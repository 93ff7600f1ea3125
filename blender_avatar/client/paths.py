"""Where the backend lies and which Python runs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

PYTHON_VARIABLE = "AVATAR_BACKEND_PYTHON"


def backend_dir() -> Path:
    """The ``backend`` folder: a child of the add-on once installed, its sibling in a checkout."""
    add_on = Path(__file__).resolve().parent.parent
    child = add_on / "backend"
    return child if child.is_dir() else add_on.parent / "backend"


def backend_main(preference: str = "") -> Path | None:
    """The program of the worker, or None when this build carries no backend (the light one).

    Args:
        preference: a folder chosen by the user that is, or holds, a complete ``backend`` folder; empty = the one that came along.
    """
    folders = [Path(preference), Path(preference) / "backend"] if preference else [backend_dir()]
    return next((folder / "__main__.py" for folder in folders if (folder / "__main__.py").is_file() and (folder / "worker.py").is_file()), None)


def find_backend_python(preference: str, private_folder: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The Python of the backend's own environment, or None when there is none.

    The first that exists of: the user's preference (a program, or the folder of a virtual environment), the private folder,
    the variable ``AVATAR_BACKEND_PYTHON``, and the ``.venv`` of a checkout. Only looks at files; starts nothing.
    """
    candidates: list[Path] = []
    if preference:
        candidates += [Path(preference), python_in(Path(preference))]
    if private_folder:
        candidates.append(python_in(private_folder))
    if environ.get(PYTHON_VARIABLE):
        candidates.append(Path(environ[PYTHON_VARIABLE]))
    candidates.append(python_in(backend_dir().parent / ".venv"))
    return next((path.absolute() for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)


def python_in(environment: Path) -> Path:
    """The Python program of a virtual environment."""
    return environment / "Scripts" / "python.exe" if sys.platform == "win32" else environment / "bin" / "python"


def output_folder(video: Path, out: Path | None, overwrite: bool) -> Path:
    """Which folder the avatar of ``video`` becomes.

    Args:
        out: ``NAME.avatar`` is taken as it is; any other folder is where the avatar goes; None = beside the clip.
        overwrite: an avatar of that name may be replaced; otherwise ``NAME_2.avatar``, ``NAME_3.avatar`` ... is the first free name.
    """
    if out and out.suffix == ".avatar":
        return out
    folder = out or video.parent
    path, number = folder / f"{video.stem}.avatar", 1
    while path.exists() and not overwrite:
        number += 1
        path = folder / f"{video.stem}_{number}.avatar"
    return path
