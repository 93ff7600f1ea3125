"""Materials of the head. Every node says what it is for, so that an artist can take over."""

from __future__ import annotations

import dataclasses

import bpy

from . import face_group
from .dynamic_texture import DYNAMIC
from .face_group import FaceParts
from .lashes import STRAND, TIP
from .mesh import UV_NAME
from .names import AS_FILMED


@dataclasses.dataclass(frozen=True)
class Look:
    """Surface of one material. roughness, specular: Principled values. subsurface: weight, with radius in metres (red)."""

    roughness: float
    specular: float = 0.5
    subsurface: float = 0.0
    subsurface_m: float = 0.004


LOOKS = {
    "Skin": Look(0.5, 0.4, 0.1),
    "Scalp": Look(0.6, 0.3),
    "Eye": Look(0.25, 0.2),  # the cornea adds the wet reflection
    "Teeth": Look(0.2, 0.5, 0.1, 0.002),
    "Tongue": Look(0.3, 0.5, 0.15),
}
LASH_COLOUR = (0.012, 0.009, 0.007, 1.0)
SOLID_COLOURS = {
    "Skin": (0.6, 0.4, 0.32, 1.0), "Scalp": (0.2, 0.15, 0.12, 1.0), "Lashes": (0.02, 0.015, 0.01, 0.25), "Eye": (0.8, 0.78, 0.76, 1.0),
    "Cornea": (1.0, 1.0, 1.0, 0.0), "Teeth": (0.8, 0.75, 0.65, 1.0), "Tongue": (0.55, 0.25, 0.25, 1.0),
}  # fmt: skip
"""Linear colours of the viewport's solid shading, which knows no nodes: there only the last number makes the cornea clear."""


def create_materials(name: str, wanted: list[str], parts: FaceParts) -> dict[str, bpy.types.Material]:
    """Makes ``NAME.Skin`` and so on for the wanted names. parts: what those share that wear the texture."""
    made = {}
    for kind in wanted:
        material = bpy.data.materials.new(f"{name}.{kind}")
        if bpy.app.version < (5, 0, 0):  # later every material has nodes, and asking warns
            material.use_nodes = True
        material.node_tree.nodes.clear()
        material.diffuse_color = SOLID_COLOURS[kind]
        if kind == "Cornea":
            _build_cornea(material)
        elif kind == "Lashes":
            _build_lashes(material)
        else:
            _build_textured(material, LOOKS[kind], parts)
        made[kind] = material
    return made


def _node(tree: bpy.types.NodeTree, kind: str, label: str, x: float, y: float) -> bpy.types.Node:
    node = tree.nodes.new(kind)
    node.label, node.location = label, (x, y)
    return node


def _output(tree: bpy.types.NodeTree, surface: bpy.types.NodeSocket, x: float) -> None:
    output = _node(tree, "ShaderNodeOutputMaterial", "Material output", x, 0)
    tree.links.new(surface, output.inputs["Surface"])


def _as_filmed(tree: bpy.types.NodeTree, lit: bpy.types.NodeSocket, colour: bpy.types.NodeSocket | tuple[float, ...], x: float) -> bpy.types.NodeSocket:
    """Mixes the lit surface with plain emission by the head's property ``as_filmed``."""
    switch = _node(tree, "ShaderNodeAttribute", "As filmed: 0 scene lights, 1 clip's light", x - 220, 240)
    switch.attribute_type, switch.attribute_name = "OBJECT", AS_FILMED
    emission = _node(tree, "ShaderNodeEmission", "Clip's light (emission)", x - 220, -420)
    if isinstance(colour, tuple):
        emission.inputs["Color"].default_value = colour
    else:
        tree.links.new(colour, emission.inputs["Color"])
    mix = _node(tree, "ShaderNodeMixShader", "Scene lights or clip's light", x, 0)
    tree.links.new(switch.outputs["Fac"], mix.inputs[0])
    tree.links.new(lit, mix.inputs[1])
    tree.links.new(emission.outputs[0], mix.inputs[2])
    return mix.outputs[0]


