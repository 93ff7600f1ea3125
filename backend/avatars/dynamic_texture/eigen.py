"""The distilled texture: a few signed pictures per block and the map from controls to how much of each.

    T(u) = clip(static(u) + dynamic M(u) sum_b sum_k w_bk tile_bk(u), 0, 1)          linear light

Component 0 of every block is its mean offset from the static texture and has weight 1 whatever the controls. docs/dynamic-texture-distilled.md
says how it is made, docs/formats/avatar.md how it is stored.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ...geometry.shapes import check_shape


@dataclasses.dataclass(frozen=True)
class WeightMap:
    """Weights of the components from raw control values: h = relu(hidden x + hidden_bias) (or h = x without a hidden layer), w = map h + map_bias.

    input_names: E names of package controls. hidden_weight: (H, E), hidden_bias: (H,), both None when the map is linear.
    map_weight: (K, H) or (K, E), map_bias: (K,), all float32; K counts the components of all blocks, block after block.
    """

    input_names: tuple[str, ...]
    map_weight: np.ndarray
    map_bias: np.ndarray
    hidden_weight: np.ndarray | None = None
    hidden_bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        num_inputs = len(self.input_names)
        if (self.hidden_weight is None) != (self.hidden_bias is None):
            raise ValueError("a hidden layer has weights and biases, or there is none")
        if self.hidden_weight is not None and self.hidden_bias is not None:
            check_shape("hidden_weight", self.hidden_weight, len(self.hidden_bias), num_inputs)
            num_inputs = len(self.hidden_bias)
        check_shape("map_weight", self.map_weight, len(self.map_bias), num_inputs)

    @property
    def is_linear(self) -> bool:
        return self.hidden_weight is None

    def weights(self, controls: np.ndarray) -> np.ndarray:
        """(n, K) float32 from (n, E) raw control values in the order of ``input_names``."""
        check_shape("controls", controls, None, len(self.input_names))
        hidden = controls.astype(np.float32)
        if self.hidden_weight is not None:
            hidden = np.maximum(hidden @ self.hidden_weight.T + self.hidden_bias, 0)
        return (hidden @ self.map_weight.T + self.map_bias).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class EigenTexture:
    """Tiles and map.

    size_px: side of the texture that the tiles were made beside.
    block_names: B names. block_num_components: (B,) int32, component 0 included.
    patch_block: (P,) int32 into the blocks. patch_uv_rect: (P, 4) float32 (u0, v0, u1, v1), v up.
    tiles: for each patch (components of its block, h, w, 3) float16, signed, linear light, the block's window multiplied in, the mask not.
        Row 0 lies at v1; texel centres at (i + 0.5) / n of the rectangle; looked up bilinearly, clamped at the edge.
    weight_map: from controls to weights.
    """

    size_px: int
    block_names: tuple[str, ...]
    block_num_components: np.ndarray
    patch_block: np.ndarray
    patch_uv_rect: np.ndarray
    tiles: tuple[np.ndarray, ...]
    weight_map: WeightMap

    def __post_init__(self) -> None:
        check_shape("block_num_components", self.block_num_components, len(self.block_names))
        check_shape("patch_block", self.patch_block, len(self.tiles))
        check_shape("patch_uv_rect", self.patch_uv_rect, len(self.tiles), 4)
        for block, tile in zip(self.patch_block, self.tiles):
            check_shape("tile", tile, int(self.block_num_components[block]), None, None, 3)
        check_shape("map_bias", self.weight_map.map_bias, int(self.block_num_components.sum()))

    @property
    def num_components(self) -> int:
        """Components that the controls mix; the blocks' means are not counted."""
        return int(self.block_num_components.sum() - (self.block_num_components > 0).sum())

    @property
    def num_bytes(self) -> int:
        """Of all tiles as half floats, before compression."""
        return int(sum(tile.size * 2 for tile in self.tiles))

    def first_component(self, block: int) -> int:
        """Where the weights of a block begin."""
        return int(self.block_num_components[:block].sum())

    def columns(self, control_names: tuple[str, ...]) -> np.ndarray:
        """(E,) int: where the map's inputs stand among a package's controls. Raises ``KeyError`` naming the one that is missing."""
        missing = set(self.weight_map.input_names) - set(control_names)
        if missing:
            raise KeyError(sorted(missing)[0])
        return np.array([control_names.index(name) for name in self.weight_map.input_names], np.int64)
