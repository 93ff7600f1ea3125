"""From controls to the weights of the components: a linear map, or one hidden layer, each block hearing its own controls only.

Both are fitted in the space of the components. The rank that a map can really reach is then found by decomposing what it
*predicts* (reduced-rank regression: Izenman, "Reduced-rank regression for the multivariate linear model", 1975), not what it should
have predicted: a component that no control explains gets no tile.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

NUM_HIDDEN, LEAST_HIDDEN = 64, 2
"""Units of the hidden layer, over all blocks and at least in each. Against 32 they cost Blender 0.1 ms per frame and explain 70 instead of 64 % of
held-out frames (kitchen)."""

LEAST_SPREAD = 0.05
"""Controls that moved less than this are scaled as if they had moved this much."""

RIDGE = 1e-2
"""Weight of the squared coefficients of standardised inputs, per sample."""

_STEPS, _DECAY = 300, 3e-3


@dataclasses.dataclass(frozen=True)
class BlockFit:
    """A fitted block: features h = relu(hidden x + hidden_bias) of its E inputs (or x itself), scores = score_weight h + score_bias.

    hidden_weight: (H, E) or None. hidden_bias: (H,) or None. score_weight: (R, H or E). score_bias: (R,). All float64, over raw inputs.
    """

    hidden_weight: np.ndarray | None
    hidden_bias: np.ndarray | None
    score_weight: np.ndarray
    score_bias: np.ndarray

    def features(self, inputs: np.ndarray) -> np.ndarray:
        """(n, H or E) from (n, E)."""
        if self.hidden_weight is None:
            return np.asarray(inputs, np.float64)
        return np.maximum(inputs @ self.hidden_weight.T + self.hidden_bias, 0)

    def scores(self, inputs: np.ndarray) -> np.ndarray:
        """(n, R) predicted scores."""
        return self.features(inputs) @ self.score_weight.T + self.score_bias


def fit_linear(inputs: np.ndarray, scores: np.ndarray, sample_weights: np.ndarray, heard: np.ndarray) -> BlockFit:
    """Ridge regression.

    Args:
        inputs: (n, E) raw. scores: (n, R). sample_weights: (n,), mean about 1. heard: (E,) bool; the others get zero.
    """
    mean, spread = _standard(inputs, sample_weights)
    columns = np.flatnonzero(heard)
    standardised = (inputs[:, columns] - mean[columns]) / spread[columns]
    weight, bias = _ridge(standardised, scores, sample_weights)
    full = np.zeros((scores.shape[1], inputs.shape[1]))
    full[:, columns] = weight / spread[columns]
    return BlockFit(None, None, full, bias - full @ mean)


def fit_hidden(inputs: np.ndarray, scores: np.ndarray, sample_weights: np.ndarray, heard: np.ndarray, num_hidden: int, seed: int) -> BlockFit:
    """One hidden layer, trained by L-BFGS on all samples at once; the last step solves the outer layer exactly.

    Args: as ``fit_linear``; ``num_hidden``: units. ``seed``: of their start.
    """
    mean, spread = _standard(inputs, sample_weights)
    columns = np.flatnonzero(heard)
    standardised = (inputs[:, columns] - mean[columns]) / spread[columns]
    scale = np.sqrt(max(float((sample_weights[:, None] * scores**2).sum(1).mean()), 1e-30))
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.from_numpy(standardised), torch.from_numpy(scores / scale)
    w = torch.from_numpy(np.asarray(sample_weights, np.float64))[:, None]
    # Units start at hinges inside the data: a direction of unit length and a bend at some sample.
    directions = torch.randn(num_hidden, len(columns), generator=generator, dtype=torch.float64) / max(len(columns), 1) ** 0.5
    bends = x[torch.randint(len(x), (num_hidden,), generator=generator)]
    first = directions.clone().requires_grad_()
    first_bias = (-(directions * bends).sum(1)).clone().requires_grad_()
    start = torch.relu(x @ first.detach().T + first_bias.detach())
    outer, outer_bias = _ridge(start.numpy(), y.numpy(), w[:, 0].numpy())
    second, second_bias = torch.from_numpy(np.ascontiguousarray(outer)).requires_grad_(), torch.from_numpy(outer_bias).requires_grad_()
    unknowns = [first, first_bias, second, second_bias]
    optimiser = torch.optim.LBFGS(unknowns, max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        predicted = torch.relu(x @ first.T + first_bias) @ second.T + second_bias
        value = (w * (predicted - y) ** 2).sum(1).mean() + _DECAY * ((first**2).sum() + (second**2).sum())
        value.backward()
        return value

    optimiser.step(loss)
    hidden = np.zeros((num_hidden, inputs.shape[1]))
    hidden[:, columns] = first.detach().numpy() / spread[columns]
    hidden_bias = first_bias.detach().numpy() - hidden @ mean
    features = np.maximum(inputs @ hidden.T + hidden_bias, 0)
    weight, bias = _ridge(features, scores, sample_weights)
    return BlockFit(hidden, hidden_bias, weight, bias)


def hidden_shares(block_energies: np.ndarray) -> np.ndarray:
    """(B,) units of the hidden layer: by the square root of how much each block varies; none where nothing does."""
    varies = block_energies > 0
    if not varies.any():
        return np.zeros(len(block_energies), np.int64)
    wanted = np.sqrt(block_energies) / np.sqrt(block_energies).sum() * max(NUM_HIDDEN - LEAST_HIDDEN * varies.sum(), 0)
    units = np.where(varies, LEAST_HIDDEN + np.floor(wanted).astype(np.int64), 0)
    largest_remainder = np.argsort(np.floor(wanted) - wanted, kind="stable")
    units[largest_remainder[: max(NUM_HIDDEN - int(units.sum()), 0)]] += 1
    return np.where(varies, units, 0)


def truncated(fit: BlockFit, inputs: np.ndarray, sample_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The directions of the scores that a fitted block really reaches, by how much they explain.

    Returns:
        (R, r) orthonormal directions, (r, H or E) map from features to their weights, (r,) bias; with the weighted mean of every weight 0.
        Sorted by falling energy, which ``energies`` gives.
    """
    predicted = fit.scores(inputs)
    mean = np.average(predicted, axis=0, weights=sample_weights)
    _, _, rows = np.linalg.svd((predicted - mean) * np.sqrt(sample_weights)[:, None], full_matrices=False)
    rows = rows * np.where(rows[np.arange(len(rows)), np.abs(rows).argmax(1)] < 0, -1.0, 1.0)[:, None]
    return rows.T, rows @ fit.score_weight, rows @ (fit.score_bias - mean)