def _build_textured(material: bpy.types.Material, look: Look, parts: FaceParts) -> None:
    """The texture into ``VA Face``, whose switches follow the head's properties."""
    tree = material.node_tree
    place = _node(tree, "ShaderNodeUVMap", "Where on the texture", -900, 0)
    place.uv_map = UV_NAME
    face = _node(tree, "ShaderNodeGroup", "VA Face", -120, 0)
    face.node_tree, face.width = parts.group, 220
    for socket, value in (
        (face_group.ROUGHNESS, look.roughness), (face_group.SPECULAR, look.specular), (face_group.SUBSURFACE, look.subsurface), (face_group.SUBSURFACE_M, look.subsurface_m)
    ):  # fmt: skip
        face.inputs[socket].default_value = value
    pictures = [(parts.albedo, "Albedo from the clip (sRGB)", face_group.BASE, 120)]
    switches = [(AS_FILMED, "As filmed: 0 scene lights, 1 clip's light", face_group.ORIGINAL, -420)]
    if parts.mask:
        pictures.append((parts.mask, "Where the dynamic texture paints", face_group.MASK, -160))
        switches.append((DYNAMIC, "How much of the dynamic texture", face_group.DYNAMIC, -620))
    for image, label, socket, y in pictures:
        texture = _node(tree, "ShaderNodeTexImage", label, -680, y)
        texture.image, texture.interpolation, texture.extension = image, "Linear", "EXTEND"
        tree.links.new(place.outputs[0], texture.inputs[0])
        tree.links.new(texture.outputs["Color"], face.inputs[socket])
    for attribute, label, socket, y in switches:
        switch = _node(tree, "ShaderNodeAttribute", label, -420, y)
        switch.attribute_type, switch.attribute_name = "OBJECT", attribute
        tree.links.new(switch.outputs["Fac"], face.inputs[socket])
    _output(tree, face.outputs["Surface"], 300)


def _build_cornea(material: bpy.types.Material) -> None:
    """Clear: only its reflection is seen. Light passes straight through, so the eye behind is neither dark nor noisy."""
    tree = material.node_tree
    clear = _node(tree, "ShaderNodeBsdfTransparent", "Clear", -320, 120)
    gloss = _node(tree, "ShaderNodeBsdfGlossy", "Wet reflection", -320, -40)
    gloss.inputs["Roughness"].default_value = 0.03
    share = _node(tree, "ShaderNodeFresnel", "How much is reflected (cornea: 1.376)", -900, 300)
    share.inputs["IOR"].default_value = 1.376
    facing = _node(tree, "ShaderNodeNewGeometry", "Inner side reflects nothing", -900, 120)
    path = _node(tree, "ShaderNodeLightPath", "Shadows pass through", -900, -160)
    switch = _node(tree, "ShaderNodeAttribute", "As filmed: 0 scene lights, 1 clip's light", -900, -460)
    switch.attribute_type, switch.attribute_name = "OBJECT", AS_FILMED
    product = share.outputs[0]
    for factor, label, x in (
        (facing.outputs["Backfacing"], "only outside", -680), (path.outputs["Is Camera Ray"], "only seen directly", -560), (switch.outputs["Fac"], "not as filmed", -440)
    ):  # fmt: skip
        source = factor
        if "only seen" not in label:
            flip = _node(tree, "ShaderNodeMath", f"1 - x ({label})", x - 60, -260)
            flip.operation = "SUBTRACT"
            flip.inputs[0].default_value = 1.0
            tree.links.new(factor, flip.inputs[1])
            source = flip.outputs[0]
        times = _node(tree, "ShaderNodeMath", f"times: {label}", x, 300)
        times.operation = "MULTIPLY"
        tree.links.new(product, times.inputs[0])
        tree.links.new(source, times.inputs[1])
        product = times.outputs[0]
    mix = _node(tree, "ShaderNodeMixShader", "Clear or reflecting", -60, 0)
    tree.links.new(product, mix.inputs[0])
    tree.links.new(clear.outputs[0], mix.inputs[1])
    tree.links.new(gloss.outputs[0], mix.inputs[2])
    _output(tree, mix.outputs[0], 180)
    _see_through(material)


