"""From the exact network to a handful of pictures: eigen textures in blocks, and the map that mixes them.

The network is asked for the textures of training frames, with the head's orientation at one value, and of combinations that the
clip never showed. Per block, what it painted is decomposed in linear light (Turk and Pentland, "Eigenfaces for recognition", 1991),
weighted by the mask and by how strongly the sRGB curve shows a difference. A map from the block's own controls to the components is
fitted, the components that the map cannot reach are dropped, the others are handed out to the blocks by what they explain, and the
tiles are solved once more for the weights that the map really gives. Nothing here reads a picture of the clip.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...errors import AvatarError
from ...geometry.shapes import check_shape
from ...reporter import Reporter
from .blocks import BLOCK_NAMES, heard_controls
from .combinations import STILL, combined_inputs, mixing_groups
from .eigen import EigenTexture, WeightMap
from .teacher import Crop, Teacher
from .weight_map import BlockFit, energies, fit_hidden, fit_linear, hidden_shares, shared_out, truncated

MAX_TRAINING, NUM_COMBINATIONS = 360, 1600
"""Frames of the clip and combinations that are asked for. Combinations teach a block what it alone does, and frames of the clip gain by it too:
with 360 of them a linear map explained 71 % of held-out frames of the kitchen clip, with 1 100 74 %, with none 54 %."""

COMBINATION_WEIGHT = 0.7
"""What one combination counts beside one training frame."""

SIZES = (8, 16, 32)
"""Numbers of components that are measured."""

MAX_TILE_BYTES = 6_000_000
MAX_STORE_BYTES = 900_000_000
_RANK, _GRAM_TEXELS, _BATCH = 64, 40_000, 8
_LEAST_MOTION = 1e-3


@dataclasses.dataclass(frozen=True)
class Samples:
    """What the network was asked and answered.

    inputs: (n, E) raw controls. weights: (n,) mean 1. is_held: (n,) bool, kept from choosing the map.
    offsets: for each block (n, T_b, 3) float16, (dyn - static) times window at the kept texels of its crops. metric: for each (T_b, 3) float32.
    """

    inputs: np.ndarray
    weights: np.ndarray
    is_held: np.ndarray
    offsets: tuple[np.ndarray, ...]
    metric: tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Distilled:
    """eigen: the textures and their map. info: how well they do, JSON types."""

    eigen: EigenTexture
    info: dict[str, Any]


def distil(teacher: Teacher, training: np.ndarray, num_components: int, seed: int, reporter: Reporter) -> Distilled:
    """Distils a network.

    Args:
        teacher: the network. training: (n, X) raw inputs of the training frames. num_components: K, means not counted.
        seed: of the combinations and of the hidden layer. reporter: hears progress, may cancel.

    Returns:
        Tiles cropped to the mask and at most ``MAX_TILE_BYTES`` large (fewer components are kept when they would be more), and the map
        that did better on samples kept from it.
    """
    check_shape("training", training, None, len(teacher.input_names))
    crops = teacher.crops
    if not crops:
        raise AvatarError("bad_input", "The blending mask is empty, so there is no dynamic texture to distil.", "Paint the mask, or leave the dynamic texture out.")
    samples, names = ask(teacher, training, seed, reporter)
    decomposed = [_scores(offsets, metric) for offsets, metric in zip(samples.offsets, samples.metric)]
    heard = heard_controls(names)
    reporter.check()
    figures, best = _choose(samples, decomposed, heard, num_components, seed, reporter)
    fits = _fit_all(best, samples.inputs, [scores for scores, _ in decomposed], samples.weights, heard, seed)
    num_components = _affordable(crops, [energies(fit, samples.inputs, samples.weights) for fit in fits], num_components)
    counts = shared_out([energies(fit, samples.inputs, samples.weights) for fit in fits], num_components)
    is_painted = np.array([len(metric) > 0 for metric in samples.metric])
    weight_map, weights = _assemble(fits, counts, samples, names, is_painted)
    eigen = EigenTexture(
        teacher.size_px, tuple(name for name, painted in zip(BLOCK_NAMES, is_painted) if painted), np.array([len(values) for values in weights], np.int32)[is_painted],
        (np.cumsum(is_painted) - 1)[[crop.block for crop in crops]].astype(np.int32), np.clip(np.array([crop.uv_rect for crop in crops], np.float32), 0, 1),
        _tiles(crops, samples, weights), weight_map,
    )
    info = {
        "num_components": int(counts.sum()), "components_by_block": {name: int(count) for name, count in zip(BLOCK_NAMES, counts)},
        "map": best, "tile_bytes": eigen.num_bytes, "num_samples": {"training": int((samples.weights > samples.weights.min()).sum()), "total": len(samples.weights)},
        "explained": figures,
    }
    return Distilled(eigen, info)


def ask(teacher: Teacher, training: np.ndarray, seed: int, reporter: Reporter) -> tuple[Samples, tuple[str, ...]]:
    """Runs the network on training frames and combinations; returns what it painted and the names of the controls that move it."""
    room = max(64, MAX_STORE_BYTES // max(6 * teacher.num_texels, 1))
    num_training = min(len(training), MAX_TRAINING, room // 2)
    frames = np.unique(np.linspace(0, len(training) - 1, num_training).round().astype(int))
    num_combinations = min(NUM_COMBINATIONS, room - len(frames))
    asked = training[frames].astype(np.float32).copy()
    is_still = mixing_groups(teacher.input_names) == STILL
    asked[:, is_still] = teacher.still[is_still]
    combined = combined_inputs(training, teacher.input_names, teacher.input_limits, teacher.still, num_combinations, seed)
    inputs = np.concatenate([asked, combined])
    weights = np.concatenate([np.ones(len(asked)), np.full(len(combined), COMBINATION_WEIGHT)])
    # Neighbouring frames are nearly equal, so whole stretches of the clip are held back.
    is_held = np.concatenate([(np.arange(len(asked)) * 20 // max(len(asked), 1)) % 5 == 4, np.arange(len(combined)) % 25 >= 20])
    owners = np.repeat([crop.block for crop in teacher.crops], [crop.num_texels for crop in teacher.crops])
    of_block = [np.flatnonzero(owners == block) for block in range(len(BLOCK_NAMES))]
    store = tuple(np.zeros((len(inputs), len(chosen), 3), np.float16) for chosen in of_block)
    for start in range(0, len(inputs), _BATCH):
        reporter.progress("distil", start, len(inputs), "textures")
        painted = teacher.offsets(inputs[start : start + _BATCH])
        for chosen, part in zip(of_block, store):
            part[start : start + len(painted)] = painted[:, chosen]
    moved = teacher.is_control & (np.ptp(training, axis=0) > _LEAST_MOTION)
    if not moved.any():
        moved = teacher.is_control & (np.cumsum(teacher.is_control) == 1)  # a face that never moved: a map of one control that does nothing
    names = tuple(name for name, is_moved in zip(teacher.input_names, moved) if is_moved)
    metric = tuple(teacher.metric[chosen] for chosen in of_block)
    return Samples(inputs[:, moved].astype(np.float64), weights / weights.mean(), is_held, store, metric), names


def _scores(offsets: np.ndarray, metric: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, R) principal scores of the weighted offsets, and the energy that they leave out, both per sample and summed over the texels."""
    num = len(offsets)
    chosen = np.flatnonzero(metric.max(1) > 0) if len(metric) else np.zeros(0, int)
    if not len(chosen):
        return np.zeros((num, 0)), 0.0
    stride = max(1, len(chosen) // _GRAM_TEXELS)
    chosen = chosen[::stride]
    gram = np.zeros((num, num))
    for part in np.array_split(chosen, max(1, len(chosen) // 8192)):
        block = (offsets[:, part].astype(np.float32) * metric[part]).reshape(num, -1)
        block -= block.mean(0)
        gram += block @ block.T
    gram *= stride
    values, vectors = np.linalg.eigh(gram)
    order = np.argsort(values)[::-1][: min(_RANK, num - 1)]
    kept = np.maximum(values[order], 0)
    order = order[kept > 1e-9 * max(float(kept[0]), 1e-30)]
    vectors = vectors[:, order]
    vectors = vectors * np.where(vectors[np.abs(vectors).argmax(0), np.arange(len(order))] < 0, -1.0, 1.0)
    scores = vectors * np.sqrt(values[order])
    return scores, float(max(np.trace(gram) - (scores**2).sum(), 0.0) / num)


def _fit_all(kind: str, inputs: np.ndarray, scores: list[np.ndarray], weights: np.ndarray, heard: np.ndarray, seed: int) -> list[BlockFit]:
    units = hidden_shares(np.array([float((values**2).sum()) for values in scores]))
    fits = []
    for block in range(len(BLOCK_NAMES)):
        if kind == "linear" or not units[block]:
            fits.append(fit_linear(inputs, scores[block], weights, heard[block]))
        else:
            fits.append(fit_hidden(inputs, scores[block], weights, heard[block], int(units[block]), seed + block))
    return fits


def _choose(
    samples: Samples, decomposed: list[tuple[np.ndarray, float]], heard: np.ndarray, num_components: int, seed: int, reporter: Reporter
) -> tuple[dict[str, Any], str]:
    """Share of the variation of held-out samples that each kind of map explains with 8, 16 and 32 components; and the better kind."""
    scores = [values for values, _ in decomposed]
    fitted, held = ~samples.is_held, samples.is_held
    total = sum(((values[held] - values[fitted].mean(0)) ** 2).sum(1).mean() + rest for values, rest in decomposed)
    table: dict[str, Any] = {}
    for kind in ("linear", "hidden"):
        reporter.check()
        fits = _fit_all(kind, samples.inputs[fitted], [values[fitted] for values in scores], samples.weights[fitted], heard, seed)
        explained = [energies(fit, samples.inputs[fitted], samples.weights[fitted]) for fit in fits]
        for size in sorted({*SIZES, num_components}):
            counts = shared_out(explained, size)
            error = 0.0
            for fit, count, (values, rest) in zip(fits, counts, decomposed):
                directions, weight, bias = truncated(fit, samples.inputs[fitted], samples.weights[fitted])
                mean = np.average(fit.scores(samples.inputs[fitted]), axis=0, weights=samples.weights[fitted])
                predicted = mean + (fit.features(samples.inputs[held]) @ weight[:count].T + bias[:count]) @ directions[:, :count].T
                error += ((values[held] - predicted) ** 2).sum(1).mean() + rest
            table[f"{kind}_{size}"] = round(float(1 - error / max(total, 1e-30)), 4)
    best = max(("linear", "hidden"), key=lambda kind: (table[f"{kind}_{num_components}"], kind == "linear"))
    return table, best


def _affordable(crops: tuple[Crop, ...], block_energies: list[np.ndarray], num_components: int) -> int:
    """The largest number of components whose tiles stay within ``MAX_TILE_BYTES``."""
    texels = np.zeros(len(BLOCK_NAMES), np.int64)
    for crop in crops:
        texels[crop.block] += crop.keep.size
    while num_components > 1 and 6 * (texels * (1 + shared_out(block_energies, num_components))).sum() > MAX_TILE_BYTES:
        num_components -= 1
    return num_components


def _assemble(
    fits: list[BlockFit], counts: np.ndarray, samples: Samples, names: tuple[str, ...], is_painted: np.ndarray
) -> tuple[WeightMap, list[np.ndarray]]:
    """The map over all blocks, every weight scaled to spread 1, and the weights (components, n) that it gives for the samples, by block."""
    rows, biases, hidden, hidden_bias = [], [], [], []
    has_hidden = any(fit.hidden_weight is not None for fit in fits)
    num_features = sum(len(fit.hidden_bias) for fit, count in zip(fits, counts) if fit.hidden_bias is not None and count) if has_hidden else len(names)
    start = 0
    for fit, count, painted in zip(fits, counts, is_painted):
        if not painted:
            continue
        _, weight, bias = truncated(fit, samples.inputs, samples.weights)
        weight, bias = weight[:count], bias[:count]
        values = fit.features(samples.inputs) @ weight.T + bias
        scale = 1 / np.maximum(np.sqrt(np.average(values**2, axis=0, weights=samples.weights)), 1e-12)
        full = np.zeros((1 + count, num_features))
        if fit.hidden_weight is not None and fit.hidden_bias is not None and count:
            full[1:, start : start + len(fit.hidden_bias)] = weight * scale[:, None]
            start += len(fit.hidden_bias)
            hidden.append(fit.hidden_weight)
            hidden_bias.append(fit.hidden_bias)
        elif count:
            full[1:] = weight * scale[:, None]
        rows.append(full)
        biases.append(np.concatenate([[1.0], bias * scale]))
    single = lambda values: np.ascontiguousarray(np.concatenate(values), np.float32)  # noqa: E731
    layer = (single(hidden), single(hidden_bias)) if hidden else (None, None)
    weight_map = WeightMap(names, single(rows), single(biases), *layer)
    weights, first = weight_map.weights(samples.inputs).T, 0
    by_block = []
    for count, painted in zip(counts, is_painted):
        num = 1 + count if painted else 0
        by_block.append(weights[first : first + num])
        first += num
    return weight_map, by_block


def _tiles(crops: tuple[Crop, ...], samples: Samples, weights: list[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The tiles that come nearest to what the network painted, given the weights that the map gives: weighted least squares, texel by texel."""
    solvers = []
    for values in weights:
        weighted = values * samples.weights
        matrix = weighted @ values.T + 1e-4 * samples.weights.sum() * np.eye(len(values)) * (np.arange(len(values)) > 0)
        solvers.append(np.linalg.solve(matrix, weighted).astype(np.float32) if len(values) else np.zeros((0, len(samples.weights)), np.float32))
    tiles, place = [], [0] * len(BLOCK_NAMES)
    for crop in crops:
        num = crop.num_texels
        part = samples.offsets[crop.block][:, place[crop.block] : place[crop.block] + num].astype(np.float32).reshape(len(samples.weights), -1)
        place[crop.block] += num
        tile = np.zeros((len(solvers[crop.block]), *crop.keep.shape, 3), np.float16)
        tile[:, crop.keep] = (solvers[crop.block] @ part).reshape(-1, num, 3)
        tiles.append(tile)
    return tuple(tiles)
