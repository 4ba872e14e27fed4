"""Layers near the unitary limit: they preserve lengths, so that neither errors nor probes vanish or explode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.contract import Batch, Cost, Credit, CreditRule, Holding, Objective
from rules.diagnostics.health import HealthWarning
from rules.synapses import SYNAPSES

LOWEST, HIGHEST = 0.8, 1.25  # of a layer's gain; outside, deep networks lose probes in noise or in nonlinearity


def orthogonal_(model: nn.Module, rng: torch.Generator, gain: float = 1.0) -> nn.Module:
    """Draw every nn.Linear orthogonal and every convolution delta-orthogonal, in place; biases become zero.

        W^T W = gain^2 I    (W W^T where there are fewer outputs than inputs)

    Args:
        model: changed in place.
        rng: source of the draws.
        gain: 1 for tanh and linear layers, sqrt 2 for ReLU.

    Returns:
        The model.

    Raises:
        ValueError: for a convolution with an even kernel, with groups, or transposed.

    >>> net = orthogonal_(nn.Sequential(nn.Linear(8, 8)), torch.Generator().manual_seed(0))
    >>> bool(torch.allclose(net[0].weight.T @ net[0].weight, torch.eye(8), atol=1e-5))
    True

    Reference: Saxe, McClelland & Ganguli 2014 (arXiv 1312.6120).
    """
    with torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, _ConvNd):
                delta_orthogonal_(module, rng, gain, name)
            elif isinstance(module, nn.Linear):
                module.weight.copy_(gain * semi_orthogonal(module.out_features, module.in_features, rng))
            if isinstance(module, SYNAPSES) and module.bias is not None:
                module.bias.zero_()
    return model


def delta_orthogonal_(module: _ConvNd, rng: torch.Generator, gain: float = 1.0, name: str = "") -> None:
    """Set a convolution's weight to an orthogonal matrix at the centre of the kernel, zeros elsewhere.

    Reference: Xiao et al. 2018 (arXiv 1806.05393).
    """
    if module.groups > 1 or module.transposed or any(size % 2 == 0 for size in module.kernel_size):
        raise ValueError(f"{name} {module}: a delta-orthogonal weight needs an odd kernel, groups=1, no transposition")
    with torch.no_grad():
        module.weight.zero_()
        centre: Any = (slice(None), slice(None), *(size // 2 for size in module.kernel_size))
        module.weight[centre] = gain * semi_orthogonal(module.out_channels, module.in_channels, rng).to(module.weight)


def semi_orthogonal(rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """Draw a matrix whose shorter side is orthonormal, uniformly distributed."""
    drawn = torch.randn(max(rows, columns), min(rows, columns), generator=rng, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)  # Q alone is not uniform: its signs must be those of R's diagonal (Mezzadri 2007)
    turned: Tensor = q * r.diagonal().sign()
    return turned if rows >= columns else turned.T


def report_gains(
    gains: Mapping[str, tuple[float, int]], told: tuple[str, ...]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return, for each segment, the gain per layer, `(|J| / sqrt(min(units in, units out)))^(1 / layers)`.

    Warns of every segment whose gain is outside [0.8, 1.25], except of those that were `told` of before; returns with
    the gains the names of all of them.
    """
    each = {f"gain {name}": total ** (1 / layers) for name, (total, layers) in gains.items()}
    for name, value in each.items():
        if not LOWEST <= value <= HIGHEST and name not in told:
            told = (*told, name)
            side = "below" if value < LOWEST else "above"
            warnings.warn(
                f"layers {name.removeprefix('gain ')} have a gain of {value:.2g} each, {side} [{LOWEST}, {HIGHEST}]: "
                "in a network of many layers probes would vanish or explode. Start from orthogonal weights, "
                "rules.credit.zero_order.orthogonal_(model, torch.Generator()), or wrap the rule in TowardsOrthogonal",
                HealthWarning,
                stacklevel=3,
            )
    return each, told


@dataclass(frozen=True)
class TowardsOrthogonal(Holding):
    """The credit of another rule, plus a pull of every weight matrix towards orthogonality.

        weight |W^T W - gain^2 I|^2,  with the slope  4 weight (W W^T - gain^2 I) W

    for the shorter side of each matrix; that of a convolution is `[out, in * kernel]`. The pull is local to each weight
    and needs no gradient. Claim and reported loss are those of the wrapped rule, without the pull.

    Args:
        credit: the wrapped rule.
        weight: of the pull, 1e-4 to 1e-2.
        gain: as in `orthogonal_`.

    >>> from rules.credit.zero_order.layered.hzo import HZO
    >>> TowardsOrthogonal(HZO(), weight=1e-3).needs == {"layers"}
    True

    Reference: the soft constraint of Bansal, Chen & Wang 2018 (arXiv 1810.09102), here also for rules without gradient.
    """

    credit: CreditRule
    weight: float = 1e-3
    gain: float = 1.0

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the wrapped rule's credit, with the pull added to every matrix that it updates."""
        credit = self.credit.assign(model, objective, batch, state, rng)
        matrices = {name: p for name, p in self.parameters(model).items() if p.ndim > 1 and name in credit.grads}
        pulled = {name: credit.grads[name] + self.weight * slope(p, self.gain) for name, p in matrices.items()}
        products = sum(2 * p.numel() * min(len(p), p[0].numel()) for p in matrices.values())
        cost = credit.cost + Cost(weight_operations=products, multiplications=products)
        return credit._replace(grads=credit.grads | pulled, cost=cost)


def slope(weight: Tensor, gain: float) -> Tensor:
    """Return the derivative of `|W^T W - gain^2 I|^2`, of the shorter side."""
    matrix = weight.detach().flatten(1)
    side = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    excess = side @ side.T - gain**2 * torch.eye(len(side), dtype=side.dtype, device=side.device)
    pulled = 4 * excess @ side
    return (pulled if side is matrix else pulled.T).reshape(weight.shape)