def energies(fit: BlockFit, inputs: np.ndarray, sample_weights: np.ndarray) -> np.ndarray:
    """(r,) how much squared error each direction of ``truncated`` removes, mean over the samples."""
    predicted = fit.scores(inputs)
    mean = np.average(predicted, axis=0, weights=sample_weights)
    values = np.linalg.svd((predicted - mean) * np.sqrt(sample_weights)[:, None], compute_uv=False)
    return values**2 / len(inputs)


def shared_out(block_energies: list[np.ndarray], num_components: int) -> np.ndarray:
    """(B,) how many components each block gets: one after the other to whoever gains most. Nothing is given where nothing is gained."""
    counts = np.zeros(len(block_energies), np.int32)
    total = sum(float(energy.sum()) for energy in block_energies)
    for _ in range(num_components):
        gains = [float(energy[count]) if count < len(energy) else 0.0 for energy, count in zip(block_energies, counts)]
        best = int(np.argmax(gains))
        if gains[best] <= 1e-6 * max(total, 1e-30):
            break
        counts[best] += 1
    return counts


def _standard(inputs: np.ndarray, sample_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.average(inputs, axis=0, weights=sample_weights)
    return mean, np.maximum(np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=sample_weights)), LEAST_SPREAD)


def _ridge(features: np.ndarray, targets: np.ndarray, sample_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, F) weights and (R,) biases of the weighted ridge regression; biases are free."""
    total = sample_weights.sum()
    feature_mean, target_mean = (sample_weights @ values / total for values in (features, targets))
    centred = features - feature_mean
    weighted = centred * sample_weights[:, None]
    matrix = weighted.T @ centred + RIDGE * total * np.eye(features.shape[1])
    weight = np.linalg.solve(matrix, weighted.T @ (targets - target_mean)).T
    return weight, target_mean - weight @ feature_mean
