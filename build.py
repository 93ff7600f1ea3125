"""Builds the extension zip with Blender's own builder: ``python build.py [--light] [--out FOLDER]``.

Blender wants the manifest and ``__init__.py`` in one folder; here they lie one level apart. So a folder is staged: the contents of
``blender_avatar/``, the manifest, the licence, ``backend/`` and what lies in ``wheels/``. The light build carries the add-on and only
those backend files that it needs to import an avatar. The builder is the one in the ``bpy`` wheel.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", "*.part*", ".*", "*.egg-info")
LIGHT_BACKEND = ("protocol.py", "errors.py", "package/read.py", "package/read_dynamic.py")
"""What the add-on itself loads from the backend; these, and what they import, make the light build's ``backend/``."""


def light_backend_files() -> list[str]:
    """Paths, relative to ``backend/``, of the files in the light build: found by following the relative imports."""
    found: set[str] = set()
    waiting = list(LIGHT_BACKEND)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        waiting += [f"{folder}/__init__.py".removeprefix("./") for folder in map(str, Path(name).parents)]
        for node in ast.walk(ast.parse((ROOT / "backend" / name).read_text(encoding="utf-8"), name)):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = Path(name).parents[node.level - 1] / (node.module or "").replace(".", "/")
                waiting += [path.as_posix() for path in (base.with_suffix(".py"), *(base / f"{a.name}.py" for a in node.names)) if (ROOT / "backend" / path).is_file()]
    return sorted(found)


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
        for name in light_backend_files():
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
