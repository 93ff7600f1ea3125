"""The avatar package ``NAME.avatar/``: the only writer and the only reader of its files (docs/formats/avatar.md).

``model``, ``gaze`` and ``read`` need numpy and the standard library only, so the add-on may load them inside Blender.
"""
