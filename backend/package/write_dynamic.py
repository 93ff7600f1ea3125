"""The asset kind ``dynamic_texture`` on its way into a package: three files and what is known about them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..errors import AvatarError
from ..storage import read_arrays, read_json, replacing
from .model import DYNAMIC_FILES, DYNAMIC_ID, DYNAMIC_KIND, EIGEN_FILE

INFO_FILE = "dynamic.json"
"""Beside the three files in the folder that a writer is given; its content becomes the asset's ``info``."""

Entry = tuple[str, str, list[str], list[str], list[str], dict[str, Any]]


def copy_dynamic(source: Path, built: Path) -> None:
    """Copies ``network.onnx``, ``network.npz`` and ``eigen.npz`` from a folder into the package that is being built.

    Raises:
        AvatarError: ``asset_missing`` when one of them is not there.
    """
    for path in DYNAMIC_FILES:
        file = Path(source) / Path(path).name
        if not file.is_file():
            raise AvatarError("asset_missing", f"{file} is missing.", "Make the dynamic texture again.", {"path": str(file)})
        with replacing(built / path) as part:
            shutil.copyfile(file, part)


def dynamic_entry(source: Path, built: Path) -> Entry:
    """Id, kind, files, dependencies, controls and info of the asset, for the index."""
    names = [str(name) for name in read_arrays(built / EIGEN_FILE)["input_names"]]
    info = read_json(Path(source) / INFO_FILE) if (Path(source) / INFO_FILE).is_file() else {}
    return (DYNAMIC_ID, DYNAMIC_KIND, list(DYNAMIC_FILES), ["head", "albedo"], names, info)
