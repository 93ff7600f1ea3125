"""The tracked mesh with its static texture: the baseline every other representation is measured against."""

from .export import export
from .render import render
from .state import TexturedMesh, state_of

__all__ = ["TexturedMesh", "export", "render", "requires", "state_of"]

requires = ("track",)
