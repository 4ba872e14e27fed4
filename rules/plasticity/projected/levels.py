"""Weights of a few bits: a uniform quantiser that is scaled to the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rules.plasticity.projected.projection import Factor, Memory, Storage
from rules.plasticity.projected.quantiser import Group, Scale, quantised, scale_of
from rules.plasticity.projected.recipe import Projected
from rules.plasticity.projected.straight import inside


@dataclass(frozen=True)
class Levels(Projected):
    """Weights on `2^bits` levels between -gamma and gamma, where gamma follows the weights (ReScaW).

    See `rules.plasticity.projected.quantiser.quantised`. Gamma is a constant for the gradient. The first and the last
    weight matrix stay in full precision by default.

    Args:
        bits: of a weight, 1 to 8.
        scale: gamma: "mean" of the magnitudes, "max", "percentile", the larger magnitude of the first and the last
            percentile, or "none" for 1, the quantiser without rescaling.
        per: one gamma for each output "channel", as in the authors' code, or for the "layer", as in the paper.
        gradient: "unit" passes it as it is; "inside" passes it where `|w| <= gamma`, as the text of the paper says of
            rescaled weights; "scaled" divides it by gamma and passes it everywhere, as the authors' code does.

    Raises:
        ValueError: for bits outside of 1 to 8.

    Limits: the mean clips some 42 % of normally distributed weights, so that at 8 bits the error is larger than without
    rescaling, and with "inside" these weights no longer learn (`tests/slow/test_few_bits.py` shows what that costs).
    The authors' learning rates belong to "scaled", where initial weights of 5e-4 multiply it by 4000.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([[0.1, -0.3]]))
    >>> optimizer = Levels(bits=1)([p])
    >>> p.data
    tensor([[ 0.2000, -0.2000]])

    Reference: Wei et al. 2025 (arXiv 2502.05905), equations from the paper, channels from the authors' code.
    """

    with_ends: ClassVar[bool] = False

    bits: int = 4
    scale: Scale = "mean"
    per: Group = "channel"
    gradient: Literal["unit", "inside", "scaled"] = "unit"

    def check(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits={self.bits}: give a whole number from 1 to 8")

    def init(self, latents: Sequence[Tensor], rates: Sequence[float], factor: Factor | None) -> list[Memory]:
        return [{"gamma": scale_of(latent, self.scale, self.per)} for latent in latents]

    def advance(self, memories: Sequence[Memory], latents: Sequence[Tensor], rates: Sequence[float]) -> list[Memory]:
        return self.init(latents, rates, None)

    def show(self, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        return quantised(latent, memory["gamma"], self.bits, out)

    def pull(self, gradient: Tensor, latent: Tensor, memory: Memory, out: Tensor | None = None) -> Tensor:
        if self.gradient == "unit":
            return gradient
        gamma = memory["gamma"]
        unit = gamma.where(gamma != 0, 1)
        if self.gradient == "scaled":
            return torch.div(gradient, unit, out=out)
        relative = torch.div(latent, unit, out=out)
        return inside(gradient, relative, relative)

    def storage(self, latent: Tensor) -> Storage:
        if self.scale == "none":
            return Storage(self.bits)
        return Storage(self.bits, len(latent) if self.per == "channel" else 1)
