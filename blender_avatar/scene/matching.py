"""Makes a scene fit a clip. Never done behind the artist's back: an import does it only in an empty scene."""

from __future__ import annotations

import bpy

from .names import avatar_roots, camera_of, root_of


def match_scene_to_clip(scene: bpy.types.Scene, root: bpy.types.Object | None = None) -> list[str]:
    """Takes over the clip's rate, range, picture size and camera.

    Args:
        scene: to change. root: any object of the avatar; None = the only avatar of the scene, or the active object's.

    Returns:
        What changed, one line each, for the user. Empty when everything fitted already.

    Raises:
        ValueError: no avatar, or several and none chosen.
    """
    root = chosen_root(scene, root)
    render = scene.render
    rate, base = rate_of(float(root["clip_fps"]))
    width, height = (int(root[f"clip_{side}_px"]) for side in ("width", "height"))
    wanted = [
        (render, "fps", rate), (render, "fps_base", base), (scene, "frame_start", int(root["clip_frame_start"])),
        (scene, "frame_end", int(root["clip_frame_end"])), (render, "resolution_x", width), (render, "resolution_y", height),
        (render, "resolution_percentage", 100), (render, "pixel_aspect_x", 1.0), (render, "pixel_aspect_y", 1.0), (scene, "camera", camera_of(root)),
    ]  # fmt: skip
    changes = _apply(wanted)
    if scene.frame_current < scene.frame_start or scene.frame_current > scene.frame_end:
        scene.frame_set(scene.frame_start)
    return changes


def match_clip_colours(scene: bpy.types.Scene) -> list[str]:
    """Shows colours as the clip has them: view transform Standard, look None, exposure 0, gamma 1. Returns what changed."""
    view = scene.view_settings
    display = scene.display_settings
    wanted = [(display, "display_device", "sRGB"), (view, "view_transform", "Standard"), (view, "look", "None"), (view, "exposure", 0.0), (view, "gamma", 1.0)]
    return _apply(wanted)


def rate_of(fps: float) -> tuple[int, float]:
    """Blender's two numbers for a frame rate: 29.97 -> (30, 1.001)."""
    rate = max(1, round(fps))
    return rate, rate / fps


def is_empty(scene: bpy.types.Scene) -> bool:
    """Whether nobody has put anything into the scene yet."""
    return len(scene.objects) == 0


def _apply(wanted: list[tuple[object, str, object]]) -> list[str]:
    changes = []
    for owner, field, value in wanted:
        old = getattr(owner, field)
        is_same = abs(old - value) < 1e-6 if isinstance(value, float) else old == value
        if is_same:
            continue
        words = field.replace("_", " ")
        try:
            setattr(owner, field, value)
        except TypeError:  # a studio's own colour configuration need not have Blender's names
            changes.append(f"{words}: {_text(value)} is not available here")
        else:
            changes.append(f"{words}: {_text(old)} → {_text(value)}")
    return changes


def _text(value: object) -> str:
    return getattr(value, "name", None) or (f"{value:g}" if isinstance(value, float) else str(value))


def chosen_root(scene: bpy.types.Scene, root: bpy.types.Object | None = None) -> bpy.types.Object:
    """The avatar meant: of the object given, of the active object, or the only one. Raises ValueError when that is unclear."""
    roots = avatar_roots(scene)
    if root is None and scene.view_layers and len(roots) > 1:
        root = scene.view_layers[0].objects.active
    found = root_of(root) if root is not None else (roots[0] if len(roots) == 1 else None)
    if found is None:
        raise ValueError("There is no avatar in this scene." if not roots else "Select an avatar first: this scene has several.")
    return found
