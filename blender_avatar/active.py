"""The avatar that is meant, and its confidence, for whatever draws: panels and overlays. Reads custom properties only."""

from .confidence import RECORD
from .pins import PINS, read_pins

MARK = "video_avatar"  # custom property of an avatar's root object, written by the import


def active_root(context):
    """Root empty of the avatar above the active object, else of the only avatar of the scene; None when that is unclear.

    Looks at collections of the scene only, not at all objects: this runs at every redraw.
    """
    ob = context.object
    while ob is not None:
        if MARK in ob:
            return ob
        ob = ob.parent
    roots = [root for c in context.scene.collection.children if (root := c.objects.get(c.name)) is not None and MARK in root]
    return roots[0] if len(roots) == 1 else None


def active_rig(context):
    """Armature object of the avatar that is meant, or None."""
    root, ob = active_root(context), context.object
    if root is None:
        return None
    while ob is not None and ob != root:
        if ob.type == "ARMATURE" and ob.parent == root:
            return ob
        ob = ob.parent
    for collection in root.users_collection:  # by name first: an object's children are found by looking at all objects
        named = collection.objects.get(f"{root.name}.rig")
        if named is not None and named.type == "ARMATURE" and named.parent == root:
            return named
    return next((child for child in root.children if child.type == "ARMATURE"), None)


def active_record(context):
    """What the clip recorded, as the custom property of the Action in use (or pushed down into the NLA); None when there is none."""
    rig = active_rig(context)
    animation = rig.animation_data if rig else None
    if animation is None:
        return None
    for action in (animation.action, *(strip.action for track in animation.nla_tracks for strip in track.strips)):
        if action is not None and RECORD in action:
            return action[RECORD]
    return None


def confidence_of(record):
    """(frames, confidence, is_tracked) as lists."""
    return tuple(record[key].to_list() for key in ("frames", "confidence", "is_tracked"))


def regions_of(record):
    """(names, confidence row by row) as lists; both empty when the avatar has none."""
    names = [text for text in record["region_names"].split("\n") if text]
    return names, record["region_confidence"].to_list() if names else []


def active_pins(context):
    """Pins of the avatar that is meant, in the order of their list."""
    rig = active_rig(context)
    return read_pins(str(rig.get(PINS, ""))) if rig else []


def scene_frame_of(record, time_index):
    """Scene frame of a picture of the clip, or None."""
    indices = record["time_index"].to_list()
    return record["frames"][indices.index(time_index)] if time_index in indices else None
