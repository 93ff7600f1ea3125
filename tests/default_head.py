"""The default head, built once per test run."""

from __future__ import annotations

import functools

from backend.rig.anny import build_anny
from backend.rig.model import RigModel


@functools.cache
def default_head() -> RigModel:
    """What ``build_anny`` gives; frozen, so sharing it is safe as long as nobody writes into its arrays."""
    return build_anny()
