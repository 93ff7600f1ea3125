"""Pictures of an avatar for looking at, made by Blender through the add-on: what a person must judge, because no figure does.

    python tools/avatar_pictures.py PACKAGE FOLDER [--side 320] [--samples 24] [--only turntable relit world expressions]

``turntable.png``: eight views in the clip's own light. ``relit.png``: the same views, lit by one lamp that goes around the other way.
``world.png``: four views, lit by the clip's light as a World (path traced), above the same in Original light: they should resemble each other.
``expressions.png``: single controls and combinations that no clip holds, lit by the scene. Blender's module can hang when Python ends, so the process
leaves without that.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import traceback
from pathlib import Path

import bpy
import cv2
import numpy as np
from mathutils import Vector

ROOT = Path(__file__).resolve().parent.parent
NUM_VIEWS = 8
PICTURES = ("turntable", "relit", "world", "expressions")
EXPRESSIONS: dict[str, dict[str, float]] = {
    "rest": {},
    "jawOpen": {"jawOpen": 1.0},
    "smile": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "cheekSquintLeft": 0.6, "cheekSquintRight": 0.6},
    "blink": {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "wink left": {"eyeBlinkLeft": 1.0},
    "brows up": {"browInnerUp": 1.0, "browOuterUpLeft": 1.0, "browOuterUpRight": 1.0},
    "frown": {"browDownLeft": 1.0, "browDownRight": 1.0, "mouthFrownLeft": 0.8, "mouthFrownRight": 0.8},
    "pucker": {"mouthPucker": 1.0},
    "smile + jaw": {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.7},
    "pucker + brows up": {"mouthPucker": 1.0, "browInnerUp": 1.0},
    "wink right + jaw": {"eyeBlinkRight": 1.0, "jawOpen": 1.0},
    "one-sided smile": {"mouthSmileRight": 1.0, "browOuterUpRight": 1.0},
    "funnel + wide": {"mouthFunnel": 1.0, "eyeWideLeft": 1.0, "eyeWideRight": 1.0},
    "sneer + frown": {"noseSneerLeft": 1.0, "noseSneerRight": 1.0, "browDownLeft": 1.0, "browDownRight": 1.0},
    "press + blink": {"mouthPressLeft": 1.0, "mouthPressRight": 1.0, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
    "everything half": {},
}
NUM_PICTURES = {"turntable": NUM_VIEWS, "relit": NUM_VIEWS, "world": 8, "expressions": len(EXPRESSIONS)}


class Studio:
    """A scene with one avatar, a camera of its own and one lamp.

    Args:
        package: folder of the avatar. side_px: of each view. samples: of Cycles. num_wanted: views in all, for the progress.
    """

    def __init__(self, package: Path, side_px: int, samples: int, num_wanted: int) -> None:
        from blender_avatar.scene import import_avatar

        self.num_shot, self.num_wanted = 0, num_wanted
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.avatar = import_avatar(bpy.context, package)
        self.scene, self.head = bpy.context.scene, bpy.data.objects[self.avatar.heads[0]]
        self.root, self.rig = bpy.data.objects[self.avatar.root], bpy.data.objects[self.avatar.rig]
        self.rig.animation_data_clear()
        for bone in self.rig.pose.bones:
            bone.location, bone.rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
        render = self.scene.render
        render.engine, render.film_transparent, render.resolution_x, render.resolution_y = "CYCLES", True, side_px, side_px
        render.threads_mode, render.threads = "FIXED", int(os.environ.get("OMP_NUM_THREADS", "1"))
        render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
        cycles = self.scene.cycles
        cycles.device, cycles.samples, cycles.use_denoising, cycles.use_adaptive_sampling, cycles.max_bounces = "CPU", samples, True, False, 4
        data = bpy.data.cameras.new("Studio")
        data.angle = math.radians(24)
        self.camera = bpy.data.objects.new("Studio", data)
        self.scene.collection.objects.link(self.camera)
        self.scene.camera = self.camera
        lamp = bpy.data.lights.new("Studio", "AREA")
        lamp.energy, lamp.size = 0.0, 0.6
        self.lamp = bpy.data.objects.new("Studio", lamp)
        self.scene.collection.objects.link(self.lamp)
        self.set_expression({})
        points = np.array([self.head.matrix_world @ Vector(corner) for corner in self.head.bound_box])
        self.centre = Vector((points.min(0) + points.max(0)).tolist()) / 2 + Vector((0, 0, 0.02))
        self.distance = 0.36 * float(np.linalg.norm(np.ptp(points, axis=0))) / math.sin(data.angle / 2)

    def set_expression(self, values: dict[str, float], rest: float = 0.0) -> None:
        face = self.rig.pose.bones["face"]
        for name in list(face.keys()):
            if isinstance(face[name], float):
                face[name] = float(values.get(name, rest))
        self.rig.update_tag()
        bpy.context.view_layer.update()

    def light(self, original: float, lamp_w: float, grey: float) -> None:
        """original: 1 = the clip's own light. lamp_w: power of the lamp. grey: level of a plain World; below 0: leave the World alone."""
        self.head["as_filmed"] = original
        self.head.update_tag()
        self.lamp.data.energy = lamp_w
        if grey >= 0:
            world = bpy.data.worlds.get("Studio grey") or bpy.data.worlds.new("Studio grey")
            if bpy.app.version < (5, 0, 0):
                world.use_nodes = True
            world.node_tree.nodes["Background"].inputs["Color"].default_value = (grey, grey, grey, 1)
            self.scene.world = world

    def shoot(self, azimuth: float, lamp_azimuth: float = 0.6, caption: str = "") -> np.ndarray:
        """(side, side, 3) BGR uint8 from an angle around the head, 0 = the front, over grey."""
        place = lambda angle, lift: self.centre + Vector((math.sin(angle), -math.cos(angle), lift)) * self.distance  # noqa: E731
        for ob, at in ((self.camera, place(azimuth, 0.04)), (self.lamp, self.centre + (place(lamp_azimuth, 0.5) - self.centre) * 0.8)):
            ob.location = at
            ob.rotation_euler = (self.centre - at).to_track_quat("-Z", "Y").to_euler()
        with tempfile.TemporaryDirectory() as folder:
            self.scene.render.filepath = str(Path(folder) / "view.png")
            bpy.ops.render.render(write_still=True)
            picture = cv2.imread(self.scene.render.filepath, cv2.IMREAD_UNCHANGED).astype(np.float32)
        alpha = picture[..., 3:] / 255
        out = np.ascontiguousarray(picture[..., :3] * alpha + 96 * (1 - alpha)).astype(np.uint8)
        self.num_shot += 1
        sys.stderr.write(f"views {self.num_shot}/{self.num_wanted}\n")
        sys.stderr.flush()
        if caption:
            cv2.putText(out, caption, (6, out.shape[0] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)
        return out


def make(package: Path, folder: Path, side_px: int, samples: int, only: list[str]) -> None:
    from blender_avatar.scene import use_clip_light

    studio = Studio(package, side_px, samples, sum(NUM_PICTURES[name] for name in only))
    folder.mkdir(parents=True, exist_ok=True)
    turns = [2 * math.pi * number / NUM_VIEWS for number in range(NUM_VIEWS)]
    has_light = "clip_light" in studio.root
    if "turntable" in only:
        studio.light(1.0, 0.0, 0.0)
        _write(folder / "turntable.png", [studio.shoot(turn) for turn in turns], 4)
    if "relit" in only:
        studio.light(0.0, 12.0, 0.15)
        _write(folder / "relit.png", [studio.shoot(turn, 0.8 - 2 * turn) for turn in turns], 4)
    if "world" in only and has_light:
        views = [-0.7, 0.0, 0.7, math.pi]
        studio.light(0.0, 0.0, -1.0)
        use_clip_light(studio.scene, studio.root)
        lit = [studio.shoot(view, caption="clip light as World") for view in views]
        studio.light(1.0, 0.0, 0.0)
        _write(folder / "world.png", lit + [studio.shoot(view, caption="Original light") for view in views], 4)
    if "expressions" in only:
        studio.light(0.0, 10.0, 0.35)
        cells = []
        for name, values in EXPRESSIONS.items():
            studio.set_expression(values, 0.5 if name == "everything half" else 0.0)
            cells.append(studio.shoot(0.0, caption=name))
        _write(folder / "expressions.png", cells, 4)


def _write(path: Path, cells: list[np.ndarray], columns: int) -> None:
    rows = [np.concatenate(cells[start : start + columns], 1) for start in range(0, len(cells), columns)]
    cv2.imwrite(str(path), np.concatenate(rows, 0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--samples", type=int, default=24)
    parser.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES))
    options = parser.parse_args()
    make(options.package.absolute(), options.folder.absolute(), options.side, options.samples, options.only)
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    try:
        status = main()
    except SystemExit as leaving:
        status = int(leaving.code or 0)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
