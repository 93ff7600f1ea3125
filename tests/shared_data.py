"""Finds test data that lies beside the repository and is not part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "AVATAR_SHARED"


def shared_folder() -> Path:
    """The folder named by ``AVATAR_SHARED``, else ``shared`` beside the repository."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared"


def shared_path(name: str) -> Path:
    """``name`` inside the shared folder; the calling test is skipped, with the reason, when it is not there."""
    path = shared_folder() / name
    if not path.exists():
        pytest.skip(f"needs {name} from the shared test data ({VARIABLE} names its folder)")
    return path
