"""What this machine offers, what is missing and how to get it. Imports torch only to ask it for devices."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

from . import __version__
from .resources import MIB, cache_folder, num_cores, num_threads

PACKAGES = {
    "torch": "tensors", "numpy": "arrays", "scipy": "sparse matrices", "numba": "the mesh rasteriser", "mediapipe": "face landmarks",
    "opencv-python-headless": "images", "av": "video files", "anny": "the default head model", "rich": "the progress bar",
}
"""Distribution name -> what the backend needs it for."""

SETUP_HINT = "Run 'make setup' in the checkout, or choose a Python that has it in the add-on's preferences."


def probe() -> dict[str, Any]:
    """The state of this machine, JSON types only.

    Returns:
        ``machine``, ``device``, ``versions``, ``rig_models``, ``folders``: name -> value; ``missing``: list of
        ``{"what", "why", "how"}``; ``is_ready``: a reconstruction can be started.
    """
    versions = {name: _version(name) for name in PACKAGES}
    missing = [{"what": name, "why": f"needed for {PACKAGES[name]}", "how": SETUP_HINT} for name, version in versions.items() if version is None]
    if sys.version_info[:2] != (3, 11):
        missing.append({"what": "Python 3.11", "why": f"this is {platform.python_version()}", "how": "Install Python 3.11 and make a new environment with it."})
    device, trouble = _device()
    if trouble:
        missing.append({"what": "a working torch", "why": trouble, "how": SETUP_HINT})
    folders = {"cache": str(cache_folder()), "cache_is_writable": _is_writable(cache_folder()), "disk_free_gib": _free_gib(cache_folder())}
    if not folders["cache_is_writable"]:
        missing.append({"what": "a writable cache folder", "why": f"{cache_folder()} cannot be written", "how": "Set AVATAR_CACHE to a folder you may write to."})
    return {
        "machine": {
            "video_avatar": __version__, "python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}", "cores": num_cores(),
            "threads": num_threads(), "memory_mib": _memory_mib(),
        },
        "device": device,
        "versions": versions,
        "rig_models": {
            "anny": "ready" if importlib.util.find_spec("anny") else None,
            "flame": "give your own file: --rig flame:FILE",
            "ict": "give your own file: --rig ict:PATH",
        },
        "folders": folders,
        "missing": missing,
        "is_ready": not missing,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _device() -> tuple[dict[str, Any], str]:
    """What ``auto`` means here, the CUDA devices, and what is wrong with torch (empty when nothing is)."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"auto": "cpu", "cuda": []}, "" if importlib.util.find_spec("torch") is None else f"importing it fails: {error}"
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    names = [f"{torch.cuda.get_device_name(index)}, {torch.cuda.get_device_properties(index).total_memory // MIB} MiB" for index in range(count)]
    return {"auto": "cpu", "cuda": names}, ""


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // MIB
    except (AttributeError, ValueError, OSError):
        return None


def _existing(folder: Path) -> Path:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def _is_writable(folder: Path) -> bool:
    return os.access(_existing(folder), os.W_OK)


def _free_gib(folder: Path) -> float:
    return round(shutil.disk_usage(_existing(folder)).free / 1024**3, 1)
