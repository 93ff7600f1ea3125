"""Builds the extension zip with Blender's own builder: ``python build.py [--light] [--out FOLDER]``.

Blender wants the manifest and ``__init__.py`` in one folder; here they lie one level apart. So a folder is staged: the contents of
``blender_avatar/``, the manifest, the licence, ``backend/`` and what lies in ``wheels/``. The light build carries the add-on and only
those backend files that it needs to import an avatar. The builder is the one in the ``bpy`` wheel.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.part*", ".*", "*.egg-info")
LIGHT_BACKEND = ("__init__.py", "errors.py", "storage.py", "protocol.py", "package/__init__.py")
"""What the add-on loads from the backend, besides the package reader."""
LIGHT_BACKEND_PATTERNS = ("package/read*.py",)


def stage(folder: Path, is_light: bool) -> None:
    """Fills ``folder`` with what goes into the zip.

    Args:
        folder: an empty or missing folder.
        is_light: leave out the backend's computing part and the wheels.
    """
    shutil.copytree(ROOT / "blender_avatar", folder, ignore=IGNORED, dirs_exist_ok=True)
    for name in ("blender_manifest.toml", "LICENSE"):
        if (ROOT / name).is_file():
            shutil.copy2(ROOT / name, folder / name)
    if is_light:
        names = [*LIGHT_BACKEND, *(path.relative_to(ROOT / "backend").as_posix() for p in LIGHT_BACKEND_PATTERNS for path in (ROOT / "backend").glob(p))]
        for name in names:
            target = folder / "backend" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / "backend" / name, target)
        return
    shutil.copytree(ROOT / "backend", folder / "backend", ignore=IGNORED)
    wheels = sorted((ROOT / "wheels").glob("*.whl"))
    for source in [*wheels, ROOT / "requirements.lock"]:
        if source.is_file():
            (folder / "wheels").mkdir(exist_ok=True)
            shutil.copy2(source, folder / "wheels" / source.name)


def find_builder() -> Path:
    """Blender's extension tool inside the installed ``bpy`` wheel; bpy itself is not imported.

    Raises:
        FileNotFoundError: no bpy wheel in this environment, or one without the tool.
    """
    spec = importlib.util.find_spec("bpy")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the bpy wheel is not installed in this environment; 'make setup' installs it")
    for place in spec.submodule_search_locations:
        for tool in sorted(Path(place).glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py")):
            return tool
    raise FileNotFoundError("the bpy wheel holds no bl_pkg/cli/blender_ext.py")


def build(out: Path, is_light: bool = False) -> Path:
    """Stages, builds and validates the extension.

    Args:
        out: folder for the zip; made when missing.
        is_light: see ``stage``.

    Returns:
        The zip.

    Raises:
        subprocess.CalledProcessError: Blender's builder or validator refused; its output is shown.
    """
    manifest = tomllib.loads((ROOT / "blender_manifest.toml").read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{manifest['id']}-{manifest['version']}{'-light' if is_light else ''}.zip"
    builder = [sys.executable, "-I", str(find_builder())]
    with tempfile.TemporaryDirectory(prefix="video_avatar_build_") as temporary:
        staged = Path(temporary) / manifest["id"]
        stage(staged, is_light)
        part = Path(temporary) / target.name
        subprocess.run([*builder, "build", "--source-dir", str(staged), "--output-filepath", str(part)], check=True)
        subprocess.run([*builder, "validate", str(part)], check=True)
        shutil.move(part, target)
    return target


def main() -> int:
    parser = argparse.ArgumentParser(description="Builds the Blender extension.")
    parser.add_argument("--light", action="store_true", help="the add-on alone: imports and plays avatars, needs a backend elsewhere to make them")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder for the zip")
    arguments = parser.parse_args()
    try:
        path = build(arguments.out, arguments.light)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.stderr.write(f"build failed: {error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
