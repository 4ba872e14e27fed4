"""Binary weights: a sign each, and one magnitude for each output channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rules.plasticity.projected.projection import Memory, Storage
from rules.plasticity.projected.quantiser import scale_of
from rules.plasticity.projected.recipe import Projected
from rules.plasticity.projected.straight import inside


@dataclass(frozen=True)
class Sign(Projected):
    """Weights of one bit, `alpha sign(theta)` with `alpha = mean |theta|` of each output channel, and sign(0) = 1.

    Alpha is a constant for the gradient. The first and the last weight matrix stay in full precision by default.

    Args:
        gradient: "unit" passes it as it is; "inside" where `|theta| <= 1`, as is usual for binary networks whose
            weights start within that range. Weights of `sandbox.build` often start beyond it, and would not learn.

    Raises:
        ValueError: for another gradient.

    >>> p = torch.nn.Parameter(torch.tensor([[0.1, -0.3], [0.0, 1.0]]))
    >>> optimizer = Sign()([p])
    >>> p.data
    tensor([[ 0.2000, -0.2000],
            [ 0.5000,  0.5000]])

    Reference: our reconstruction of the weights of Meng et al. 2025 (arXiv 2508.12609), of which we read the abstract;
    the scale is that of Rastegari et al. 2016 (arXiv 1603.05279).
    """

    with_ends: ClassVar[bool] = False

    gradient: Literal["unit", "inside"] = "unit"

    def show(self, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        positive = torch.add(latent, 0.0, out=out)  # -0 becomes 0
        return torch.copysign(scale_of(latent), positive, out=positive)

    def pull(self, gradient: Tensor, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        return gradient if self.gradient == "unit" else inside(gradient, latent, out)

    def storage(self, latent: Tensor) -> Storage:
        return Storage(1, len(latent))
