"""Runs in a child process with Blender's Python module: imports an avatar through the add-on, saves a .blend, renders pictures.

    python tools/demo_blend.py make PACKAGE SCENE.blend PICTURES_FOLDER SECONDS SIDE_PX
    python tools/demo_blend.py check SCENE.blend

``make`` renders the end of the clip through the tracked camera (``clip_0001.png`` ..., cut to the head; ``crop.json`` says where) and a
turn around the head in the scene's own light (``turn_0001.png`` ...). ``check`` opens the file without the add-on and says how far
the head's vertices move during the clip. Blender's module can hang when Python ends, so the process leaves without that.
"""

from __future__ import annotations

import json
import math
import os
import sys
import traceback
from pathlib import Path

import bpy
import numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector

ROOT = Path(__file__).resolve().parent.parent
NUM_TURN_FRAMES = 32
CLIP_SAMPLES, TURN_SAMPLES = 6, 8


def make(package: Path, blend: Path, pictures: Path, seconds: float, side_px: int) -> None:
    sys.path.insert(0, str(ROOT))
    from blender_avatar.scene import import_avatar

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))  # so that the background clip is kept by a relative path
    avatar = import_avatar(bpy.context, package)
    head = bpy.data.objects[avatar.heads[0]]
    light_scene(scene, head)
    head["as_filmed"] = 0.0
    set_engine(scene)
    scene.frame_set(scene.frame_start)
    bpy.ops.wm.save_as_mainfile(filepath=str(blend), compress=True, relative_remap=True)
    blend.with_suffix(".blend1").unlink(missing_ok=True)
    say("scene", 0, 1)
    pictures.mkdir(parents=True, exist_ok=True)
    render_clip(scene, head, pictures, seconds, side_px)
    render_turn(scene, head, pictures, 3 * side_px // 4)


def set_engine(scene: bpy.types.Scene) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.transparent_max_bounces = 16
    scene.cycles.max_bounces = 4
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGB"
    scene.render.threads_mode = "FIXED"
    scene.render.threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def light_scene(scene: bpy.types.Scene, head: bpy.types.Object) -> None:
    """A soft key from the side and a grey world, so that F12 shows something. In a collection of their own."""
    world = bpy.data.worlds.new("Demo world")
    if not world.use_nodes:
        world.use_nodes = True
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.32, 0.34, 0.38, 1)
    world.node_tree.nodes["Background"].inputs["Strength"].default_value = 0.9
    scene.world = world
    collection = bpy.data.collections.new("Demo light")
    scene.collection.children.link(collection)
    centre, _ = bounds(head)
    for name, offset, energy, size, colour in (("Key", (-0.9, -1.2, 0.8), 22.0, 0.9, (1, 0.95, 0.9)), ("Rim", (1.1, 0.9, 0.7), 14.0, 0.5, (0.85, 0.92, 1))):
        data = bpy.data.lights.new(f"Demo {name}", "AREA")
        data.energy, data.size, data.color = energy, size, colour
        light = bpy.data.objects.new(f"Demo {name}", data)
        light.location = centre + Vector(offset)
        light.rotation_euler = (centre - light.location).to_track_quat("-Z", "Y").to_euler()
        collection.objects.link(light)


def points_of(head: bpy.types.Object) -> np.ndarray:
    """(V, 3) evaluated vertices in the world, m."""
    evaluated = head.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    points = np.empty(len(mesh.vertices) * 3, np.float32)
    mesh.vertices.foreach_get("co", points)
    evaluated.to_mesh_clear()
    matrix = np.array(evaluated.matrix_world)
    return points.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]


def bounds(head: bpy.types.Object) -> tuple[Vector, float]:
    """Centre and radius of the head now, m."""
    points = points_of(head)
    low, high = points.min(0), points.max(0)
    return Vector(((low + high) / 2).tolist()), float(np.linalg.norm(high - low) / 2)


