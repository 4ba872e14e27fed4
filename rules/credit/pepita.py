"""PEPITA: a second forward pass, whose input the error has changed, in place of a backward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, chain_of, judge, links_of, products, refuse_inside


@dataclass(frozen=True)
class PEPITA(CreditRule):
    """Present the error to perturb the input to modulate activity, in a chain of dense layers.

        h_l of x,    e = n dloss/dh_L,    h'_l of x' = x + e F^T
        credit of W_1 = (h_1 - h'_1) x'^T / n,   of W_l = (h_l - h'_l) h'_{l-1}^T / n,   of W_L = e h'_{L-1}^T / n

    summed over the n rows, samples times steps; the credit is what a minimiser subtracts. F `[in, classes]` is fixed
    and random, uniform around 0 with standard deviation `2 scale sqrt(6 / in)`, drawn from the seed of the run. In a
    linear network the credit of W_1 is `-(W_1 F e) x^T / n + O(|F|^2)`: feedback alignment with the matrix -W_1 F,
    which is as likely as W_1 F. Slopes of activations are not used. With an objective of logits such as `ce_mean`, e is
    the softmax less the label; the last layer then gets a delta rule on modulated activity.

    Args:
        scale: of F, 0.05 by default.

    Raises:
        ValueError: for a scale below 0, an objective of hidden layers, a model without a chain of dense layers, and
            an F that no longer fits the model.

    >>> net = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> PEPITA().init(net, torch.Generator().manual_seed(0)).shape
    torch.Size([8, 2])

    Reference: Dellaferrera & Kreiman 2022, Error-driven input modulation (arXiv 2201.11665), update and sign as in the
    authors' code; the factor of the scale is reconstructed, and objectives other than theirs are ours.
    """

    scale: float = 0.05

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    claim: ClassVar[Claim] = "none"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic", "input"})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.scale < 0:
            raise ValueError(f"scale={self.scale}: give a number of at least 0")

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("PEPITA", objective)

    def init(self, model: nn.Module, rng: torch.Generator) -> Tensor:
        """Draw F, `[in, classes]`."""
        links = links_of(model, "PEPITA").links
        like = links[0].weight
        shape = (like.shape[1], links[-1].weight.shape[0])
        drawn = torch.rand(shape, generator=rng, device=rng.device, dtype=torch.float64)
        limit = math.sqrt(3) * self.scale * 2 * math.sqrt(6 / shape[0])  # a uniform number has a third of limit^2
        return ((2 * drawn - 1) * limit).to(like)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credit of one batch, from two forward passes."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "PEPITA", seen)
            clean = passed(chain, x)
            wanted = (x.shape[1], clean[-1].shape[1])
            if state.shape != wanted:
                raise ValueError(
                    f"the feedback of PEPITA is {tuple(state.shape)}, and the model now takes and gives {wanted}: draw "
                    "new feedback by a new trainer, trainer = rules.Trainer(model, rule)"
                )
            judged = judge(objective, clean[-1], lead, seen)
            error = len(x) * judged.error
            meter.add(error_operations=len(x) * state.numel())
            modulated_x = x + error @ state.to(x).T
            modulated = passed(chain, modulated_x)
            deltas = [(h - changed) / len(x) for h, changed in zip(clean[:-1], modulated, strict=False)]
            pres = [modulated_x, *modulated[:-1]]
            grads = products(model, list(zip(chain.links, [*deltas, judged.error], pres, strict=True)), meter)
        return Credit({**grads, **judged.own}, state, judged.loss, meter.cost(forwards=2, backwards=0))


def passed(chain: Chain, x: Tensor) -> list[Tensor]:
    """Return the output of each link for rows `[rows, in]`."""
    found = []
    for link in chain.links:
        x = link.fire(link.linear(x))
        found.append(x)
    return found
