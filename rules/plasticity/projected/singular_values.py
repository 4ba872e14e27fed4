"""Scores for structured pruning: the rank of what a feature map fires, from its singular values."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPS = 1e-6


def feature_scores(spikes: Tensor, eps: float = EPS, relative: bool = False) -> Tensor:
    """Return a score for each feature map, `[F]`: the rank of its mean over time, averaged over the batch.

        score(f) = mean over samples of the number of singular values of (1/T) sum_t S[t, b, f] above eps

    A silent map scores 0, one that fires at a product of rows and columns 1, any other at most min(H, W).

    Args:
        spikes: `[T, B, F, H, W]`.
        eps: smallest singular value that counts, 1e-6 as in the paper.
        relative: whether eps is a share of the largest singular value, so that the score does not depend on the size
            of what is fired. The authors' code takes its library's relative tolerance.

    Raises:
        ValueError: for another number of dimensions.

    >>> maps = torch.zeros(2, 1, 3, 4, 4)
    >>> maps[:, :, 1, 0] = 1.0
    >>> maps[0, :, 2] = torch.eye(4)
    >>> feature_scores(maps)
    tensor([0., 1., 4.])

    Reference: Wei et al. 2025 (arXiv 2502.05905), from the paper and the authors' code.
    """
    if spikes.ndim != 5:
        raise ValueError(f"spikes of shape {tuple(spikes.shape)}: give [T, B, F, H, W]; for [T, B, F] dense_scores")
    return _ranks(spikes.double().mean(0), eps, relative).mean(0)


def dense_scores(spikes: Tensor, eps: float = EPS, relative: bool = False) -> Tensor:
    """Return a score for each unit of a dense layer, `[F]`: the rank of its spikes as a matrix of times and samples.

    This variant is ours: a unit has no map, and the mean over time of one number only says whether it ever fires.

    Args:
        spikes: `[T, B, F]`.
        eps: smallest singular value that counts.
        relative: as in `feature_scores`.

    Raises:
        ValueError: for another number of dimensions.

    >>> spikes = torch.zeros(2, 2, 2)
    >>> spikes[:, :, 1] = torch.eye(2)
    >>> dense_scores(spikes)
    tensor([0., 2.])
    """
    if spikes.ndim != 3:
        raise ValueError(f"spikes of shape {tuple(spikes.shape)}: give [T, B, F]; for maps feature_scores")
    return _ranks(spikes.double().permute(2, 0, 1), eps, relative)


def kept(scores: Tensor, pruned: float) -> Tensor:
    """Return the indices that stay when a share of the features is pruned, `ceil((1 - pruned) F)` of them, in order.

    Of equal scores the first stay.

    Args:
        scores: `[F]`.
        pruned: share of the features that go, from 0 to below 1.

    Raises:
        ValueError: for a share `pruned` outside of [0, 1).

    >>> kept(torch.tensor([2.0, 0.0, 3.0, 2.0]), 0.5)
    tensor([0, 2])
    """
    if not 0 <= pruned < 1:
        raise ValueError(f"pruned={pruned}: give the share of the features that goes, from 0 to below 1")
    count = math.ceil(round((1 - pruned) * len(scores), 9))  # 1 - 0.9 is a little more than 0.1
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _ranks(matrices: Tensor, eps: float, relative: bool) -> Tensor:
    """Return the numbers of singular values above eps; in float64, whose rounding is far below it."""
    values = torch.linalg.svdvals(matrices)
    ranks: Tensor = (values > (eps * values[..., :1] if relative else eps)).sum(-1)
    return ranks.float()
