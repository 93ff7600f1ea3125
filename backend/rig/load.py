"""Finds, builds and caches the rig model that a setting names."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import AvatarError
from ..storage import file_sha256
from .model import RigModel, read_rig_model, write_rig_model
from .personal_neutral import with_resting_modes

CACHE_VARIABLE = "AVATAR_CACHE"


def default_cache_folder() -> Path:
    """Where made things are kept between runs: the variable ``AVATAR_CACHE``, else a folder in the user's cache."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "video_avatar"


def parse_rig_spec(spec: str) -> tuple[str, Path | None]:
    """``anny`` | ``flame:FILE`` | ``ict:PATH`` -> kind and path. Raises ``bad_request`` for anything else, ``asset_missing`` for a path that is not there."""
    kind, _, path = spec.partition(":")
    if not (spec == "anny" or (kind in ("flame", "ict") and path)):
        raise AvatarError("bad_request", f"rig is {spec!r}.", "Allowed: anny, flame:FILE, ict:PATH.", {"field": "rig", "value": spec, "allowed": "anny, flame:FILE, ict:PATH"})
    if kind == "anny":
        return kind, None
    location = Path(path).expanduser()
    if not location.exists():
        raise AvatarError("asset_missing", f"The {kind} model {location} does not exist.", "Point the rig setting to the file or folder you downloaded.", {"path": str(location)})
    return kind, location


def load_rig(spec: str, cache_folder: Path | None = None) -> RigModel:
    """The rig model ``spec`` names, without landmark embeddings (``capture.embed`` adds them).

    Args:
        spec: ``anny``, ``flame:FILE`` or ``ict:PATH``.
        cache_folder: where built models are kept; None = ``default_cache_folder()``. A cache that cannot be written is no error.

    Raises:
        AvatarError: ``bad_request`` for an unknown spec, ``asset_missing`` when the file is not there, ``bad_input`` when it is of another kind.
    """
    kind, location = parse_rig_spec(spec)
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    return cached_rig(folder / f"rig-{kind}-{rig_key(kind, location)}.npz", lambda: with_resting_modes(_build(kind, location)))


def cached_rig(path: Path, build: Callable[[], RigModel]) -> RigModel:
    """The rig model kept at ``path``; built and kept when it is not there or cannot be read."""
    if path.exists():
        with contextlib.suppress(AvatarError, TypeError, KeyError, ValueError):
            return read_rig_model(path)
    rig = build()
    with contextlib.suppress(AvatarError):
        write_rig_model(path, rig)
    return rig


def rig_key(kind: str, location: Path | None) -> str:
    """16 hexadecimal digits that change with the model's source data and with the code that reads it."""
    digest = hashlib.sha256(kind.encode())
    if kind == "anny":
        digest.update(importlib.metadata.version("anny").encode())
    elif location is not None and location.is_dir():
        for path in sorted(location.rglob("*.obj")):
            digest.update(f"{path.relative_to(location)} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
    elif location is not None:
        digest.update(file_sha256(location).encode())
    digest.update(code_sha256(Path(__file__).parent).encode())
    return digest.hexdigest()[:16]


def code_sha256(*sources: Path) -> str:
    """SHA-256 over the Python files given (a folder stands for all of its files), so that a cache follows the code that filled it."""
    digest = hashlib.sha256()
    for source in sources:
        for path in sorted(source.glob("*.py")) if source.is_dir() else [source]:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _build(kind: str, location: Path | None) -> RigModel:
    if kind == "anny":
        from .anny import build_anny

        return build_anny()
    assert location is not None  # noqa: S101  (parse_rig_spec gave one)
    if kind == "ict":
        from .ict import load_ict

        return load_ict(location)
    from .flame import load_flame

    return load_flame(location)
