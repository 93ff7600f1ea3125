"""Writes files in FLAME's exact layout: the real template and joint regressor, invented bases and weights."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from shared_data import shared_path

NUM_VERTICES = 5023


def flame_arrays(seed: int = 0) -> dict[str, Any]:
    """The content of a FLAME file; shape and expression vary smoothly over the head, about a millimetre per unit."""
    import trimesh

    mesh = trimesh.load(shared_path("models/flame_layout/template.ply"), process=False)
    template = np.asarray(mesh.vertices, np.float64)
    regressor = np.load(shared_path("models/flame_layout/flame2020_joint_regressor.npz"))["joint_regressor"]
    random = np.random.default_rng(seed)
    waves = np.sin(template @ random.normal(0, 25, (3, 8)) + random.uniform(0, 6, 8))
    joints = regressor @ template
    distance = np.linalg.norm(template[:, None] - joints, axis=2)
    weights = np.exp(-((distance / 0.06) ** 2)) + 1e-6
    weights[3931:4477], weights[4477:] = np.eye(5)[3], np.eye(5)[4]
    weights /= weights.sum(1, keepdims=True)
    return {
        "v_template": template, "f": np.asarray(mesh.faces, np.uint32), "J_regressor": sp.csc_matrix(regressor), "weights": weights,
        "shapedirs": np.einsum("vk,kxm->vxm", waves, random.normal(0, 4e-4, (8, 3, 400))),
        "posedirs": np.einsum("vk,kxm->vxm", waves, random.normal(0, 2e-3, (8, 3, 36))),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "J": joints, "bs_style": "lbs", "bs_type": "lrotmin",
    }


def with_chumpy(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same with the nodes of the chumpy package around some arrays, as older files have them.

    Two throw-away classes stand in for chumpy while the file is written; call ``forget_chumpy`` afterwards.
    """
    package, module, reordering = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch"), types.ModuleType("chumpy.reordering")
    node = type("Ch", (), {"__module__": "chumpy.ch"})
    select = type("Select", (), {"__module__": "chumpy.reordering"})
    module.Ch, reordering.Select = node, select  # type: ignore[attr-defined]
    sys.modules.update({"chumpy": package, "chumpy.ch": module, "chumpy.reordering": reordering})
    wrapped = dict(arrays)
    for key in ("v_template", "weights", "posedirs"):
        wrapped[key] = node()
        wrapped[key].__dict__.update({"x": arrays[key], "_dirty_vars": set(), "_itr": None})
    inner = node()
    inner.__dict__.update({"x": arrays["shapedirs"].ravel()})
    wrapped["shapedirs"] = select()
    wrapped["shapedirs"].__dict__.update({"a": inner, "idxs": np.arange(arrays["shapedirs"].size), "preferred_shape": arrays["shapedirs"].shape})
    return wrapped


def forget_chumpy() -> None:
    for name in ("chumpy", "chumpy.ch", "chumpy.reordering"):
        sys.modules.pop(name, None)


def write_flame_pickle(path: Path, content: Any, protocol: int = 2) -> Path:
    with open(path, "wb") as handle:
        pickle.dump(content, handle, protocol=protocol)
    return path


def write_flame_npz(path: Path, arrays: dict[str, Any]) -> Path:
    dense = {key: value.toarray() if sp.issparse(value) else value for key, value in arrays.items()}
    np.savez(path, **dense)
    return path
