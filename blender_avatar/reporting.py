"""How operators tell what went wrong: in Blender's report and where the panel shows it."""

import bpy

from . import session
from .backend_link import backend_module
from .client.job import Failure


def refuse(operator, failure):
    """Shows a Failure and ends the operator."""
    session.show_failure(failure)
    operator.report({"ERROR"}, f"{failure.message} {failure.hint}".strip())
    return {"CANCELLED"}


def chosen_avatar(operator, context):
    """Root empty of the avatar that is meant, or None after saying why there is none. Leaves modes in which undo knows nothing of animation."""
    from .scene import chosen_root, root_of

    if context.mode not in ("OBJECT", "POSE") and bpy.ops.object.mode_set.poll():
        bpy.ops.object.mode_set(mode="OBJECT")
    try:
        return chosen_root(context.scene, root_of(context.object))
    except ValueError as problem:  # no avatar, or several and none selected
        operator.report({"ERROR"}, str(problem))
        return None


def attempt(operator, function, *arguments):
    """Result of a function, or None after showing the AvatarError that it raised."""
    try:
        result = function(*arguments)
    except backend_module("errors").AvatarError as error:
        refuse(operator, Failure(error.code, error.message, error.hint, error.detail))
        return None
    session.clear_messages()
    return result


def scene_range(operator, scene):
    """First and last frame: the operator's own, or the scene's where it has none."""
    start = operator.frame_start if operator.properties.is_property_set("frame_start") else scene.frame_start
    end = operator.frame_end if operator.properties.is_property_set("frame_end") else scene.frame_end
    return start, end
