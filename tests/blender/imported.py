"""What the scene tests share: packages to import, evaluated meshes, names of datablocks."""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from pathlib import Path

import bpy
import numpy as np
from procedural_rig import procedural_rig
from synthetic_take import write_take

REPOSITORY = Path(__file__).resolve().parents[2]
BLENDER_FROM_RIG = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
KINDS = ("objects", "meshes", "armatures", "cameras", "materials", "images", "actions", "collections", "movieclips", "shape_keys")

scratch: list[Path] = []
"""Folders made by ``package_folder``; removed at the end of the run (conftest.py)."""


@functools.cache
def rig():
    return procedural_rig()


@functools.cache
def package_folder(**take: object) -> Path:
    """A package of the procedural head; equal arguments share one folder for the whole run."""
    scratch.append(Path(tempfile.mkdtemp(prefix="avatar-test-")))
    return write_take(scratch[-1] / "anna.avatar", rig(), **take)


def evaluated_vertices(name: str) -> np.ndarray:
    """(V, 3) world positions of a mesh object after all modifiers, Subdivision at viewport level 0."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    head = bpy.data.objects[name].evaluated_get(depsgraph)
    mesh = head.to_mesh()
    points = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", points)
    matrix = np.array(head.matrix_world)
    head.to_mesh_clear()
    return points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


def key_value(name: str, key: str) -> float:
    """Evaluated value of a shape key of a mesh object."""
    depsgraph = bpy.context.evaluated_depsgraph_get()
    return bpy.data.objects[name].evaluated_get(depsgraph).data.shape_keys.key_blocks[key].value


def curves_of(action: bpy.types.Action) -> list[bpy.types.FCurve]:
    """F-curves of an Action in any Blender version."""
    if hasattr(action, "fcurves"):
        return list(action.fcurves)
    return [curve for layer in action.layers for strip in layer.strips for bag in strip.channelbags for curve in bag.fcurves]


def datablocks() -> dict[str, set[str]]:
    return {kind: {datablock.name for datablock in getattr(bpy.data, kind)} for kind in KINDS}


def run_fresh(script: str, *arguments: object, timeout_s: float = 60) -> str:
    """Runs Python with bpy in a process that knows neither our repository nor our tests; returns what it printed."""
    code = script + "\nimport os, sys\nsys.stdout.flush()\nos._exit(0)\n"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=timeout_s, cwd=tempfile.gettempdir()
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
