"""Sums, means, maxima and last values over the time steps that count, and whole steps in a quotient.

Half precision cannot count: bfloat16 has no 257, float16 no 65,520. Reductions are therefore float32 at least.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SLACK = 1e-3  # of a step, as in Brian2's timestep(): 0.3 / 0.1, which rounds to 2.9999999999999996, is 3 steps


def whole(quotient: float) -> int:
    """Return the number of whole steps in a quotient; one that is at most 0.001 short of a whole number is that number.

    >>> whole(0.3 / 0.1), whole(2.99), whole(100 * 0.29)
    (3, 2, 29)
    """
    return math.floor(quotient + SLACK)


def wide(x: Tensor) -> Tensor:
    """Return `x` in float32 at least, so that a sum or a loss of many steps is exact to float32; itself if it is.

    Gradients come back in the dtype of `x`.

    >>> wide(torch.ones(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return x.to(wide_dtype(x))


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which values like `x` are counted and summed: its own, but float32 for half precision."""
    return torch.promote_types(x.dtype, torch.float32)


def power_of_two(x: Tensor) -> Tensor:
    """Return the power of two at or below each magnitude, and 1 for 0; dividing by it rounds nothing.

    >>> power_of_two(torch.tensor([3e38, 5.0, -0.3, 0.0])).tolist()[1:]
    [4.0, 0.25, 1.0]
    """
    mantissa = torch.frexp(x).mantissa.abs()  # 1/2 to 1, and 0 for 0
    return torch.where(x == 0, 1.0, x.abs() / (2 * mantissa))


def length(x: Tensor) -> Tensor:
    """Return the Euclidean norm over all entries, in float32 at least, whose squares neither over- nor underflow.

    >>> float(length(torch.tensor([3e30, 4e30]))) == float(torch.tensor(5e30))
    True
    """
    x = wide(x)
    if not x.numel():
        return x.new_zeros(())
    scale = power_of_two(torch.linalg.vector_norm(x.detach(), torch.inf))
    norm: Tensor = torch.linalg.vector_norm(x / scale) * scale
    return norm


def counted(output: Tensor, lengths: Tensor) -> Tensor:
    """Return which steps of `[T, B, ...]` count, `[T, B]`: step t of sample b counts if `t < lengths[b]`.

    >>> counted(torch.zeros(3, 2, 1), torch.tensor([1, 3])).int().tolist()
    [[1, 1], [0, 1], [0, 1]]
    """
    return torch.arange(len(output), device=output.device)[:, None] < lengths


def total(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the sum over the steps that count, `[T, B, k]` to `[B, k]`.

    >>> total(torch.ones(401, 1, 1, dtype=torch.bfloat16)).item()
    401.0
    """
    output = wide(output)
    return output.sum(0) if lengths is None else _masked(output, lengths, 0.0).sum(0)


def mean(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean over the steps that count, `[T, B, k]` to `[B, k]`.

    >>> mean(torch.tensor([[[1.0], [1.0]], [[9.0], [3.0]]]), torch.tensor([1, 2])).flatten().tolist()
    [1.0, 2.0]
    """
    if lengths is None:
        return wide(output).mean(0)
    return total(output, lengths) / lengths.clamp(max=len(output))[:, None]


def largest(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the maximum over the steps that count, `[T, B, k]` to `[B, k]`."""
    return wide((output if lengths is None else _masked(output, lengths, -torch.inf)).max(0).values)


def last(output: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the last step that counts, `[T, B, k]` to `[B, k]`."""
    if lengths is None:
        return wide(output[-1])
    place = lengths.clamp(max=len(output)) - 1
    return wide(output.gather(0, place[None, :, None].expand(1, *output.shape[1:]))[0])


def rows(signal: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the steps that count of `[T, B, ...]`, one after the other, as `[n, ...]`."""
    return signal.flatten(0, 1) if lengths is None else signal[counted(signal, lengths)]


def _masked(output: Tensor, lengths: Tensor, filler: float) -> Tensor:
    return torch.where(counted(output, lengths)[..., None], output, filler)
