"""Shape keys from drivers to keyframes: the head's, and those of the controls that the dynamic texture listens to."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import bpy
import numpy as np

from ..backend_link import backend_module
from ..scene.animation import Curve, create_action

BAKED = "video_avatar_baked"
"""Custom property of a Key datablock: name of the Action that ``bake_keyframes`` made for it."""


@dataclasses.dataclass(frozen=True)
class BakedKeys:
    """actions: names of the Actions made. num_keys: shape keys that got keyframes. frame_start, frame_end: inclusive."""

    actions: tuple[str, ...]
    num_keys: int
    frame_start: int
    frame_end: int


def bake_keyframes(root: bpy.types.Object, scene: bpy.types.Scene, frame_start: int, frame_end: int) -> BakedKeys:
    """Writes what the drivers say on every frame as keyframes and mutes the drivers, so that everything, the dynamic texture too, plays without them.

    ``unbake_keyframes`` takes it back. Baking again replaces what was baked.

    Raises:
        AvatarError: ``bad_request`` when the range is empty, ``bad_input`` when the head has no shape keys or they are linked from another file.
    """
    keyed = _driven_keys(root)
    if frame_end < frame_start:
        raise _error("bad_request", f"The range from {frame_start} to {frame_end} is empty.", "Set start and end of the scene.")
    unbake_keyframes(root)
    values = _sample(scene, keyed, frame_start, frame_end)
    frames = np.arange(frame_start, frame_end + 1, dtype=np.float64)
    actions = []
    for ob, names in keyed.items():
        keys = ob.data.shape_keys
        curves = [Curve(_path(name), 0, "Shape keys", values[ob][:, column]) for column, name in enumerate(names)]
        action = create_action(f"{root.name}|{ob.name.removeprefix(root.name).strip('.') or ob.name} keys", keys, frames, curves, with_track=False, id_type="KEY")
        keys[BAKED] = action.name
        actions.append(action.name)
        for driver in _drivers(keys):
            driver.mute = True
    scene.frame_set(scene.frame_current)
    return BakedKeys(tuple(actions), sum(map(len, keyed.values())), frame_start, frame_end)


def unbake_keyframes(root: bpy.types.Object) -> int:
    """Removes what ``bake_keyframes`` made and lets the drivers work again. Returns how many shape keys are driven again."""
    num_driven = 0
    for ob in _mesh_objects(root):
        keys = ob.data.shape_keys
        if BAKED not in keys:
            continue
        action = bpy.data.actions.get(keys[BAKED])
        if keys.animation_data and keys.animation_data.action == action:
            keys.animation_data.action = None
        if action is not None:
            bpy.data.actions.remove(action)
        del keys[BAKED]
        for driver in _drivers(keys):
            driver.mute = False
            num_driven += 1
        keys.update_tag()
    return num_driven


def free_shape_keys(root: bpy.types.Object, scene: bpy.types.Scene, frame_start: int, frame_end: int) -> BakedKeys:
    """Bakes the shape keys and removes their drivers for good: the sliders of the mesh belong to the artist.

    The controls of the bone ``face`` move nothing any more.
    """
    baked = bake_keyframes(root, scene, frame_start, frame_end)
    for ob in _mesh_objects(root):
        keys = ob.data.shape_keys
        for driver in _drivers(keys):
            keys.driver_remove(driver.data_path)
        if BAKED in keys:
            del keys[BAKED]
    return baked


def _mesh_objects(root: bpy.types.Object) -> Iterator[bpy.types.Object]:
    return (ob for ob in root.children_recursive if ob.type == "MESH" and ob.data.shape_keys is not None)


def _driven_keys(root: bpy.types.Object) -> dict[bpy.types.Object, list[str]]:
    """Objects with driven shape keys and the names of these keys."""
    found = {}
    for ob in _mesh_objects(root):
        keys = ob.data.shape_keys
        if keys.library is not None or (keys.override_library is None and ob.data.library is not None):
            raise _error("bad_input", f"The shape keys of {ob.name} are linked from another file.", "Make them local first, or bake in the file they come from.")
        driven = {driver.data_path for driver in _drivers(keys)}
        names = [block.name for block in keys.key_blocks if _path(block.name) in driven]
        if names:
            found[ob] = names
    if not found:
        raise _error("bad_input", f"{root.name} has no driven shape keys.", "They have been freed already, or this is no imported avatar.")
    return found


def _sample(scene: bpy.types.Scene, keyed: dict[bpy.types.Object, list[str]], frame_start: int, frame_end: int) -> dict[bpy.types.Object, np.ndarray]:
    """(N, keys) evaluated values per object. Leaves the scene at the frame where it was."""
    before = scene.frame_current, scene.frame_subframe
    values = {ob: np.empty((frame_end - frame_start + 1, len(names)), np.float32) for ob, names in keyed.items()}
    try:
        for row, frame in enumerate(range(frame_start, frame_end + 1)):
            scene.frame_set(frame)
            depsgraph = bpy.context.evaluated_depsgraph_get()
            for ob, names in keyed.items():
                blocks = ob.evaluated_get(depsgraph).data.shape_keys.key_blocks
                values[ob][row] = [blocks[name].value for name in names]
    finally:
        scene.frame_set(before[0], subframe=before[1])
    return values


def _drivers(keys: bpy.types.Key) -> list[bpy.types.FCurve]:
    return list(keys.animation_data.drivers) if keys.animation_data else []


def _path(name: str) -> str:
    return f'key_blocks["{name}"].value'


def _error(code: str, message: str, hint: str) -> Exception:
    return backend_module("errors").AvatarError(code, message, hint, {})
