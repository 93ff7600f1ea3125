"""Video Avatar: a phone video becomes an animated head made of ordinary Blender data."""

from importlib import import_module

PARTS = ("prefs", "props", "operators", "panels", "overlays", "session")
"""In the order of registration. Loaded by ``register``, so that the parts without bpy can be imported in any Python."""


def register() -> None:
    for part in PARTS:
        import_module(f".{part}", __package__).register()


def unregister() -> None:
    for part in reversed(PARTS):
        import_module(f".{part}", __package__).unregister()
