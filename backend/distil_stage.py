"""The stage "distil": from a trained dynamic texture to the files that the package takes."""

from __future__ import annotations

from pathlib import Path

from .avatars.dynamic_texture.deliver import deliver
from .avatars.dynamic_texture.exact import read_exact
from .avatars.dynamic_texture.state import TrainedTexture
from .capture.model import Capture
from .package.model import NETWORK_FILE
from .package.write import packaged_controls
from .package.write_dynamic import INFO_FILE
from .reporter import Reporter
from .rig.model import RigModel
from .storage import read_json
from .texture.model import StaticTexture
from .track.model import Track


def compute_distilled(
    folder: Path, trained: Path, capture: Capture, track: Track, rig: RigModel, texture: StaticTexture, num_components: int, seed: int, reporter: Reporter
) -> int:
    """Writes the network as arrays and as ONNX, the eigen textures and ``dynamic.json`` into ``folder``.

    Args:
        trained: result of the stage "avatar". track: raw, as it was tracked. num_components: eigen textures beside the means.

    Returns:
        How many eigen textures there are.
    """
    track = track.replace(controls=packaged_controls(rig, track.controls, track.joint_rotations))
    network = TrainedTexture(read_exact(trained / Path(NETWORK_FILE).name), read_json(trained / INFO_FILE))
    return deliver(folder, capture, track, rig, texture, network, seed, reporter, num_components).num_components
