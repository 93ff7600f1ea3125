"""The measured prototypes, loaded from outside the project when the folder is there; benchmarks compare with them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType


def load_prototype(folder: Path | None, name: str) -> ModuleType | None:
    """The module ``name`` of the prototypes' folder, or None when there is no such folder or file."""
    if folder is None or not (folder / f"{name}.py").is_file():
        return None
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
