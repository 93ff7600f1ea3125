"""The stage "avatar": trains the dynamic texture of a clip and writes what the package takes, or says why there is none."""

from __future__ import annotations

from pathlib import Path

from .avatars.dynamic_texture.exact import write_exact
from .avatars.dynamic_texture.frame_choice import NOTHING_TO_LEARN
from .avatars.dynamic_texture.train import train
from .capture.model import Capture
from .config import DynamicTextureConfig
from .errors import AvatarError
from .package.model import NETWORK_FILE
from .package.write import packaged_controls
from .reporter import Reporter
from .rig.model import RigModel
from .storage import read_json, write_json
from .texture.model import StaticTexture
from .track.model import Track

INFO_FILE = "dynamic.json"
NETWORK = Path(NETWORK_FILE).name


def compute_avatar(
    folder: Path, capture: Capture, track: Track, rig: RigModel, texture: StaticTexture, config: DynamicTextureConfig, seed: int, reporter: Reporter, work: Path
) -> int:
    """Writes the stage's files into ``folder``: ``dynamic.json`` always, the network when one could be trained.

    A clip that is too short or shows nothing to repaint still gives an avatar: with its static texture, and the reason in ``dynamic.json``.

    Args:
        track: raw, as it was tracked. work: folder for checkpoint and preview.

    Returns:
        How many frames taught.

    Raises:
        AvatarError: everything else, a wrong weights file among it.
    """
    track = track.replace(controls=packaged_controls(rig, track.controls, track.joint_rotations))
    try:
        trained = train(capture, track, rig, texture, config, seed, reporter, work)
    except AvatarError as error:
        if error.detail.get("reason") != NOTHING_TO_LEARN:
            raise
        reporter.log(f"No dynamic texture: {error}")
        write_json(folder / INFO_FILE, {"is_trained": False, "reason": str(error)})
        return 0
    write_exact(folder / NETWORK, trained.exact)
    write_json(folder / INFO_FILE, {"is_trained": True, **trained.info})
    return int(trained.info["num_training_frames"])


def trained_folder(folder: Path) -> Path | None:
    """The stage's folder when it holds a network, else None."""
    return folder if read_json(folder / INFO_FILE).get("is_trained") else None