def _build_lashes(material: bpy.types.Material) -> None:
    """Dark hairs cut out of the bands: solid at the lid, thinner towards the tip, each of its own length."""
    tree = material.node_tree
    surface = _node(tree, "ShaderNodeBsdfPrincipled", "Lashes surface", -320, 0)
    surface.inputs["Base Color"].default_value = LASH_COLOUR
    surface.inputs["Roughness"].default_value = 0.6
    filmed = _as_filmed(tree, surface.outputs[0], LASH_COLOUR, 60)

    strand = _node(tree, "ShaderNodeAttribute", "Number of the hair", -1500, -500)
    strand.attribute_name = STRAND
    tip = _node(tree, "ShaderNodeAttribute", "0 at the lid, 1 at the tip", -1500, -740)
    tip.attribute_name = TIP
    bend = _node(tree, "ShaderNodeMath", "Hairs lean outwards", -1280, -620)
    bend.operation, bend.inputs[1].default_value = "MULTIPLY_ADD", 0.8
    tree.links.new(tip.outputs["Fac"], bend.inputs[0])
    tree.links.new(strand.outputs["Fac"], bend.inputs[2])
    middle = _node(tree, "ShaderNodeMath", "Distance from the hair's middle", -1060, -500)
    middle.operation, middle.inputs[1].default_value = "PINGPONG", 0.5
    tree.links.new(bend.outputs[0], middle.inputs[0])
    whole = _node(tree, "ShaderNodeMath", "Which hair", -1060, -860)
    whole.operation = "ROUND"
    tree.links.new(bend.outputs[0], whole.inputs[0])
    chance = _node(tree, "ShaderNodeTexWhiteNoise", "Its own length", -840, -860)
    chance.noise_dimensions = "1D"
    tree.links.new(whole.outputs[0], chance.inputs["W"])
    end = _node(tree, "ShaderNodeMapRange", "Ends between 55 and 100 %", -620, -860)
    end.inputs["To Min"].default_value, end.inputs["To Max"].default_value = 0.55, 1.0
    tree.links.new(chance.outputs["Value"], end.inputs["Value"])
    width = _node(tree, "ShaderNodeMapRange", "Half width, root to tip", -400, -740)
    width.inputs["To Min"].default_value, width.inputs["To Max"].default_value = 0.3, 0.0
    tree.links.new(tip.outputs["Fac"], width.inputs["Value"])
    tree.links.new(end.outputs[0], width.inputs["From Max"])
    inside = _node(tree, "ShaderNodeMath", "Half width - distance", -180, -500)
    inside.operation = "SUBTRACT"
    tree.links.new(width.outputs[0], inside.inputs[0])
    tree.links.new(middle.outputs[0], inside.inputs[1])
    alpha = _node(tree, "ShaderNodeMapRange", "Hair or gap, soft edge", 40, -500)
    alpha.inputs["From Min"].default_value, alpha.inputs["From Max"].default_value = -0.06, 0.06
    tree.links.new(inside.outputs[0], alpha.inputs["Value"])

    gap = _node(tree, "ShaderNodeBsdfTransparent", "Gap between hairs", 60, -240)
    mix = _node(tree, "ShaderNodeMixShader", "Gap or hair", 280, 0)
    tree.links.new(alpha.outputs[0], mix.inputs[0])
    tree.links.new(gap.outputs[0], mix.inputs[1])
    tree.links.new(filmed, mix.inputs[2])
    _output(tree, mix.outputs[0], 500)
    _see_through(material)


def _see_through(material: bpy.types.Material) -> None:
    material.surface_render_method = "BLENDED"
    material.use_transparency_overlap = False