def render_clip(scene: bpy.types.Scene, head: bpy.types.Object, pictures: Path, seconds: float, side_px: int) -> None:
    """The last seconds of the clip (the test block is there), in the clip's own light, cut to a square around the head."""
    rate = scene.render.fps / scene.render.fps_base
    last = scene.frame_end
    first = max(scene.frame_start, last - round(seconds * rate) + 1)
    step = max(1, round(rate / 25))
    frames = list(range(first, last + 1, step))
    left, low, side = crop_square(scene, head, frames[:: max(1, len(frames) // 12)])
    width, height = scene.render.resolution_x, scene.render.resolution_y
    scene.render.use_border = scene.render.use_crop_to_border = True
    scene.render.border_min_x, scene.render.border_max_x = max(0.0, left / width), min(1.0, (left + side) / width)
    scene.render.border_min_y, scene.render.border_max_y = max(0.0, low / height), min(1.0, (low + side) / height)
    scene.render.resolution_percentage = max(1, min(100, round(100 * side_px / side)))
    head["as_filmed"] = 1.0
    head.update_tag()
    scene.cycles.samples, scene.cycles.use_denoising = CLIP_SAMPLES, False
    scene.render.use_persistent_data = True
    for number, frame in enumerate(frames, start=1):
        scene.frame_set(frame)
        scene.render.filepath = str(pictures / f"clip_{number:04d}.png")
        bpy.ops.render.render(write_still=True)
        say("clip", number, len(frames))
    facts = {
        "frames": [frame - scene.frame_start for frame in frames], "fps": rate / step, "size_wh": [width, height],
        "crop_px": [max(0, left), max(0, height - low - side), min(width, left + side), min(height, height - low)],
    }  # fmt: skip
    (pictures / "crop.json").write_text(json.dumps(facts))
    scene.render.use_border = scene.render.use_crop_to_border = False
    scene.render.resolution_percentage = 100


def crop_square(scene: bpy.types.Scene, head: bpy.types.Object, frames: list[int]) -> tuple[int, int, int]:
    """Left, lower edge (from below) and side in px of a square that holds the head in all frames."""
    width, height = scene.render.resolution_x, scene.render.resolution_y
    seen = []
    for frame in frames:
        scene.frame_set(frame)
        views = [world_to_camera_view(scene, scene.camera, Vector(point)) for point in points_of(head)[::20].tolist()]
        seen.append(np.array([(view.x * width, view.y * height) for view in views]))
    points = np.concatenate(seen)
    low, high = points.min(0), points.max(0)
    side = min(1.12 * float((high - low).max()), width, height)
    corner = np.clip((low + high) / 2 - side / 2, 0, [width - side, height - side])
    return int(corner[0]), int(corner[1]), int(side)


def render_turn(scene: bpy.types.Scene, head: bpy.types.Object, pictures: Path, side_px: int) -> None:
    """Once around the head at the first frame, in the scene's light, with a camera of its own (not saved)."""
    scene.frame_set(scene.frame_start)
    centre, radius = bounds(head)
    data = bpy.data.cameras.new("Demo turn")
    data.angle = math.radians(30)
    camera = bpy.data.objects.new("Demo turn", data)
    scene.collection.objects.link(camera)
    before = scene.camera
    scene.camera = camera
    scene.render.resolution_x = scene.render.resolution_y = side_px
    head["as_filmed"] = 0.0
    head.update_tag()
    scene.render.use_persistent_data = False  # what is kept from the clip would bring its light along
    scene.cycles.samples, scene.cycles.use_denoising = TURN_SAMPLES, True
    forward = -head.matrix_world.to_3x3().col[1]
    start = math.atan2(forward.y, forward.x)
    distance = 0.85 * radius / math.sin(data.angle / 2)
    for number in range(NUM_TURN_FRAMES):
        angle = start + 2 * math.pi * number / NUM_TURN_FRAMES
        camera.location = centre + Vector((math.cos(angle), math.sin(angle), 0.12)) * distance
        camera.rotation_euler = (centre - camera.location).to_track_quat("-Z", "Y").to_euler()
        scene.render.filepath = str(pictures / f"turn_{number + 1:04d}.png")
        bpy.ops.render.render(write_still=True)
        scene.render.use_persistent_data = True  # from here on only the camera moves
        say("turn", number + 1, NUM_TURN_FRAMES)
    scene.camera = before


def check(blend: Path) -> None:
    """Prints, as JSON, how far the heads' vertices move over the clip in a Blender that knows nothing of the add-on."""
    bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
    known = [name for name in sys.modules if name.startswith(("blender_avatar", "backend", "video_avatar"))]
    scene = bpy.context.scene
    heads = [ob for ob in scene.objects if ob.type == "MESH" and ob.data.shape_keys and any(modifier.type == "ARMATURE" for modifier in ob.modifiers)]
    middle = (scene.frame_start + scene.frame_end) // 2
    moved_mm = 0.0
    for head in heads:
        poses = []
        for frame in (scene.frame_start, middle, scene.frame_end):
            scene.frame_set(frame)
            poses.append(points_of(head))
        moved_mm = max(moved_mm, *(1000 * float(np.linalg.norm(pose - poses[0], axis=1).max()) for pose in poses[1:]))
    packed = all(image.packed_file for image in bpy.data.images if image.source == "FILE")
    print(json.dumps({"heads": len(heads), "moved_mm": moved_mm, "textures_packed": packed, "our_modules": known, "texts": len(bpy.data.texts)}))  # noqa: T201


def say(stage: str, done: int, total: int) -> None:
    """Progress for the parent: a line on stderr."""
    sys.stderr.write(f"{stage} {done}/{total}\n")
    sys.stderr.flush()


def main() -> int:
    command, *arguments = sys.argv[1:]
    if command == "make":
        package, blend, pictures, seconds, side_px = arguments
        make(Path(package).absolute(), Path(blend).absolute(), Path(pictures).absolute(), float(seconds), int(side_px))
    else:
        check(Path(arguments[0]).absolute())
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
