"""Near the unitary limit: layers that keep lengths, so that neither errors nor probes fade or explode."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.contract import Batch, Credit, CreditRule, Holding, Objective
from rules.diagnostics.health import HealthWarning
from rules.synapses import SYNAPSES

LOWEST, HIGHEST = 0.8, 1.25  # of a layer's gain; beyond, depth drowns probes or bends them


def orthogonal_(model: nn.Module, rng: torch.Generator, gain: float = 1.0) -> nn.Module:
    """Draw every nn.Linear orthogonal and every convolution delta-orthogonal, in place; biases become zero.

        W^T W = gain^2 I    (W W^T where there are fewer outputs than inputs)

    Arguments: a model, dice, the gain: 1 for tanh and linear layers, sqrt 2 for ReLU. Returns the model. Raises
    ValueError for a convolution whose kernel has no centre, or in groups.

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
    """An orthogonal matrix at the centre of the kernel, zeros elsewhere.

    Reference: Xiao et al. 2018 (arXiv 1806.05393).
    """
    if module.groups > 1 or module.transposed or any(size % 2 == 0 for size in module.kernel_size):
        raise ValueError(f"{name} {module}: a delta-orthogonal weight wants an odd kernel, groups=1, no transposition")
    with torch.no_grad():
        module.weight.zero_()
        centre: Any = (slice(None), slice(None), *(size // 2 for size in module.kernel_size))
        module.weight[centre] = gain * semi_orthogonal(module.out_channels, module.in_channels, rng).to(module.weight)


def semi_orthogonal(rows: int, columns: int, rng: torch.Generator) -> Tensor:
    """A matrix whose shorter side is orthonormal, uniformly distributed: QR with the signs of R's diagonal."""
    drawn = torch.randn(max(rows, columns), min(rows, columns), generator=rng, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    turned: Tensor = q * r.diagonal().sign()
    return turned if rows >= columns else turned.T


def report_gains(gains: Mapping[str, tuple[float, int]]) -> dict[str, float]:
    """By segment, the gain of each of its layers, `(|J| / sqrt(min(units in, units out)))^(1 / layers)`.

    Warns, once for every segment, where it is outside of [0.8, 1.25].
    """
    each = {f"gain {name}": total ** (1 / layers) for name, (total, layers) in gains.items()}
    for name, value in each.items():
        if not LOWEST <= value <= HIGHEST:
            side = "below" if value < LOWEST else "above"
            warnings.warn(
                f"{name} is {side} [{LOWEST}, {HIGHEST}] for each layer: over many layers probes fade or "
                "explode; see orthogonal_ and TowardsOrthogonal",
                HealthWarning,
                stacklevel=3,
            )
    return each


@dataclass(frozen=True)
class TowardsOrthogonal(Holding):
    """The credit of `credit`, and beside it a pull of every weight matrix towards orthogonality.

        weight |W^T W - gain^2 I|^2,  with the slope  4 weight (W W^T - gain^2 I) W

    for the shorter side of each matrix, a convolution's being `[out, in * kernel]`; a local term that no gradient has
    to reach. The claim is that of the rule it holds, of the loss without the pull; so is the loss that it reports.

    Arguments: the rule it holds, weight (1e-4 to 1e-2), gain.

    >>> from rules.credit.zero_order.layered.hzo import HZO
    >>> TowardsOrthogonal(HZO(), weight=1e-3).needs == {"layers"}
    True

    Reference: the soft constraint of Bansal, Chen & Wang 2018 (arXiv 1810.09102), here also for rules without gradient.
    """

    credit: CreditRule
    weight: float = 1e-3
    gain: float = 1.0

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """The held rule's credit, with the pull added to every matrix that it speaks of."""
        credit = self.credit.assign(model, objective, batch, state, rng)
        matrices = {name: p for name, p in self.parameters(model).items() if p.ndim > 1 and name in credit.grads}
        pulled = {name: credit.grads[name] + self.weight * slope(p, self.gain) for name, p in matrices.items()}
        return credit._replace(grads=credit.grads | pulled)


def slope(weight: Tensor, gain: float) -> Tensor:
    """The derivative of `|W^T W - gain^2 I|^2`, of the shorter side."""
    matrix = weight.detach().flatten(1)
    side = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    excess = side @ side.T - gain**2 * torch.eye(len(side), dtype=side.dtype, device=side.device)
    pulled = 4 * excess @ side
    return (pulled if side is matrix else pulled.T).reshape(weight.shape)
