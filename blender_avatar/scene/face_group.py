"""The node group ``VA Face``: one surface for everything that wears the head's texture, under the scene's lights or the clip's own."""

from __future__ import annotations

import dataclasses

import bpy

from .light_nodes import MIN_SHADE, SceneLight, add_quadratic, quadratic
from .node_tree import Nodes, add_socket, new_group

TEXT = (
    "Surface of an avatar. Base colour is its albedo; the dynamic texture is added where Mask is white. "
    "Original light 0: lit by the scene. 1: shows the clip's own light, without shading, as the clip filmed it (view transform Standard)"
)
BASE, MASK, DYNAMIC, ORIGINAL = "Base Color", "Mask", "Dynamic", "Original light"
ROUGHNESS, SPECULAR, SUBSURFACE, SUBSURFACE_M = "Roughness", "Specular", "Subsurface", "Subsurface Scale"
_SKIN_RADIUS = (1.0, 0.35, 0.2)
"""Red scatters farthest, relative to Subsurface Scale."""
_HAIR_LUMINANCE, _HAIR_SPECULAR = (0.03, 0.12), 0.15
"""Linear luminance of the albedo below which a place counts as hair, and above which as skin; share of Specular that hair keeps."""


@dataclasses.dataclass(frozen=True)
class FaceParts:
    """What the materials of one avatar share. mask is None without a dynamic texture."""

    group: bpy.types.NodeTree
    albedo: bpy.types.Image
    mask: bpy.types.Image | None


def create_face_group(name: str, light: SceneLight | None, tiles: bpy.types.NodeTree | None) -> bpy.types.NodeTree:
    """Makes ``NAME.VA Face``.

    Args:
        light: of the clip; None when the albedo still holds it. tiles: the group that sums the eigen tiles, None without a dynamic texture.
    """
    tree = new_group(f"{name}.VA Face", "ShaderNodeTree", TEXT)
    add_socket(tree, BASE, "Color", "Albedo of the static texture", default=(0.6, 0.4, 0.32, 1.0))
    if tiles:
        add_socket(tree, MASK, "Float", "Where the dynamic texture paints: 1 = all of it, 0 = none", low=0.0, high=1.0, default=0.0)
        add_socket(tree, DYNAMIC, "Float", "How much of the dynamic texture is seen", low=0.0, high=1.0, default=1.0)
    add_socket(tree, ORIGINAL, "Float", "0 = lights of the scene, 1 = the clip's own light", low=0.0, high=1.0, default=0.0)
    add_socket(tree, ROUGHNESS, "Float", "0 = mirror, 1 = matte", low=0.0, high=1.0, default=0.5)
    add_socket(tree, SPECULAR, "Float", "Strength of the reflection; 0.5 is a plain surface", low=0.0, high=1.0, default=0.4)
    add_socket(tree, SUBSURFACE, "Float", "How much light goes through the skin", low=0.0, high=1.0, default=0.1)
    add_socket(tree, SUBSURFACE_M, "Float", "How far light goes under the skin, metres", default=0.004)
    add_socket(tree, "Surface", "Shader", "To the material's surface", is_output=True)
    add_socket(tree, "Albedo", "Color", "Static and dynamic texture together, for a surface of your own", is_output=True)
    nodes = Nodes(tree)
    given = nodes.add("NodeGroupInput", "What comes in", -7, 0).outputs
    albedo = _add_dynamic(nodes, given, tiles) if tiles else given[BASE]

    lit = nodes.add("ShaderNodeBsdfPrincipled", "Lit by the scene", -1, 0)
    nodes.connect(lit.inputs["Base Color"], albedo)
    nodes.connect(lit.inputs["Specular IOR Level"], _add_hair(nodes, albedo, given[SPECULAR]))
    for source, target in ((ROUGHNESS, "Roughness"), (SUBSURFACE, "Subsurface Weight"), (SUBSURFACE_M, "Subsurface Scale")):
        nodes.connect(lit.inputs[target], given[source])
    lit.inputs["Subsurface Radius"].default_value = _SKIN_RADIUS

    filmed = nodes.add("ShaderNodeEmission", "The clip's own light", -1, 5)
    nodes.connect(filmed.inputs["Color"], _add_shade(nodes, albedo, light) if light else albedo)
    mix = nodes.add("ShaderNodeMixShader", "Scene lights or the clip's", 0.5, 0)
    nodes.connect(mix.inputs[0], given[ORIGINAL])
    nodes.connect(mix.inputs[1], lit.outputs[0])
    nodes.connect(mix.inputs[2], filmed.outputs[0])
    out = nodes.add("NodeGroupOutput", "What goes out", 1.5, 0)
    nodes.connect(out.inputs["Surface"], mix.outputs[0])
    nodes.connect(out.inputs["Albedo"], albedo)
    return tree


def _add_dynamic(nodes: Nodes, given: bpy.types.bpy_prop_collection, tiles: bpy.types.NodeTree) -> bpy.types.NodeSocket:
    """Base colour + Dynamic x Mask x tiles, kept within 0 and 1."""
    group = nodes.add("ShaderNodeGroup", "Sum of the eigen tiles", -5.5, 1, node_tree=tiles)
    amount = nodes.math("MULTIPLY", "Dynamic x Mask", -5.5, 0, given[DYNAMIC], given[MASK])
    offset = nodes.vector("SCALE", "Offset from the static texture", -4.5, 1, group.outputs[0], amount)
    changed = nodes.vector("ADD", "Static + offset (linear light)", -3.5, 0, given[BASE], offset)
    above = nodes.vector("MAXIMUM", "Not below 0", -2.7, 0, changed, (0.0, 0.0, 0.0))
    return nodes.vector("MINIMUM", "Not above 1", -2, 0, above, (1.0, 1.0, 1.0))


def _add_hair(nodes: Nodes, albedo: bpy.types.NodeSocket, specular: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Specular, less of it where the texture is dark: hair, beard and brows are painted on, and must not shine like a sheet."""
    luminance = nodes.vector("DOT_PRODUCT", "How bright the albedo is", -4, 3.5, albedo, (0.2126, 0.7152, 0.0722))
    share = nodes.add("ShaderNodeMapRange", "Painted hair shines less", -3, 3.5)
    for socket, value in (("Value", luminance), ("From Min", _HAIR_LUMINANCE[0]), ("From Max", _HAIR_LUMINANCE[1]), ("To Min", _HAIR_SPECULAR), ("To Max", 1.0)):
        nodes.connect(share.inputs[socket], value)
    return nodes.math("MULTIPLY", "Specular", -2, 3.5, specular, share.outputs["Result"])


def _add_shade(nodes: Nodes, albedo: bpy.types.NodeSocket, light: SceneLight) -> bpy.types.NodeSocket:
    """Albedo x shade of the clip's light x its tint."""
    normal = nodes.add("ShaderNodeNewGeometry", "Normal in the world", -10, 6)
    turned = nodes.add(
        "ShaderNodeVectorTransform", f"Normal in the {light.space.lower()}'s axes", -9, 6, vector_type="NORMAL", convert_from="WORLD", convert_to=light.space
    )
    nodes.connect(turned.inputs[0], normal.outputs["Normal"])
    unit = nodes.vector("NORMALIZE", "of length 1", -8, 6, turned.outputs[0])
    shade = add_quadratic(nodes, unit, quadratic(light.sh, light.light_from_normal), MIN_SHADE, -7, 6)
    tinted = nodes.vector("SCALE", "Shade x tint", -1.9, 6, [float(value) for value in light.tint], shade)
    return nodes.vector("MULTIPLY", "Albedo x light of the clip", -1.5, 5, albedo, tinted)
