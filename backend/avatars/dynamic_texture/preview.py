"""A picture for the person who waits: clip, static texture, dynamic texture, side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from ...storage import replacing
from .batches import FrameLookup, whole_picture
from .network import DynamicTextureNetwork


def write_preview(path: Path, lookup: FrameLookup, network: DynamicTextureNetwork, inputs: np.ndarray) -> None:
    """Writes a PNG three pictures wide.

    Args:
        path: replaced in one go. lookup: the frame. network: as it is now. inputs: (X,) raw inputs of the frame.
    """
    with torch.no_grad():
        offsets = network(torch.from_numpy(np.ascontiguousarray(inputs[None], np.float32)))
        shown = [whole_picture(lookup, offsets, amount).numpy() for amount in (0.0, 1.0)]
    side = len(shown[0])
    pictures = [lookup.frame.target.reshape(side, side, 3) / 255.0, *shown]
    row = np.floor(np.concatenate(pictures, 1) * 255 + 0.5).astype(np.uint8)
    with replacing(path) as temporary:
        cv2.imwrite(str(temporary), row[..., ::-1])
