"""Distance between VGG16 features, for people who have the weights; nobody may bundle them.

Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2015; as a loss: Johnson, Alahi, Fei-Fei, "Perceptual
losses for real-time style transfer and super-resolution", ECCV 2016. Layers and weights of spec dynamic_texture.md 13.10.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from ..errors import AvatarError

_LAYERS = ((0, 3, 64), (2, 64, 64), (5, 64, 128), (7, 128, 128), (10, 128, 256), (12, 256, 256), (14, 256, 256))
"""Number in the ``features`` list of the common state dictionary, channels in, channels out."""
_POOL_BEFORE, _TAPPED = (5, 10), (2, 7, 14)
"""Pooling comes before these; features are taken after the ReLU of these: relu1_2, relu2_2, relu3_3."""
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class VggFeatures(nn.Module):
    """The first seven convolutions of VGG16, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(into, out, 3, padding=1) for _, into, out in _LAYERS])
        self.register_buffer("mean", torch.tensor(_MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(_DEVIATION).reshape(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) sRGB in [0, 1] to the features of three layers."""
        values, tapped = (picture - self.mean) / self.deviation, []
        for (number, _, _), layer in zip(_LAYERS, self.convolutions):
            if number in _POOL_BEFORE:
                values = nn.functional.max_pool2d(values, 2)
            values = nn.functional.relu(layer(values))
            if number in _TAPPED:
                tapped.append(values)
        return tapped

    def distance(self, picture: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Mean absolute difference of the features, mean over the layers; outside ``weight`` (B, 1, H, W) both show the target."""
        mixed = target + weight * (picture - target)
        with torch.no_grad():
            wanted = self(target)
        return sum(((one - other).abs().mean() for one, other in zip(self(mixed), wanted)), picture.new_zeros(())) / len(wanted)


def load_vgg16(path: Path) -> VggFeatures:
    """Reads a VGG16 state dictionary (``features.0.weight`` and so on), as most collections distribute it. Nothing in the file is executed.

    Raises:
        AvatarError: asset_missing when there is no such file, bad_input when it is not one of VGG16.
    """
    path = Path(path)
    if not path.is_file():
        raise AvatarError("asset_missing", f"There is no file {path}.", "Choose a VGG16 weights file, or leave the setting empty.", {"path": str(path)})
    try:
        numbers = torch.load(path, map_location="cpu", weights_only=True)
        features = VggFeatures()
        for (number, _, _), layer in zip(_LAYERS, features.convolutions):
            layer.weight.copy_(numbers[f"features.{number}.weight"])
            layer.bias.copy_(numbers[f"features.{number}.bias"])
    except (OSError, EOFError, KeyError, TypeError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        text = f"{path} holds no VGG16 weights: {str(error).splitlines()[0] if str(error) else type(error).__name__}."
        raise AvatarError("bad_input", text, "Choose a VGG16 state dictionary.", {"path": str(path)}) from error
    return features.eval()
