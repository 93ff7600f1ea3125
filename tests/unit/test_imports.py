"""Who may import whom. Reads syntax trees; imports nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BACKEND, ADDON = ROOT / "backend", ROOT / "blender_avatar"

LEVELS = (
    ("__init__", "protocol", "errors", "config", "reporter", "storage", "resources"),
    ("geometry",),
    ("rig",),
    ("render",),
    ("capture",),
    ("track",),
    ("identity",),
    ("texture",),
    ("fields",),
    ("objectives",),
    ("avatars",),
    ("package",),
    ("synth",),
    ("evaluation",),
    ("evaluate",),
    ("benchmarks",),
    ("stage_cache", "stage_progress", "output_folder", "half_exr", "probe", "avatar_stage", "distil_stage", "pipeline"),
    ("reevaluate", "track_again", "bake_textures"),
    ("worker_jobs",),
    ("worker",),
    ("command_line",),
    ("__main__",),
)
"""Rooms of the backend, ground floor first. A room may import itself, its own level and the levels above it in this list."""

LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

STANDARD_LIBRARY_ONLY = ("protocol", "errors", "config", "reporter", "resources", "stage_cache", "stage_progress")
HEAVY = {"torch", "mediapipe", "numba", "scipy", "cv2", "av", "trimesh", "anny", "smplx", "warp", "gsplat", "jax", "onnxruntime", "pycolmap"}
DEPENDENCIES = {"numpy", "rich", *HEAVY}

STARTED_IN_BLENDER = {"backend/synth/cycles_script.py"}
"""The one kind of backend file that may import bpy: a script that a Blender child process runs. Nothing may import it."""

ADDON_FORBIDDEN = {
    "panels": {"client", "scene", "operators", "runtime", "backend_link", "numpy"},
    "operators": {"operators"},
    "scene": {"client", "operators", "panels"},
    "client": {"bpy", "mathutils", "numpy", "scene", "operators", "panels", "props", "prefs"},
    "runtime": {"client", "operators", "panels"},
}
"""What the rooms of the add-on must not import (siblings by name, or top-level packages)."""


def python_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path, root: Path) -> list[tuple[str, int, bool]]:
    """Every import in a file: dotted name (relative ones made absolute from ``root``'s parent), line, at module level?"""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    package = list(path.relative_to(root.parent).with_suffix("").parts[:-1])
    top = {id(node) for node in module_level(tree)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join(base + ([node.module] if node.module else []))
            if node.module is None or (root / Path(*name.split(".")[1:])).is_dir():
                # "from . import a, b" names modules (or names of the package: harmless, they resolve to the same room)
                found += [(f"{name}.{alias.name}", node.lineno, id(node) in top) for alias in node.names]
            else:
                found.append((name, node.lineno, id(node) in top))
    return found


def module_level(tree: ast.Module) -> list[ast.stmt]:
    """Statements that run on import; the bodies of ``if TYPE_CHECKING`` do not."""
    found: list[ast.stmt] = []
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += node.body + node.orelse
        elif isinstance(node, ast.Try):
            waiting += node.body + node.orelse + node.finalbody + [inner for handler in node.handlers for inner in handler.body]
    return found


def for_the_type_checker(tree: ast.Module) -> set[ast.AST]:
    """Nodes inside ``if TYPE_CHECKING``: they never run."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    return {inner for block in blocks for statement in block.body for inner in ast.walk(statement)}


def room_of(name: str) -> str:
    """``geometry`` for ``backend.geometry.cameras``."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (parts[1] in LEVEL_OF) else "__init__" if len(parts) <= 2 else parts[1]


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_every_room_of_the_backend_has_a_level() -> None:
    rooms = {path.stem if path.is_file() else path.name for path in BACKEND.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert rooms <= set(LEVEL_OF), f"say in LEVELS where these belong: {sorted(rooms - set(LEVEL_OF))}"


def test_backend_rooms_import_only_what_lies_below_them() -> None:
    wrong = []
    for path in python_files(BACKEND):
        room = path.relative_to(BACKEND).parts[0].removesuffix(".py")
        for name, line, _ in imports(path, BACKEND):
            if name.split(".")[0] == "backend" and LEVEL_OF[room_of(name)] > LEVEL_OF[room]:
                wrong.append(f"{where(path, line)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_rig_and_render_import_only_geometry_and_the_ground_floor() -> None:
    allowed = {"rig": {"rig", "geometry", *LEVELS[0]}, "render": {"render", "geometry", *LEVELS[0]}}
    wrong = [
        f"{where(path, line)} imports {name}"
        for room, rooms in allowed.items()
        for path in python_files(BACKEND / room)
        for name, line, _ in imports(path, BACKEND)
        if name.split(".")[0] == "backend" and room_of(name) not in rooms
    ]
    assert not wrong, "\n".join(wrong)


def test_one_method_never_imports_another() -> None:
    wrong = [
        f"{where(path, line)} imports {name}"
        for method in sorted((BACKEND / "avatars").glob("*/"))
        for path in python_files(method)
        for name, line, _ in imports(path, BACKEND)
        if name.startswith("backend.avatars.") and name.split(".")[2] != method.name and (BACKEND / "avatars" / name.split(".")[2]).is_dir()
    ]
    assert not wrong, "\n".join(wrong)


def test_evaluation_is_independent_of_tracking() -> None:
    files = python_files(BACKEND / "evaluation") + [path for path in [BACKEND / "evaluate.py"] if path.exists()]
    wrong = [
        f"{where(path, line)} imports {name}"
        for path in files
        for name, line, _ in imports(path, BACKEND)
        if name.startswith("backend.track") and name != "backend.track.model"
    ]
    assert files and not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", STANDARD_LIBRARY_ONLY)
def test_ground_floor_needs_no_package(name: str) -> None:
    used = {top for imported, _, _ in imports(BACKEND / f"{name}.py", BACKEND) if (top := imported.split(".")[0]) in DEPENDENCIES}
    assert not used


def test_protocol_imports_nothing_of_ours() -> None:
    assert not [name for name, _, _ in imports(BACKEND / "protocol.py", BACKEND) if name.split(".")[0] in ("backend", "blender_avatar")]


def test_backend_knows_no_blender_and_no_add_on() -> None:
    wrong, scripts = [], set()
    for path in python_files(BACKEND):
        for name, line, _ in imports(path, BACKEND):
            if name.split(".")[0] in ("bpy", "mathutils", "bmesh", "bpy_extras", "gpu"):
                relative = path.relative_to(ROOT).as_posix()
                if relative in STARTED_IN_BLENDER:
                    scripts.add(relative)
                else:
                    wrong.append(f"{where(path, line)} imports {name}")
            elif name.split(".")[0] == "blender_avatar":
                wrong.append(f"{where(path, line)} imports {name}")
    assert not wrong, "\n".join(wrong)
    modules = {script.removesuffix(".py").replace("/", ".") for script in scripts}
    assert not [where(path, line) for path in python_files(BACKEND) for name, line, _ in imports(path, BACKEND) if name in modules]


def test_front_doors_import_nothing_heavy_before_the_thread_policy_is_set() -> None:
    """``__main__``, the command line, the worker and what they import at module level stay free of torch and numpy."""
    seen: set[Path] = set()
    waiting = [BACKEND / "__main__.py", BACKEND / "worker.py", *python_files(BACKEND / "command_line")]
    wrong = []
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        if path.parent.name == "command_line" and path.name == "terminal.py":
            continue  # imported when a command runs, and only for people
        for name, line, is_top in imports(path, BACKEND):
            if not is_top:
                continue
            if name.split(".")[0] in DEPENDENCIES:
                wrong.append(f"{where(path, line)} imports {name}")
            target = ROOT / Path(*name.split("."))
            waiting += [file for file in (target.with_suffix(".py"), target / "__init__.py") if name.startswith("backend") and file.exists()]
    assert not wrong, "\n".join(wrong)


def test_add_on_imports_no_computing_library() -> None:
    wrong = [f"{where(path, line)} imports {name}" for path in python_files(ADDON) for name, line, _ in imports(path, ADDON) if name.split(".")[0] in {*HEAVY, "rich"}]
    assert not wrong, "\n".join(wrong)


def test_add_on_imports_itself_only_relatively() -> None:
    """Its package has another name in every repository it is installed from."""
    wrong = []
    for path in python_files(ADDON):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        unseen = for_the_type_checker(tree)
        for node in ast.walk(tree):
            if node in unseen:
                continue
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [f"{where(path, node.lineno)} imports {name}" for name in names if name.split(".")[0] in ("blender_avatar", "backend")]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", sorted(ADDON_FORBIDDEN))
def test_rooms_of_the_add_on(room: str) -> None:
    wrong = []
    for path in python_files(ADDON / room):
        for name, line, _ in imports(path, ADDON):
            parts = name.split(".")
            target = parts[1] if parts[0] == ADDON.name and len(parts) > 1 else parts[0]
            if target in ADDON_FORBIDDEN[room] and not (target == room and (path.name == "__init__.py" or len(parts) < 3)):
                wrong.append(f"{where(path, line)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_star_imports_anywhere() -> None:
    folders = [folder for folder in (BACKEND, ADDON, ROOT / "tests", ROOT / "tools") if folder.exists()]
    wrong = [
        where(path, node.lineno)
        for folder in folders
        for path in python_files(folder)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_file_is_named_utils() -> None:
    assert not [path for folder in (BACKEND, ADDON) for path in python_files(folder) if path.stem in ("util", "utils", "helpers", "common", "misc")]


def test_the_walker_sees_what_it_should(tmp_path: Path) -> None:
    package = tmp_path / "backend"
    (package / "rig").mkdir(parents=True)
    (package / "errors.py").write_text("")
    file = package / "rig" / "a.py"
    file.write_text("import os\nfrom ..errors import X\nfrom . import b\nfrom .. import errors\ndef f():\n    import torch\nif TYPE_CHECKING:\n    import numpy\n")
    assert sorted(imports(file, package)) == [
        ("backend.errors", 2, True), ("backend.errors", 4, True), ("backend.rig.b", 3, True), ("numpy", 8, False), ("os", 1, True), ("torch", 6, False),
    ]
    assert room_of("backend.rig.model") == "rig" and room_of("backend.errors") == "errors" and room_of("backend.__version__") == "__init__"
