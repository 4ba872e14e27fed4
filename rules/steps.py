"""Sums, means, maxima and last values over the time steps that count, in sequences of different length."""

from __future__ import annotations

import torch
from torch import Tensor


def counted(output: Tensor, lengths: Tensor) -> Tensor:
    """Return which steps of `[T, B, ...]` count, `[T, B]`: step t of sample b counts if `t < lengths[b]`.

    >>> counted(torch.zeros(3, 2, 1), torch.tensor([1, 3])).int().tolist()
    [[1, 1], [0, 1], [0, 1]]
    """
    return torch.arange(len(output), device=output.device)[:, None] < lengths


def total(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over the steps that count, `[T, B, k]` to `[B, k]`."""
    return output.sum(0) if lengths is None else _masked(output, lengths, 0.0).sum(0)


def mean(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over the steps that count, `[T, B, k]` to `[B, k]`.

    >>> mean(torch.tensor([[[1.0], [1.0]], [[9.0], [3.0]]]), torch.tensor([1, 2])).flatten().tolist()
    [1.0, 2.0]
    """
    if lengths is None:
        return output.mean(0)
    return total(output, lengths) / lengths.clamp(max=len(output))[:, None]


def largest(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the maximum over the steps that count, `[T, B, k]` to `[B, k]`."""
    return (output if lengths is None else _masked(output, lengths, -torch.inf)).max(0).values


def last(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the last step that counts, `[T, B, k]` to `[B, k]`."""
    if lengths is None:
        return output[-1]
    place = lengths.clamp(max=len(output)) - 1
    return output.gather(0, place[None, :, None].expand(1, *output.shape[1:]))[0]


def rows(signal: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the steps that count of `[T, B, ...]`, one after the other, as `[n, ...]`."""
    return signal.flatten(0, 1) if lengths is None else signal[counted(signal, lengths)]


def _masked(output: Tensor, lengths: Tensor, filler: float) -> Tensor:
    return torch.where(counted(output, lengths)[..., None], output, filler)
