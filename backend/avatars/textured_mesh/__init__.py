"""The tracked mesh with its static texture: the baseline every other representation is measured against."""

from ..textured_head import TexturedMesh, state_of
from .export import export
from .render import render

__all__ = ["TexturedMesh", "export", "render", "requires", "state_of"]

requires = ("track",)
