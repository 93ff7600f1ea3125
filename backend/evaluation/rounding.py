"""Numbers as the report writes them."""

from __future__ import annotations

from typing import Any

import numpy as np


def number(value: Any) -> float | None:
    """A float with six significant places; None unless finite, because the report never invents."""
    value = float(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None
