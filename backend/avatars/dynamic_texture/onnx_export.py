"""The exact network as an ONNX file: raw inputs in, standardised and drawn into the hull inside, the painted canvas out."""

from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

from ... import __version__
from .canvas import Canvas
from .inputs import InputSpace
from .network import LARGEST_OFFSET, START_CHANNELS, START_PX, DynamicTextureNetwork
from .onnx_file import OnnxGraph

INPUT, OUTPUT = "inputs", "canvas_offset_srgb"


def onnx_bytes(network: DynamicTextureNetwork, space: InputSpace, canvas: Canvas) -> bytes:
    """The file's content; equal networks give equal bytes.

    The graph takes ``inputs`` (frames, X) float32, raw, in the order of the metadata's ``input_names``, and gives ``canvas_offset_srgb``
    (frames, 3, C, C), what is added to the sRGB code of the static texture where the metadata's ``canvas`` says.
    """
    graph = OnnxGraph("dynamic_texture")
    value = _standardised(graph, space)
    value = _dense(graph, value, network.mlp)
    value = graph.node("Reshape", [value, graph.constant(np.array([-1, START_CHANNELS, START_PX, START_PX]))])
    value = _leaky(graph, _convolved(graph, value, network.spread), _slope(network.mlp))
    for layer in network.grow:
        value = _leaky(graph, _convolved(graph, value, layer), _slope(network.mlp))
    value = _convolved(graph, value, network.paint)
    if isinstance(network.shuffle, nn.PixelShuffle):
        value = graph.node("DepthToSpace", [value], blocksize=int(network.shuffle.upscale_factor), mode="CRD")
    value = graph.node("Tanh", [value])
    graph.node("Mul", [value, graph.constant(np.array(LARGEST_OFFSET, np.float32))], OUTPUT)
    side = network.canvas_px
    places = [{"block": canvas.block_names[patch.block], "uv_rect": patch.uv_rect, "canvas_rect_px": patch.canvas_rect_px} for patch in canvas.patches]
    metadata = {"input_names": json.dumps(space.names), "canvas": json.dumps(places)}
    return graph.encoded({INPUT: ["frames", len(space.names)]}, {OUTPUT: ["frames", 3, side, side]}, f"Video Avatar {__version__}", metadata)


def _standardised(graph: OnnxGraph, space: InputSpace) -> str:
    """``InputLayer`` in operators: a box for every input, an ellipsoid for the orientation (the last three), then mean and deviation."""
    boxed = graph.node("Max", [INPUT, graph.constant(space.low)])
    boxed = graph.node("Min", [boxed, graph.constant(space.high)])
    first, split, end, axis = (graph.constant(np.array([number])) for number in (0, len(space.names) - 3, len(space.names), 1))
    others = graph.node("Slice", [boxed, first, split, axis])
    mean = graph.constant(space.mean[-3:])
    offset = graph.node("Sub", [graph.node("Slice", [boxed, split, end, axis]), mean])
    turned = graph.node("MatMul", [offset, graph.constant(space.hull_matrix.T)])
    squared = graph.node("ReduceSum", [graph.node("Mul", [turned, turned]), axis], keepdims=1)
    radius = graph.node("Sqrt", [graph.node("Max", [squared, graph.constant(np.ones(1, np.float32))])])
    orientation = graph.node("Add", [graph.node("Div", [offset, radius]), mean])
    drawn = graph.node("Concat", [others, orientation], axis=1)
    return graph.node("Div", [graph.node("Sub", [drawn, graph.constant(space.mean)]), graph.constant(space.deviation)])


def _dense(graph: OnnxGraph, value: str, layers: nn.Sequential) -> str:
    for layer in layers:
        if isinstance(layer, nn.Linear):
            value = graph.node("Gemm", [value, graph.constant(_array(layer.weight)), graph.constant(_array(layer.bias))], transB=1)
        elif isinstance(layer, nn.LeakyReLU):
            value = _leaky(graph, value, layer.negative_slope)
        else:
            raise TypeError(f"no ONNX operator for {type(layer).__name__}")
    return value


def _convolved(graph: OnnxGraph, value: str, layer: nn.Conv2d | nn.ConvTranspose2d) -> str:
    operator = "ConvTranspose" if isinstance(layer, nn.ConvTranspose2d) else "Conv"
    pads = [int(pad) for pad in layer.padding] * 2  # type: ignore[arg-type]
    strides = [int(step) for step in layer.stride]
    assert layer.bias is not None
    return graph.node(operator, [value, graph.constant(_array(layer.weight)), graph.constant(_array(layer.bias))], strides=strides, pads=pads)


def _leaky(graph: OnnxGraph, value: str, slope: float) -> str:
    return graph.node("LeakyRelu", [value], alpha=float(slope))


def _slope(layers: nn.Sequential) -> float:
    """The slope of the convolutional part: the same as that of the dense one."""
    return next(float(layer.negative_slope) for layer in layers if isinstance(layer, nn.LeakyReLU))


def _array(parameter: torch.Tensor | None) -> np.ndarray:
    assert parameter is not None
    return parameter.detach().cpu().contiguous().numpy()
