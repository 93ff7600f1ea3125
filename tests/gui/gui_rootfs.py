"""A folder with a real Blender and a virtual screen in it, made once: Debian 13's packages in ``.gui-chroot/rootfs``.

Needs Linux on x86-64, root (debootstrap) and Debian's package mirror the first time; about 75 s and 1.4 GB. Nothing is installed on the host
except, when missing, debootstrap itself. ``AVATAR_GUI_CHROOT`` names another folder to keep it in.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUITE = "trixie"
PACKAGES = (
    "blender", "python3-numpy", "python3-requests", "xvfb", "xauth", "libgl1-mesa-dri", "libegl1", "libegl-mesa0", "x11-utils", "xdotool", "imagemagick",
    "fonts-dejavu-core",
)  # fmt: skip
RECIPE = f"1 {SUITE} {' '.join(PACKAGES)}\n"
STEP_LIMIT_S = 900


class Unavailable(Exception):
    """Why there can be no real window on this machine."""


def ensure_rootfs() -> Path:
    """The root folder, made when it is missing or of another recipe.

    Raises:
        Unavailable: with the reason.
    """
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise Unavailable(f"the virtual screen is made for Linux on x86-64, this is {platform.system()} on {platform.machine()}")
    if os.geteuid() != 0:
        raise Unavailable("making and entering the folder with the real Blender needs root")
    home = Path(os.environ.get("AVATAR_GUI_CHROOT") or ROOT / ".gui-chroot")
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs at once must not make it twice
        rootfs, mark = home / "rootfs", home / "rootfs" / "recipe"
        if not mark.exists() or mark.read_text() != RECIPE:
            _make(rootfs)
    _run(["chroot", str(rootfs), "true"], "entering it")
    return rootfs


def _make(rootfs: Path) -> None:
    _ensure_debootstrap()
    part = rootfs.with_name("rootfs.part")
    for old in (part, rootfs):
        if old.exists():
            shutil.rmtree(old)
    _run(["debootstrap", "--variant=minbase", SUITE, str(part)], "making the base system")
    _run(["chroot", str(part), "apt-get", "install", "-y", "--no-install-recommends", *PACKAGES], "installing Blender into it")
    _run(["chroot", str(part), "apt-get", "clean"], "tidying it")
    (part / "recipe").write_text(RECIPE)
    part.rename(rootfs)


def _ensure_debootstrap() -> None:
    if shutil.which("debootstrap"):
        return
    if not shutil.which("apt-get"):
        raise Unavailable("debootstrap is missing and there is no apt-get to install it with")
    try:
        _run(["apt-get", "install", "-y", "debootstrap"], "installing debootstrap")
    except Unavailable:  # the package lists of a fresh container are empty
        _run(["apt-get", "update"], "reading the package lists")
        _run(["apt-get", "install", "-y", "debootstrap"], "installing debootstrap")


def _run(command: list[str], what: str) -> None:
    environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C", "HOME": "/root"}
    environ |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
    try:
        done = subprocess.run(command, env=environ, capture_output=True, text=True, errors="replace", timeout=STEP_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{what} failed: {error}") from error
    if done.returncode:
        tail = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
        raise Unavailable(f"{what} failed: {tail}")
