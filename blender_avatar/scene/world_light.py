"""The clip's light as a World, so that the avatar and whatever stands beside it are lit as in the clip."""

from __future__ import annotations

import dataclasses

import bpy
import numpy as np

from ..backend_link import backend_module
from .light_nodes import LIGHT, SceneLight, add_quadratic, quadratic, radiance
from .node_tree import Nodes

_NUM_DIRECTIONS = 4096


@dataclasses.dataclass(frozen=True)
class LightWorld:
    """What ``use_clip_light`` did. world: name of the World in use now. before: of the one before, or None (it is kept, with a fake user).

    energy_change: share by which all light together grew because radiance below zero was cut off.
    """

    world: str
    before: str | None
    energy_change: float


def use_clip_light(scene: bpy.types.Scene, root: bpy.types.Object) -> LightWorld:
    """Makes the World ``NAME.light`` of an avatar's clip and puts it into a scene.

    The light stands where it stood before the avatar's root empty when the clip began; it does not follow when the root is turned later: press again.

    Raises:
        AvatarError: ``bad_input`` when the avatar was imported without a light, or the stored one is damaged.
    """
    light = light_of(root)
    turn = np.array(root.matrix_world.to_3x3().normalized())
    light_from_world = light.light_from_avatar @ turn.T
    world = _light_world(f"{root.name}.light", light, light_from_world)
    before = scene.world
    if before is not None and before != world:
        before.use_fake_user = True  # nobody's World is lost when the file is saved
    scene.world = world
    return LightWorld(world.name, before.name if before is not None and before != world else None, energy_change(light))


def light_of(root: bpy.types.Object) -> SceneLight:
    """The clip's light of an imported avatar. Raises AvatarError (bad_input) when there is none."""
    error = backend_module("errors").AvatarError
    if LIGHT not in root:
        text = f"{root.name} was imported without the clip's light."
        raise error("bad_input", text, "Reconstruct the clip again with this version: older textures still hold their light.", {})
    try:
        return SceneLight.from_json(str(root[LIGHT]))
    except ValueError as problem:
        raise error("bad_input", f"The light stored with {root.name} is damaged ({problem}).", "Import the avatar again.", {}) from problem


def energy_change(light: SceneLight) -> float:
    """How much light the cut at zero adds, as a share of all light: 0 when radiance is nowhere negative."""
    number = np.arange(_NUM_DIRECTIONS) + 0.5
    z, turn = 1 - 2 * number / _NUM_DIRECTIONS, number * np.pi * (1 + np.sqrt(5))
    directions = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1)
    matrix, linear, constant = quadratic(radiance(light.sh), np.eye(3))
    values = np.einsum("nc,cd,nd->n", directions, matrix, directions) + directions @ linear + constant
    return float(np.maximum(values, 0).mean() / max(values.mean(), 1e-9) - 1)


def _light_world(name: str, light: SceneLight, light_from_world: np.ndarray) -> bpy.types.World:
    world = bpy.data.worlds.get(name) or bpy.data.worlds.new(name)
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    nodes = Nodes(tree)
    place = nodes.add("ShaderNodeTexCoord", "Direction", -8, 0)
    direction = nodes.vector("NORMALIZE", "of length 1", -7, 0, place.outputs["Generated"])
    value = add_quadratic(nodes, direction, quadratic(radiance(light.sh), light_from_world), 0.0, -6, 0)
    colour = nodes.vector("SCALE", "x tint", 0, 0, [float(each) for each in light.tint], value)
    background = nodes.add("ShaderNodeBackground", "Light of the clip", 1, 0)
    nodes.connect(background.inputs["Color"], colour)
    out = nodes.add("ShaderNodeOutputWorld", "World", 2, 0)
    nodes.connect(out.inputs["Surface"], background.outputs[0])
    return world
