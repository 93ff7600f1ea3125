"""The exact network with everything it needs to be asked, and its file ``network.npz``: plain arrays, nothing that could be executed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from ...errors import AvatarError
from ...storage import read_arrays, write_arrays
from .canvas import Canvas, canvas_of_arrays
from .inputs import InputSpace, input_space_of_arrays
from .network import DECODERS, DynamicTextureNetwork, network_arrays, network_of_arrays
from .painting import WINDOW_PX

FORMAT_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ExactTexture:
    """network: paints the canvas from raw inputs. space: names, statistics and hull of the inputs. canvas: what lies where.
    windows: (B, 256, 256) uint8, how much each block says at a place of the texture (255 = alone), row 0 at v = 1."""

    network: DynamicTextureNetwork
    space: InputSpace
    canvas: Canvas
    windows: np.ndarray

    def offsets(self, inputs: np.ndarray) -> np.ndarray:
        """(n, C, C, 3) float32, what is added to the sRGB code of the static texture, from (n, X) raw inputs."""
        with torch.no_grad():
            painted = self.network(torch.from_numpy(np.ascontiguousarray(inputs, np.float32)))
        return np.ascontiguousarray(painted.permute(0, 2, 3, 1).numpy())


def write_exact(path: Path, exact: ExactTexture) -> None:
    """Writes the network; equal numbers give equal bytes."""
    write_arrays(path, {
        "format_version": np.array(FORMAT_VERSION, np.int32), "decoder": np.array(exact.network.decoder), "windows": exact.windows.astype(np.uint8),
        **exact.space.to_arrays(), **exact.canvas.to_arrays(), **network_arrays(exact.network),
    })


def read_exact(path: Path) -> ExactTexture:
    """Reads what ``write_exact`` wrote. The file may come from a stranger: every array is checked, none is executed.

    Raises:
        AvatarError: ``asset_missing`` when there is no file, ``bad_input`` when it is damaged, foreign or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise AvatarError("asset_missing", f"{path} is missing.", "Copy the whole folder of the avatar, or make it again.", {"path": str(path)})
    arrays = read_arrays(path)
    version = arrays.get("format_version")
    if version is None or version.ndim or version.dtype.kind not in "iu":
        raise _foreign(path, "it has no format version")
    if int(version) > FORMAT_VERSION:
        raise AvatarError(
            "bad_input", f"{path} was written in format {int(version)}; this version of Video Avatar reads up to {FORMAT_VERSION}.", "Update Video Avatar.",
            {"path": str(path), "format_version": int(version)},
        )
    decoder, windows = str(arrays.get("decoder", "")), arrays.get("windows")
    if decoder not in DECODERS:
        raise _foreign(path, f"its decoder is {decoder!r}")
    space, canvas = input_space_of_arrays(arrays), canvas_of_arrays(arrays)
    if windows is None or windows.dtype != np.uint8 or windows.shape != (len(canvas.block_names), WINDOW_PX, WINDOW_PX):
        raise _foreign(path, "its windows do not fit its blocks")
    return ExactTexture(network_of_arrays(arrays, space, canvas.size_px, decoder), space, canvas, windows)


def _foreign(path: Path, what: str) -> AvatarError:
    return AvatarError("bad_input", f"{path} is no network of a dynamic texture: {what}.", "Make the avatar again, or copy its folder once more.", {"path": str(path)})
