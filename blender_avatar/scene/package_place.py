"""Where the package of an imported avatar lies now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bpy

from ..backend_link import backend_module
from .names import camera_of

FOLDER = "avatar_folder"
"""Custom property of the root empty: bare name of the package's folder. Its path is no business of whoever gets the .blend."""


def package_folder_of(root: bpy.types.Object, chosen: str = "", known: str = "") -> Path:
    """The folder ``NAME.avatar`` of an avatar in the scene: as chosen, as known, around its background clip, or beside the .blend.

    Args:
        chosen: a folder that the artist gives; only that one is tried then. known: from where it was imported, if that is remembered.

    Raises:
        AvatarError: ``asset_missing`` when it is nowhere, ``bad_input`` when the chosen folder belongs to another clip.
    """
    error = backend_module("errors").AvatarError
    tried = []
    for folder in [Path(bpy.path.abspath(chosen))] if chosen else _places(root, known):
        tried.append(str(folder))
        source = _source_of(folder)
        if source == root.get("source_sha256"):
            return folder
        if chosen and source is not None:
            raise error("bad_input", f"{folder} was made from another clip than {root.name}.", "Choose the folder that this avatar was imported from.", {"path": str(folder)})
    detail = {"tried": tried}
    text = f"The avatar folder of {root.name} was not found" + (f" ({tried[0]})." if tried else ".")
    raise error("asset_missing", text, "Choose it under Track › Avatar folder, or put it back where it was.", detail)


def _places(root: bpy.types.Object, known: str) -> Iterator[Path]:
    if known:
        yield Path(known)
    camera = camera_of(root)
    for background in camera.data.background_images if camera else ():
        if background.clip:
            yield Path(bpy.path.abspath(background.clip.filepath)).parent.parent
    name = Path(str(root.get(FOLDER, ""))).name  # custom properties can be edited: no path leads elsewhere
    if bpy.data.filepath and name:
        yield Path(bpy.data.filepath).parent / name


def _source_of(folder: Path) -> str | None:
    """Hash of the clip that a package was made from; None when there is no readable package."""
    try:
        return str(json.loads((folder / "avatar.json").read_text(encoding="utf-8"))["source"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
