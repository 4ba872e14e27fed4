"""Credit of another rule under dropout of hidden signals."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Holding, Objective
from rules.draws import uniform
from rules.fields import check_fields
from rules.synapses import synapses


@dataclass(frozen=True)
class Dropout(Holding):
    """The credit of another rule on a network whose hidden signals are each silenced with probability `p`.

        x <- x m / (1 - p),    m ~ Bernoulli(1 - p)

    for the input of every linear map or convolution except the first, drawn anew for each use. The model itself is
    left unchanged and is evaluated without dropout.

    Args:
        credit: the wrapped rule.
        p: probability of silencing a signal, 0.5 by default.

    Raises:
        ValueError: for p below 0, or 1 and above, or around a rule that compares passes: each would have another mask.

    >>> from rules.credit.bptt import BPTT
    >>> Dropout(BPTT(), p=0.5).claim
    'none'

    Reference: Srivastava et al. 2014, Dropout: a simple way to prevent neural networks from overfitting (JMLR 15).
    """

    credit: CreditRule
    p: float = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.p < 1:
            raise ValueError(f"p={self.p}: give a probability from 0 to below 1")
        if self.p and "deterministic" in self.credit.relies_on:
            name = type(self.credit).__name__
            raise ValueError(
                f"{name} compares passes, and dropout would draw another mask for each of them: use {name} with p=0, "
                "or dropout with BPTT or ForwardGradient"
            )

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # the gradient of a different, thinned network at each call
        return self.credit.claim if self.p == 0 else "none"

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the wrapped rule's credit, with some signals silenced."""

        def thin(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            x, *others = inputs
            kept = uniform(x.shape, rng, x) >= self.p
            return (x * kept / (1 - self.p), *others)

        with ExitStack() as hooks:
            for module in list(synapses(model).values())[1:] if self.p else []:
                hooks.callback(module.register_forward_pre_hook(thin).remove)
            return self.credit.assign(model, objective, batch, state, rng)
