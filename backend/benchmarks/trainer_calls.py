"""Which renderer calls the trainers make, read from their source, so that no call goes untimed."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path

TRAINERS = ("track", "identity", "texture", "fields", "objectives", "avatars")
"""The rooms whose training loops stand on the renderers."""

_BACKEND = Path(__file__).resolve().parent.parent


def untimed_calls() -> list[str]:
    """Calls such as ``meshes.rasterise(num_layers)`` that a trainer makes and no case of this folder makes."""
    timed = used_arguments(sorted(Path(__file__).parent.glob("*_cases.py")))
    wanted = used_arguments(path for room in TRAINERS for path in sorted((_BACKEND / room).rglob("*.py")))
    return sorted(call for call in wanted if call not in timed)


def used_arguments(files: Iterable[Path]) -> set[str]:
    """``module.function`` and ``module.function(argument)`` for every call of a public function of ``render`` or ``closest``."""
    found: set[str] = set()
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        functions, modules = _imported(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = None
            if isinstance(node.func, ast.Name):
                name = functions.get(node.func.id)
            elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in modules:
                name = f"{modules[node.func.value.id]}.{node.func.attr}"
            if name is not None:
                name = _home(name)
                found.add(name)
                found.update(f"{name}({argument})" for argument in _arguments(name, node))
    return found


def _imported(tree: ast.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Local name -> ``module.function`` and local name -> module, for what comes from ``render`` and ``geometry.closest``."""
    functions: dict[str, str] = {}
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or not node.module:
            continue
        parts = node.module.split(".")
        for alias in node.names:
            local = alias.asname or alias.name
            if parts[-1] == "render" or (parts[-1] == "geometry" and alias.name == "closest"):
                modules[local] = alias.name
            elif (len(parts) > 1 and parts[-2] == "render") or parts[-2:] == ["geometry", "closest"]:
                if not alias.name.startswith("_"):
                    functions[local] = f"{parts[-1]}.{alias.name}"
    return functions, modules


def _home(name: str) -> str:
    """The same function by the module that defines it: others may hand it on."""
    module, function = name.split(".")
    target = _target(name)
    return f"{getattr(target, '__module__', module).rpartition('.')[2]}.{function}" if target is not None else name


def _target(name: str) -> object | None:
    module, function = name.split(".")
    package = "geometry" if module == "closest" else "render"
    return getattr(importlib.import_module(f"..{package}.{module}", __package__), function, None)


def _arguments(name: str, call: ast.Call) -> set[str]:
    """Parameter names that a call fills, positions translated by the function's signature."""
    names = {keyword.arg for keyword in call.keywords if keyword.arg}
    target = _target(name)
    if target is None or any(isinstance(argument, ast.Starred) for argument in call.args):
        return names
    parameters = list(inspect.signature(target).parameters)
    return names | set(parameters[: len(call.args)])
