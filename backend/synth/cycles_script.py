"""Runs inside Blender's Python as a child process: renders the frames a job file describes. Nothing imports this file.

Usage: python -I cycles_script.py JOB.npz OUT_FOLDER

Prints one line per finished frame (``frame 12``) and ``done`` at the end. Frames that exist already are kept, so a killed
child can be started again. numpy and bpy only. Axes: the job is Y up; Blender is Z up, (x, y, z) -> (x, -z, y).
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import bpy
import numpy as np

BLENDER_FROM_RIG = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
SHUTTER = 0.35
FIRST_FRAME = 1


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def to_blender(points: np.ndarray) -> np.ndarray:
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1).astype(np.float32)


def make_mesh(name: str, vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray | None = None) -> bpy.types.Object:
    """faces: (F, 3 or 4) with -1 padding. uv: (F, 3 or 4, 2)."""
    mesh = bpy.data.meshes.new(name)
    sizes = (faces >= 0).sum(1)
    loops = faces[faces >= 0]
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.ascontiguousarray(vertices, dtype=np.float32).ravel())
    mesh.loops.add(len(loops))
    mesh.loops.foreach_set("vertex_index", loops.astype(np.int32))
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
    if uv is not None:
        layer = mesh.uv_layers.new(name="uv")
        layer.uv.foreach_set("vector", np.ascontiguousarray(uv[faces >= 0], dtype=np.float32).ravel())
    mesh.update(calc_edges=True)
    thing = bpy.data.objects.new(name, mesh)
    bpy.context.scene.collection.objects.link(thing)
    return thing


def animate_vertices(thing: bpy.types.Object, frames: np.ndarray, path: Path) -> None:
    """Point cache file + Mesh Cache modifier: vertices of every frame, linear between, so that motion blur sees them."""
    with open(path, "wb") as handle:
        handle.write(struct.pack("<12siiffi", b"POINTCACHE2\0", 1, frames.shape[1], float(FIRST_FRAME), 1.0, len(frames)))
        handle.write(np.ascontiguousarray(frames, dtype="<f4").tobytes())
    modifier = thing.modifiers.new("cache", "MESH_CACHE")
    modifier.cache_format = "PC2"
    modifier.filepath = str(path)
    modifier.frame_start = FIRST_FRAME


def animate_object(thing: bpy.types.Object, matrices: np.ndarray) -> None:
    """Keys for (N, 4, 4) rig-space matrices of an object whose points are already in Blender axes."""
    from mathutils import Matrix

    thing.rotation_mode = "QUATERNION"
    before = None
    for index, matrix in enumerate(matrices):
        turned = Matrix((BLENDER_FROM_RIG @ matrix @ np.linalg.inv(BLENDER_FROM_RIG)).tolist())
        location, rotation, _ = turned.decompose()
        if before is not None and rotation.dot(before) < 0:
            rotation.negate()
        before = rotation.copy()
        thing.location, thing.rotation_quaternion = location, rotation
        thing.keyframe_insert("location", frame=FIRST_FRAME + index)
        thing.keyframe_insert("rotation_quaternion", frame=FIRST_FRAME + index)


def principled(name: str) -> tuple[bpy.types.Material, bpy.types.Node, bpy.types.NodeTree]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    return material, tree.nodes["Principled BSDF"], tree


def textured(name: str, image: bpy.types.Image) -> tuple[bpy.types.Material, bpy.types.Node, bpy.types.NodeTree, bpy.types.Node]:
    material, shader, tree = principled(name)
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = image
    tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    return material, shader, tree, node


def layer_image(name: str, pixels: np.ndarray) -> bpy.types.Image:
    """A signed, linear picture (h, w, 4), rows bottom up."""
    image = bpy.data.images.new(name, pixels.shape[1], pixels.shape[0], alpha=True, float_buffer=True, is_data=True)
    image.pixels.foreach_set(np.ascontiguousarray(pixels, dtype=np.float32).ravel())
    image.update()
    return image


def add_layers(tree: bpy.types.NodeTree, albedo: bpy.types.Node, shader: bpy.types.Node, job: dict[str, np.ndarray], images: list[bpy.types.Image]) -> None:
    """Base colour = albedo + sum of keyed strength times layer. A layer is read where its rectangle of the UV square lies and is 0 elsewhere."""
    place = tree.nodes.new("ShaderNodeTexCoord")
    total = albedo.outputs["Color"]
    for index, image in enumerate(images):
        u0, v0, u1, v1 = (float(value) for value in job["layer_uv"][index])
        inside = tree.nodes.new("ShaderNodeVectorMath")
        inside.operation = "MULTIPLY_ADD"
        inside.inputs[1].default_value = (1 / (u1 - u0), 1 / (v1 - v0), 0)
        inside.inputs[2].default_value = (-u0 / (u1 - u0), -v0 / (v1 - v0), 0)
        picture, strength, mixed = tree.nodes.new("ShaderNodeTexImage"), tree.nodes.new("ShaderNodeValue"), tree.nodes.new("ShaderNodeVectorMath")
        picture.image, picture.extension, mixed.operation = image, "CLIP", "MULTIPLY_ADD"
        for frame, weight in enumerate(job["layer_weights"][:, index]):
            strength.outputs[0].default_value = float(weight)
            strength.outputs[0].keyframe_insert("default_value", frame=FIRST_FRAME + frame)
        tree.links.new(place.outputs["UV"], inside.inputs[0])
        tree.links.new(inside.outputs[0], picture.inputs["Vector"])
        tree.links.new(picture.outputs["Color"], mixed.inputs[0])
        tree.links.new(strength.outputs[0], mixed.inputs[1])
        tree.links.new(total, mixed.inputs[2])
        total = mixed.outputs[0]
    tree.links.new(total, shader.inputs["Base Color"])


def head_materials(image: bpy.types.Image, part_names: list[str], job: dict[str, np.ndarray]) -> list[bpy.types.Material]:
    materials = []
    layers = [layer_image(name, job[name]) for name in sorted(job) if name.startswith("layer_") and name[6:].isdigit()]
    for part in part_names:
        material, shader, tree, node = textured(part, image)
        if part in ("skin", "scalp"):
            if layers:
                add_layers(tree, node, shader, job, layers)
            shader.inputs["Roughness"].default_value = 0.46
            shader.inputs["Specular IOR Level"].default_value = 0.42
            shader.inputs["Subsurface Weight"].default_value = 0.18
            shader.inputs["Subsurface Radius"].default_value = (1.0, 0.38, 0.22)
            shader.inputs["Subsurface Scale"].default_value = 0.004
            bumps = tree.nodes.new("ShaderNodeTexNoise")
            bumps.inputs["Scale"].default_value = 900.0
            bumps.inputs["Detail"].default_value = 3.0
            place = tree.nodes.new("ShaderNodeTexCoord")
            bump = tree.nodes.new("ShaderNodeBump")
            bump.inputs["Strength"].default_value = 0.12
            bump.inputs["Distance"].default_value = 0.0006
            # Generated coordinates stay with the rest shape, so pores do not swim over the moving skin.
            tree.links.new(place.outputs["UV"], bumps.inputs["Vector"])
            tree.links.new(bumps.outputs["Fac"], bump.inputs["Height"])
            tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
        elif part.startswith("eye"):
            shader.inputs["Roughness"].default_value = 0.25
            shader.inputs["Coat Weight"].default_value = 1.0
            shader.inputs["Coat Roughness"].default_value = 0.02
            shader.inputs["Coat IOR"].default_value = 1.376
        elif part.startswith("teeth") or part == "tongue":
            shader.inputs["Roughness"].default_value = 0.22 if part != "tongue" else 0.35
            shader.inputs["Coat Weight"].default_value = 0.4
        elif part == "lashes":
            shader.inputs["Roughness"].default_value = 0.5
            tree.links.new(node.outputs["Alpha"], shader.inputs["Alpha"])
        else:
            # Clear cornea: only its reflection is seen.
            shader.inputs["Alpha"].default_value = 0.06
            shader.inputs["Roughness"].default_value = 0.02
        materials.append(material)
    return materials


def build_head(job: dict[str, np.ndarray], out: Path) -> None:
    image = bpy.data.images.load(str(job["albedo_path"]))
    head = make_mesh("head", to_blender(job["head_vertices"][0]), job["quads"], job["quad_corner_uv"])
    for material in head_materials(image, [str(name) for name in job["part_names"]], job):
        head.data.materials.append(material)
    head.data.polygons.foreach_set("material_index", job["quad_parts"].astype(np.int32))
    animate_vertices(head, to_blender(job["head_vertices"]), out / "head.pc2")


def build_shirt(job: dict[str, np.ndarray]) -> None:
    shirt = make_mesh("shirt", to_blender(job["shirt_vertices"]), job["shirt_triangles"])
    material, shader, tree = principled("shirt")
    shader.inputs["Base Color"].default_value = (*job["shirt_colour"].tolist(), 1.0)
    shader.inputs["Roughness"].default_value = 0.9
    shader.inputs["Sheen Weight"].default_value = 0.3
    weave, bump = tree.nodes.new("ShaderNodeTexNoise"), tree.nodes.new("ShaderNodeBump")
    weave.inputs["Scale"].default_value = 400.0
    bump.inputs["Distance"].default_value = 0.001
    tree.links.new(weave.outputs["Fac"], bump.inputs["Height"])
    tree.links.new(bump.outputs["Normal"], shader.inputs["Normal"])
    shirt.data.materials.append(material)
    shirt.modifiers.new("smooth", "SUBSURF").render_levels = 1
    animate_object(shirt, job["world_from_body"])


def build_hair(job: dict[str, np.ndarray]) -> None:
    strands = job["strands"]
    if not len(strands):
        return
    count, num_points = strands.shape[:2]
    curves = bpy.data.hair_curves.new("hair")
    curves.add_curves([num_points] * count)
    curves.attributes["position"].data.foreach_set("vector", to_blender(strands).ravel())
    radius = np.linspace(1.0, 0.35, num_points, dtype=np.float32) * float(job["hair_radius_m"])
    (curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")).data.foreach_set("value", np.tile(radius, count))
    material = bpy.data.materials.new("hair")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    shader, output = tree.nodes.new("ShaderNodeBsdfHairPrincipled"), tree.nodes.new("ShaderNodeOutputMaterial")
    shader.parametrization = "COLOR"
    shader.inputs["Color"].default_value = (*job["hair_colour"].tolist(), 1.0)
    shader.inputs["Roughness"].default_value = 0.35
    shader.inputs["Random Roughness"].default_value = 0.3
    tree.links.new(shader.outputs[0], output.inputs["Surface"])
    curves.materials.append(material)
    hair = bpy.data.objects.new("hair", curves)
    bpy.context.scene.collection.objects.link(hair)
    animate_object(hair, job["world_from_root"])


def build_light(job: dict[str, np.ndarray]) -> None:
    from mathutils import Vector

    centre = Vector(to_blender(job["light_centre"]).tolist())
    for index in range(len(job["lamp_directions"])):
        direction = Vector(to_blender(job["lamp_directions"][index]).tolist())
        distance, size = float(job["lamp_distances_m"][index]), float(job["lamp_sizes_m"][index])
        lamp = bpy.data.lights.new(f"lamp{index}", "AREA")
        lamp.shape, lamp.size = "SQUARE", size
        irradiance = job["lamp_irradiance"][index]
        # A small matte lamp of power P gives E = P / (pi d^2) on a surface facing it at distance d.
        level = float(irradiance.max())
        lamp.energy = level * np.pi * distance**2
        lamp.color = (irradiance / level).tolist()
        thing = bpy.data.objects.new(lamp.name, lamp)
        thing.location = centre + direction * distance
        thing.rotation_mode = "QUATERNION"
        thing.rotation_quaternion = (-direction).to_track_quat("-Z", "Y")
        bpy.context.scene.collection.objects.link(thing)
    world = bpy.data.worlds.new("room")
    world.use_nodes = True
    tree = world.node_tree
    background = tree.nodes["Background"]
    place, split, blend = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeSeparateXYZ"), tree.nodes.new("ShaderNodeMix")
    blend.data_type = "RGBA"
    height = tree.nodes.new("ShaderNodeMapRange")
    height.inputs["From Min"].default_value = -1.0
    tree.links.new(place.outputs["Generated"], split.inputs[0])
    tree.links.new(split.outputs["Z"], height.inputs["Value"])
    tree.links.new(height.outputs["Result"], blend.inputs["Factor"])
    colours = [socket for socket in blend.inputs if socket.type == "RGBA"]
    colours[0].default_value = (*job["ground"].tolist(), 1.0)
    colours[1].default_value = (*job["sky"].tolist(), 1.0)
    tree.links.new(next(socket for socket in blend.outputs if socket.type == "RGBA"), background.inputs["Color"])
    bpy.context.scene.world = world


def build_camera(job: dict[str, np.ndarray]) -> None:
    from mathutils import Matrix

    height, width = (int(side) for side in job["size_hw"])
    matrix, long_side = job["px_from_cam"], max(height, width)
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width = "AUTO", 36.0
    data.lens = 36.0 * matrix[0, 0] / long_side
    data.shift_x = (width / 2 - matrix[0, 2]) / long_side
    data.shift_y = (matrix[1, 2] - height / 2) / long_side
    data.clip_start = 0.01
    camera = bpy.data.objects.new("camera", data)
    # Blender's cameras look along -Z with Y up; OpenCV's along +Z with Y down.
    camera.matrix_world = Matrix((BLENDER_FROM_RIG @ job["world_from_cam"] @ np.diag([1.0, -1, -1, 1])).tolist())
    bpy.context.scene.collection.objects.link(camera)
    scene = bpy.context.scene
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100


def set_up_render(job: dict[str, np.ndarray]) -> None:
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = int(job["samples"])
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising = bool(job["use_denoising"])
    scene.cycles.denoising_prefilter = "FAST"
    if hasattr(scene.cycles, "denoising_quality"):
        scene.cycles.denoising_quality = "FAST"
    scene.cycles.seed = int(job["seed"])
    scene.cycles.use_animated_seed = True
    scene.cycles.max_bounces, scene.cycles.diffuse_bounces, scene.cycles.glossy_bounces = 4, 2, 2
    scene.cycles.transparent_max_bounces = 16
    scene.cycles.sample_clamp_indirect = 3.0
    scene.render.threads_mode, scene.render.threads = "FIXED", int(job["threads"])
    scene.render.use_persistent_data = True
    scene.render.film_transparent = True
    scene.render.use_motion_blur = True
    scene.render.motion_blur_shutter = SHUTTER
    scene.render.fps = max(1, round(float(job["fps"])))
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.image_settings.color_depth = "16"
    scene.frame_start, scene.frame_end = FIRST_FRAME, FIRST_FRAME + len(job["head_vertices"]) - 1


def main(job_path: Path, out: Path) -> None:
    with np.load(job_path, allow_pickle=False) as archive:
        job = {key: archive[key] for key in archive.files}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    set_up_render(job)
    build_camera(job)
    build_light(job)
    build_head(job, out)
    if len(job["shirt_triangles"]):
        build_shirt(job)
    build_hair(job)
    scene = bpy.context.scene
    for index in range(len(job["head_vertices"])):
        path = out / f"{index:05d}.png"
        if not path.exists():
            scene.frame_set(FIRST_FRAME + index)
            part = out / f"part_{index:05d}.png"
            scene.render.filepath = str(part)
            bpy.ops.render.render(write_still=True)
            os.replace(part, path)
        say(f"frame {index}")
    say("done")


if __name__ == "__main__":
    code = 1
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]))
        code = 0
    except Exception:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # Blender as a module may hang when the interpreter ends the ordinary way.
        os._exit(code)
