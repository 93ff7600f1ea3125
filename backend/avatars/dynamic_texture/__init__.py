"""The dynamic texture: a small network repaints eyes, mouth and wrinkles of the static texture with the expression (docs/dynamic-texture.md)."""
