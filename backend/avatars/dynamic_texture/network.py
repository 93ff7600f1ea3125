"""The network: inputs -> MLP -> a small image of four channels -> convolutions -> what is added to the static texture on the canvas.

Source: spec dynamic_texture.md 10.1 and 13.10. Two decoders: ``transposed`` follows the table there; ``shuffle`` decodes at a quarter of the size and
rearranges 48 channels into 4 x 4 pixels of three (Shi et al., "Real-time single image and video super-resolution using an efficient sub-pixel
convolutional neural network", CVPR 2016). docs/dynamic-texture.md has what each costs and reaches.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ...errors import AvatarError
from .inputs import InputLayer, InputSpace

DECODERS = ("transposed", "shuffle")
START_PX, START_CHANNELS, WIDTH = 16, 4, 64
LARGEST_OFFSET = 0.5
"""How far the texture may be changed, in sRGB units."""
_HIDDEN = 256
_SLOPE = 0.2
_CHANNELS = {
    ("transposed", 256): (64, 64, 48, 32, 16), ("transposed", 512): (64, 64, 48, 32, 32, 16),
    ("shuffle", 256): (64, 64, 64), ("shuffle", 512): (64, 64, 48, 48),
}


class DynamicTextureNetwork(nn.Module):
    """Paints the canvas.

    Args:
        space: of the inputs. canvas_px: 256 or 512. decoder: one of ``DECODERS``.
    """

    def __init__(self, space: InputSpace, canvas_px: int, decoder: str = "shuffle") -> None:
        super().__init__()
        if (decoder, canvas_px) not in _CHANNELS:
            raise AvatarError("bad_request", f"There is no decoder {decoder!r} for a canvas of {canvas_px} px.", "Use shuffle or transposed, and 256 or 512.", {"field": "decoder"})
        self.canvas_px, self.decoder = canvas_px, decoder
        channels = _CHANNELS[decoder, canvas_px]
        self.inputs = InputLayer(space)
        self.mlp = nn.Sequential(
            nn.Linear(len(space.names), _HIDDEN), nn.LeakyReLU(_SLOPE), nn.Linear(_HIDDEN, _HIDDEN), nn.LeakyReLU(_SLOPE),
            nn.Linear(_HIDDEN, START_CHANNELS * START_PX * START_PX),
        )
        self.spread = nn.Conv2d(START_CHANNELS, WIDTH, 3, padding=1)
        self.grow = nn.ModuleList([nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in zip(channels, channels[1:])])
        zoom = canvas_px // (START_PX << len(self.grow))
        self.paint = nn.Conv2d(channels[-1], 3 * zoom * zoom, 3, padding=1)
        self.shuffle = nn.PixelShuffle(zoom) if zoom > 1 else nn.Identity()
        nn.init.zeros_(self.paint.bias)
        with torch.no_grad():
            self.paint.weight.mul_(0.1)  # starts near the static texture
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, X) raw inputs to (B, 3, canvas_px, canvas_px): offset in sRGB units, within ``LARGEST_OFFSET``."""
        return self.painted(self.inputs(inputs))

    def painted(self, standardised: torch.Tensor) -> torch.Tensor:
        """The same from inputs that went through ``self.inputs``."""
        small = self.mlp(standardised).reshape(-1, START_CHANNELS, START_PX, START_PX)
        picture = nn.functional.leaky_relu(self.spread(small.to(memory_format=torch.channels_last)), _SLOPE)
        for layer in self.grow:
            picture = nn.functional.leaky_relu(layer(picture), _SLOPE)
        return LARGEST_OFFSET * torch.tanh(self.shuffle(self.paint(picture)))

    @property
    def num_bytes(self) -> int:
        """Of the trained numbers in float32."""
        return sum(parameter.numel() for parameter in self.parameters()) * 4


def seeded_network(space: InputSpace, canvas_px: int, decoder: str, seed: int) -> DynamicTextureNetwork:
    """A fresh network; equal seeds give equal numbers, and torch's own random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DynamicTextureNetwork(space, canvas_px, decoder)


def network_arrays(network: DynamicTextureNetwork) -> dict[str, np.ndarray]:
    """The trained numbers as plain arrays, ``network.<layer>``; what the input layer holds is the input space's own."""
    return {f"network.{name}": value.detach().cpu().contiguous().numpy() for name, value in network.named_parameters()}


def network_of_arrays(arrays: dict[str, np.ndarray], space: InputSpace, canvas_px: int, decoder: str) -> DynamicTextureNetwork:
    """The inverse of ``network_arrays``. Raises ``AvatarError`` (bad_input) when names, shapes or values do not fit; nothing is ever executed."""
    network = seeded_network(space, canvas_px, decoder, 0)
    wanted = dict(network.named_parameters())
    found = {name.removeprefix("network."): value for name, value in arrays.items() if name.startswith("network.")}
    wrong = sorted(set(wanted) ^ set(found)) or [name for name, value in wanted.items() if tuple(found[name].shape) != tuple(value.shape)]
    wrong = wrong or [name for name, value in found.items() if value.dtype != np.float32 or not np.isfinite(value).all()]
    if wrong:
        raise AvatarError("bad_input", f"The dynamic texture's network does not fit: {wrong[0]}.", "The file is damaged or from another program; make the avatar again.", {"array": wrong[0]})
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(torch.from_numpy(np.array(found[name])))
    return network.eval()
