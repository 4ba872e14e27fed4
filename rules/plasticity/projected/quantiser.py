"""Uniform quantisation of weights after rescaling, and how many of its levels are used."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Scale = Literal["mean", "max", "percentile", "none"]
Group = Literal["channel", "layer"]


def scale_of(weight: Tensor, scale: Scale = "mean", per: Group = "channel") -> Tensor:
    """Return the scale gamma of weights, `[outputs, 1, ...]` for a channel each or a number `[1, ...]` for the layer.

    Args:
        weight: `[outputs, ...]`.
        scale: "mean" of the magnitudes; "max" of them; "percentile", the larger magnitude of the first and the last
            percentile; "none" for 1.
        per: one gamma for each "channel" of outputs, or one for the "layer".

    >>> scale_of(torch.tensor([[1.0, -3.0], [0.0, 1.0]])).flatten()
    tensor([2.0000, 0.5000])
    """
    rows = weight.flatten(1) if per == "channel" else weight.reshape(1, -1)
    found: Tensor  # [outputs] or [1]
    if scale == "none":
        found = rows.new_ones(1)
    elif scale == "mean":
        found = rows.abs().mean(1)
    elif scale == "max":
        found = rows.abs().amax(1)
    else:
        shares = torch.tensor([0.01, 0.99], dtype=rows.dtype, device=rows.device)
        found = rows.quantile(shares, dim=1).abs().amax(0)
    return found.view(-1, *[1] * (weight.ndim - 1))


def quantised(weight: Tensor, gamma: Tensor, bits: int, out: Tensor | None = None) -> Tensor:
    """Return weights on the grid of `2^bits` levels from -gamma to gamma.

        gamma ((2 / s) round((s / 2) (clamp(w / gamma, -1, 1) + 1)) - 1),    s = 2^bits - 1

    The two ends are exactly gamma, and the levels are exactly symmetric: the last steps are `(k - s / 2) / (s / 2)`.
    No level lies at 0. Where gamma is 0, so are the weights. Half
    precision is quantised in float32, and rounded.

    >>> quantised(torch.tensor([-2.0, -0.4, 0.1, 0.9]), torch.tensor(1.0), bits=2)
    tensor([-1.0000, -0.3333,  0.3333,  1.0000])

    Reference: Wei et al. 2025 (arXiv 2502.05905), from the paper.
    """
    if weight.dtype in (torch.float16, torch.bfloat16):  # whose own products are off by a level of 8 bits
        exact = quantised(weight.float(), gamma.float(), bits)
        return exact.to(weight.dtype) if out is None else out.copy_(exact)
    half = (2**bits - 1) / 2
    found = torch.mul(weight, half / torch.where(gamma == 0, 1, gamma), out=out)
    return found.add_(half).clamp_(0, 2 * half).round_().sub_(half).div_(half).mul_(gamma)


def utilisation(weight: Tensor, gamma: Tensor, bits: int) -> float:
    """Return the share of the levels that weights use, over all scales together.

    >>> utilisation(torch.tensor([-1.0, -0.9, 1.0]), torch.tensor(1.0), bits=2)
    0.5

    Reference: Wei et al. 2025 (arXiv 2502.05905), from the paper.
    """
    levels = quantised(weight, gamma, bits) / torch.where(gamma == 0, 1, gamma)
    used = ((levels + 1) * (2**bits - 1) / 2).round().unique()
    return float(len(used) / 2**bits)
