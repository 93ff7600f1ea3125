"""The clip's light: in the shader against the backend's shade, as a World against a white sphere that it lights."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from dynamic_package import LIGHT, dynamic_folder, encoded
from flat_render import load, set_engine
from imported import package_folder
from mathutils import Euler

from backend.texture.light import ClipLight
from blender_avatar.backend_link import backend_module
from blender_avatar.scene import import_avatar, use_clip_light
from blender_avatar.scene.axes import BLENDER_FROM_RIG
from blender_avatar.scene.face_group import BASE, ORIGINAL, create_face_group
from blender_avatar.scene.light_nodes import scene_light
from blender_avatar.scene.world_light import energy_change

TURN = BLENDER_FROM_RIG[:3, :3]
VIEW = np.array([[0.96, 0.0, 0.28], [0.0, -1.0, 0.0], [0.28, 0.0, -0.96]])
"""world_from_cam of a clip, OpenCV axes."""


def clip_cameras(moves: bool) -> np.ndarray:
    views = np.tile(np.eye(4), (3, 1, 1))
    views[:, :3, :3] = VIEW
    if moves:
        views[1, :3, :3] = np.diag([1.0, -1.0, -1.0])
    return views


def sphere_scene(material: bpy.types.Material | None) -> tuple[bpy.types.Scene, bpy.types.Object]:
    """A unit sphere before an orthographic camera that sees it from the front, 96 px for 2.2 m."""
    scene = bpy.context.scene
    bpy.ops.mesh.primitive_uv_sphere_add(segments=96, ring_count=48)
    ball = bpy.context.object
    bpy.ops.object.shade_smooth()
    if material:
        ball.data.materials.append(material)
    data = bpy.data.cameras.new("front")
    data.type, data.ortho_scale = "ORTHO", 2.2
    camera = bpy.data.objects.new("front", data)
    camera.matrix_world = Euler((np.pi / 2, 0, 0)).to_matrix().to_4x4()
    camera.location = (0, -5, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.render.resolution_x = scene.render.resolution_y = 96
    scene.render.film_transparent = True
    scene.render.image_settings.color_depth = "16"
    scene.render.dither_intensity = 0
    scene.view_settings.view_transform = "Standard"
    return scene, ball


def sphere_normals() -> tuple[np.ndarray, np.ndarray]:
    """(n,) pixels well on the sphere and (n, 3) Blender normals there."""
    middle = ((np.arange(96) + 0.5) / 96 - 0.5) * 2.2
    x, z = np.meshgrid(middle, -middle)
    inside = np.flatnonzero((x**2 + z**2 < 0.9).ravel())
    x, z = x.ravel()[inside], z.ravel()[inside]
    return inside, np.stack([x, -np.sqrt(1 - x * x - z * z), z], -1)


def render(scene: bpy.types.Scene, path: object) -> np.ndarray:
    scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)
    return load(str(path)).reshape(-1, 4)[..., :3]


@pytest.mark.parametrize("engine", ["CYCLES", pytest.param("EEVEE", marks=pytest.mark.slow)])
@pytest.mark.parametrize("frame,head_moves,camera_moves", [("world", True, False), ("camera", True, False), ("camera", True, True), ("world", False, False), ("camera", False, False)])
def test_original_light_is_the_backend_shade(tmp_path, engine, frame, head_moves, camera_moves):
    light = ClipLight(LIGHT.sh, LIGHT.tint, frame)
    views = clip_cameras(camera_moves)
    placed = scene_light(light, views, head_moves)
    group = create_face_group("ball", placed, None)
    material = bpy.data.materials.new("ball")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    node = tree.nodes.new("ShaderNodeGroup")
    node.node_tree = group
    node.inputs[BASE].default_value, node.inputs[ORIGINAL].default_value = (0.5, 0.4, 0.3, 1), 1.0
    tree.links.new(node.outputs["Surface"], tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])
    scene, ball = sphere_scene(material)
    turn = np.eye(3)
    if placed.space == "OBJECT":
        ball.rotation_euler = (0.3, -0.2, 0.7)  # the light turns with the avatar
        turn = np.array(ball.rotation_euler.to_matrix())
    set_engine(scene, "CYCLES" if engine == "CYCLES" else ("BLENDER_EEVEE_NEXT" if bpy.app.version < (5, 0, 0) else "BLENDER_EEVEE"))
    rows, normals = sphere_normals()
    if placed.space == "OBJECT":
        in_clip = normals @ turn @ TURN  # Blender's axes to the object's to the clip's world
    else:  # the scene's camera stands for the clip's: x right, y down, z forward
        in_clip = np.stack([normals[:, 0], -normals[:, 2], normals[:, 1]], -1) @ VIEW.T
    wanted = encoded(light.shade(in_clip, VIEW) * [0.5, 0.4, 0.3])
    assert np.ptp(wanted) > 0.1
    assert np.abs(render(scene, tmp_path / "ball.png")[rows] - wanted).max() * 255 < 2


def test_world_lights_a_white_ball_as_the_clip_did(tmp_path):
    avatar = import_avatar(bpy.context, dynamic_folder())
    scene, root = bpy.context.scene, bpy.data.objects[avatar.root]
    assert scene.world is None  # an import leaves the World alone
    mine = bpy.data.worlds.new("mine")
    scene.world = mine
    root.rotation_euler = (0, 0, 0.6)
    bpy.context.view_layer.update()
    made = use_clip_light(scene, root)
    assert (made.world, made.before) == ("Anna.light", "mine") and mine.use_fake_user and scene.world.name == "Anna.light"
    assert -1e-6 < made.energy_change < 0.02
    assert use_clip_light(scene, root).before is None
    for ob in bpy.data.collections[avatar.collection].objects:
        ob.hide_render = True
    white = bpy.data.materials.new("white")
    white.use_nodes = True
    white.node_tree.nodes.clear()
    matte = white.node_tree.nodes.new("ShaderNodeBsdfDiffuse")
    matte.inputs["Color"].default_value = (0.5, 0.5, 0.5, 1)
    white.node_tree.links.new(matte.outputs[0], white.node_tree.nodes.new("ShaderNodeOutputMaterial").inputs[0])
    scene, _ = sphere_scene(white)
    set_engine(scene, "CYCLES")
    scene.cycles.samples = 128
    rows, normals = sphere_normals()
    turn = np.array(root.rotation_euler.to_matrix())
    wanted = encoded(0.5 * LIGHT.shade(normals @ turn @ TURN))
    difference = render(scene, tmp_path / "ball.png")[rows] - wanted
    assert np.abs(difference.mean(0)).max() < 0.01 and np.abs(difference).mean() < 0.02
    assert np.corrcoef(wanted[:, 0], wanted[:, 0] + difference[:, 0])[0, 1] > 0.98


def test_energy_change_of_a_light_that_needs_darkness():
    strong = ClipLight(np.array([3.5, 0, 2.5, 0, 0, 0, 0, 0, 0], np.float32), np.ones(3, np.float32))
    placed = scene_light(strong, clip_cameras(False), True)
    z = np.linspace(-1, 1, 200001)
    radiance = 0.28209479 * 3.5 + 0.48860251 * z * 2.5 * 1.5
    assert energy_change(placed) == pytest.approx(np.maximum(radiance, 0).mean() / radiance.mean() - 1, abs=2e-3)
    assert energy_change(placed) > 0.05


def test_without_a_light_it_says_what_to_do():
    AvatarError = backend_module("errors").AvatarError  # the add-on loads its own copy
    avatar = import_avatar(bpy.context, package_folder())
    root = bpy.data.objects[avatar.root]
    with pytest.raises(AvatarError, match="without the clip's light"):
        use_clip_light(bpy.context.scene, root)
    root["clip_light"] = '{"sh": [1]}'
    with pytest.raises(AvatarError, match="damaged"):
        use_clip_light(bpy.context.scene, root)
    assert bpy.context.scene.world is None
