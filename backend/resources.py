"""What the machine has and what a stage used of it. Standard library only, so it may be read before torch is imported."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path

MIB = 1 << 20


def num_cores() -> int:
    """Cores this process may use."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_threads(environ: MutableMapping[str, str], wanted: int | None = None) -> None:
    """Writes the thread policy into ``environ``; must run before numpy or torch is imported.

    Args:
        wanted: exactly this many threads, whatever the user has set; None = the policy.

    One core is left to Blender, and waiting threads sleep: threads that spin while they wait made steps 4 to 30 times slower
    on a machine that was shared with other work. What the user has set stays.
    """
    environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environ.setdefault("KMP_BLOCKTIME", "0")
    num_threads = str(wanted or max(1, num_cores() - 1))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        environ[name] = num_threads if wanted else environ.get(name, num_threads)
    environ.setdefault("NUMBA_CACHE_DIR", str(cache_folder() / "numba"))


def num_threads() -> int:
    """Threads the numerical libraries were told to use."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() and int(value) > 0 else num_cores()


def cache_folder() -> Path:
    """Where things that belong to the machine and to no clip are kept: ``AVATAR_CACHE``, else ``~/.cache/video_avatar``."""
    chosen = os.environ.get("AVATAR_CACHE")
    return Path(chosen) if chosen else Path.home() / ".cache" / "video_avatar"


@dataclasses.dataclass
class PeakMemory:
    """Filled when the block of ``measured_peak_memory`` ends. mib: MiB, or None where the system does not say."""

    mib: float | None = None


@contextlib.contextmanager
def measured_peak_memory() -> Iterator[PeakMemory]:
    """Measures the largest resident memory of this process during the block.

    Linux can reset its high-water mark (``/proc/self/clear_refs``). Elsewhere the mark of the whole process is given, which is
    an upper bound.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    peak = PeakMemory()
    try:
        yield peak
    finally:
        peak.mib = _high_water_mark_mib()


def _high_water_mark_mib() -> float | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(used / MIB if sys.platform == "darwin" else used / 1024, 1)
