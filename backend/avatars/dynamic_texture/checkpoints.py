"""A half-trained network on disk, so that a killed run goes on where it was. Plain arrays, never pickled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from ...errors import AvatarError
from ...storage import read_arrays, write_arrays
from .network import DynamicTextureNetwork

FORMAT_VERSION = 1
CHECKPOINT_FILE = "checkpoint.npz"


@dataclasses.dataclass
class Progress:
    """What changes while the network learns.

    step: steps done. averages: parameter name -> running mean. best: parameter name -> the average that judged best. best_loss: its loss on the
    validation frames. losses: (step, loss on the training frames, loss on the validation frames) of every judgement.
    """

    step: int
    averages: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor]
    best_loss: float
    losses: list[tuple[int, float, float]]


def fresh_progress(network: DynamicTextureNetwork) -> Progress:
    """Before the first step."""
    copy = lambda: {name: value.detach().clone() for name, value in network.named_parameters()}  # noqa: E731
    return Progress(0, copy(), copy(), float("inf"), [])


def write_checkpoint(folder: Path, fingerprint: str, network: DynamicTextureNetwork, optimiser: torch.optim.Adam, progress: Progress) -> None:
    """Replaces the folder's checkpoint."""
    arrays: dict[str, np.ndarray] = {
        "format_version": np.array(FORMAT_VERSION), "fingerprint": np.array(fingerprint), "step": np.array(progress.step),
        "best_loss": np.array(progress.best_loss), "losses": np.array(progress.losses, np.float64).reshape(-1, 3),
    }
    for name, value in network.named_parameters():
        moments = optimiser.state.get(value, {})
        arrays[f"now.{name}"], arrays[f"average.{name}"], arrays[f"best.{name}"] = _array(value), _array(progress.averages[name]), _array(progress.best[name])
        if moments:
            arrays[f"first.{name}"], arrays[f"second.{name}"] = _array(moments["exp_avg"]), _array(moments["exp_avg_sq"])
    write_arrays(Path(folder) / CHECKPOINT_FILE, arrays)


def read_checkpoint(folder: Path, fingerprint: str, network: DynamicTextureNetwork, optimiser: torch.optim.Adam) -> Progress | None:
    """Puts a checkpoint into network and optimiser. None when there is none, or it is damaged or of other settings or data: then nothing was changed."""
    path = Path(folder) / CHECKPOINT_FILE
    if not path.exists():
        return None
    try:
        arrays = read_arrays(path)
        if int(arrays["format_version"]) != FORMAT_VERSION or str(arrays["fingerprint"]) != fingerprint:
            return None
        parameters = dict(network.named_parameters())
        found = {
            kind: {name: torch.from_numpy(arrays[f"{kind}.{name}"].reshape(tuple(value.shape))) for name, value in parameters.items()}
            for kind in ("now", "average", "best", "first", "second")
        }
        step = int(arrays["step"])
        losses = [(int(row[0]), float(row[1]), float(row[2])) for row in arrays["losses"]]
        progress = Progress(step, found["average"], found["best"], float(arrays["best_loss"]), losses)
    except (AvatarError, KeyError, TypeError, ValueError):
        return None
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(found["now"][name])
            moments = {"exp_avg": torch.empty_like(value).copy_(found["first"][name]), "exp_avg_sq": torch.empty_like(value).copy_(found["second"][name])}
            optimiser.state[value] = {"step": torch.tensor(float(step)), **moments}
    return progress


def remove_checkpoint(folder: Path) -> None:
    """Once the result is written."""
    (Path(folder) / CHECKPOINT_FILE).unlink(missing_ok=True)


def _array(value: torch.Tensor) -> np.ndarray:
    return value.detach().contiguous().numpy()
