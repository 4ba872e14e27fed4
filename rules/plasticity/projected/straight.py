"""Gradients that pass straight through a rounding, where a latent weight is in a range.

Each is one kernel of torch, the derivative of a function that it knows: masks and `where` take ten times as long.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def inside(gradient: Tensor, latent: Tensor, out: Tensor | None = None) -> Tensor:
    """Return a gradient where `|latent| <= 1`, and 0 elsewhere.

    >>> inside(torch.ones(3), torch.tensor([0.5, -1.0, 1.5]))
    tensor([1., 1., 0.])
    """
    one, far = torch.tensor([1.0, math.inf], dtype=latent.dtype)
    beyond = float(torch.nextafter(one, far))  # the kernel leaves out the ends of its range
    out = torch.empty_like(latent) if out is None else out
    found: Tensor = torch.ops.aten.hardtanh_backward.grad_input(gradient, latent, -beyond, beyond, grad_input=out)
    return found


def away_from_zero(gradient: Tensor, latent: Tensor, out: Tensor | None = None) -> Tensor:
    """Return a gradient where the latent weight is not exactly 0, and 0 there.

    >>> away_from_zero(torch.ones(3), torch.tensor([0.5, 0.0, -1e-30]))
    tensor([1., 0., 1.])
    """
    out = torch.empty_like(latent) if out is None else out
    found: Tensor = torch.ops.aten.hardshrink_backward.grad_input(gradient, latent, 0.0, grad_input=out)
    return found
