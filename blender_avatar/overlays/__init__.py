"""What is drawn over Blender's editors: the confidence strip and the pins. Plain data in, pixels out; nothing is changed here."""

from . import pin_markers, strip

PARTS = (strip, pin_markers)


def register():
    for part in PARTS:
        part.register()


def unregister():
    for part in reversed(PARTS):
        part.unregister()
