"""Writes requirements.lock: every package of pyproject.toml and what it needs, pinned and hashed, for this platform.

Run by ``make lock``. Uses pip's own resolver; the lock names no place to download from.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
HEADER = """\
# Made by `make lock` for Python 3.11 on Linux x86-64. Install with --no-deps --require-hashes (see the Makefile).
# Not in here: torch (exact version in pyproject.toml) and what pyproject.toml says to leave out.
"""


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    settings = project["tool"]["video-avatar"]["lock"]
    found = resolve(wanted)
    needed = closure(wanted, found, set(settings["leave-out"]))
    lines = [f"{name}=={found[name]['metadata']['version']} \\\n    --hash=sha256:{sha256(found[name])}" for name in sorted(needed - set(settings["unhashed"]))]
    LOCK.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{LOCK.name}: {len(lines)} packages\n")
    return 0


def resolve(wanted: list[str]) -> dict[str, dict[str, Any]]:
    """Normalised name -> what pip would install, as its report tells it."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report), *wanted]
        subprocess.run(command, check=True)
        return {normalised(item["metadata"]["name"]): item for item in json.loads(report.read_text(encoding="utf-8"))["install"]}


def closure(wanted: list[str], found: dict[str, dict[str, Any]], leave_out: set[str]) -> set[str]:
    """Names reached from ``wanted`` without passing through ``leave_out``."""
    reached: set[str] = set()
    waiting = [Requirement(text) for text in wanted]
    while waiting:
        requirement = waiting.pop()
        name = normalised(requirement.name)
        if name in leave_out or name in reached or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        if name not in found:
            raise SystemExit(f"pip did not resolve {name}")
        reached.add(name)
        waiting += [Requirement(text) for text in found[name]["metadata"].get("requires_dist", [])]
    return reached


def normalised(name: str) -> str:
    """The one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(item: dict[str, Any]) -> str:
    return str(item["download_info"]["archive_info"]["hashes"]["sha256"])


if __name__ == "__main__":
    sys.exit(main())
