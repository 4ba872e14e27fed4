"""Burst-dependent plasticity in its rate form: what arrives at the apical dendrite turns events into bursts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective
from rules.credit.dendritic.top_down import TOP_DOWN, TopDown, drawn, matrices
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import chain_of, judge, products, refuse_inside

APICAL = ("slope", "plain")


@dataclass(frozen=True)
class Burst(CreditRule):
    """Burst-dependent plasticity in a chain of dense layers, whose outputs are the rates of events.

        p(u)  = sigmoid(beta u + logit(free)),     b_l - b_free_l = e_l (p(u_l) - free)
        d_l   = (b_l - b_free_l) / p'(0),          p'(0) = beta free (1 - free)
        u_l   = (f'_l / e_l) B_l d_{l+1}  (apical="slope"),    u_l = B_l d_{l+1}  (apical="plain")
        dW_l  = d_l e_{l-1}^T / n, averaged over rows, and the credit is -dW_l, what a minimiser subtracts

    An event is a single spike or a burst; `b` is the rate of bursts, `p` the probability that an event is one, `free`
    that without a teacher. B_l carries the difference of burst rates in layer l + 1 down to the apical dendrites of
    layer l. A unit whose output is negative, as behind nn.Tanh, counts as one with events at the size of its output.

    The teacher sets the burst rates of the last layer, `d_L = -n f'_L dloss/de_L`, n the number of rows (samples times
    steps), so that a sample is taught alike in any batch. The last layer has its exact gradient. For small signals
    `d_l = f'_l B_l d_{l+1}`, which is feedback alignment; large ones saturate, since no cell has more bursts than
    events. Without a teacher nothing changes. Each step of a sequence is a sample of its own.

    Args:
        beta: steepness of the probability of a burst, 1 by default; smaller ones saturate later.
        free: probability of a burst without a teacher, 0.5 by default.
        apical: "slope", where the dendrite is as sensitive as its soma is to input, by default, or "plain".
        top_down: "random", matrices B drawn once, of the scale of the initial weights, by default; "transposed" takes
            the transposed weights, for comparison with backpropagation.

    Raises:
        ValueError: for an unknown word, a number out of range, an objective of hidden layers, a model without a chain
            of dense layers, and matrices that no longer fit the model.

    >>> from rules.objectives import OBJECTIVES
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2))
    >>> rule, batch = Burst(), Batch(torch.rand(5, 2), torch.arange(5) % 2)
    >>> state = rule.init(net, torch.Generator().manual_seed(0))
    >>> sorted(rule.assign(net, OBJECTIVES["ce_mean"](), batch, state, torch.Generator()).grads)
    ['0.bias', '0.weight', '2.bias', '2.weight']

    Reference: Payeur, Guerguiev, Zenke, Richards & Naud 2021 (doi 10.1038/s41593-021-00857-x), reconstructed; the
    teacher of the last layer, the division by p'(0) and negative outputs are ours.
    """

    beta: float = 1.0
    free: float = 0.5
    apical: Literal["slope", "plain"] = "slope"
    top_down: TopDown = "random"

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})

    def __post_init__(self) -> None:
        check_fields(self)
        for name, valid in (("apical", APICAL), ("top_down", TOP_DOWN)):
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        if not self.beta > 0:
            raise ValueError(f"beta={self.beta}: give a number above 0")
        if not 0 < self.free < 1:
            raise ValueError(f"free={self.free}: give a probability between 0 and 1, neither of them")

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # through random matrices the first step may point anywhere
        return "descent" if (self.apical, self.top_down) == ("slope", "transposed") else "none"

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("Burst", objective)

    def init(self, model: nn.Module, rng: torch.Generator) -> dict[str, Tensor]:
        """Draw the matrices B, shaped as the weights that lead up."""
        return drawn(model, "Burst", self.top_down, rng)

    def feedback(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the matrices B by the names of the weights."""
        return state

    def assign(
        self, model: nn.Module, objective: Objective, batch: Batch, state: dict[str, Tensor], rng: torch.Generator
    ) -> Credit:
        """Return the credit of one batch: a forward pass of events, and a pass of bursts down."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "Burst", seen)
            down = matrices(model, "Burst", chain, state, self.top_down)
            events, slopes = [x], list[Tensor]()
            for link in chain.links:
                out, slope = link.sloped(link.linear(events[-1]))
                events, slopes = [*events, out], [*slopes, slope]
            judged = judge(objective, events[-1], lead, seen)
            told = [-len(x) * judged.error * slopes[-1]]  # d, from the last layer down
            for number in reversed(range(len(down))):
                arriving = told[0] @ down[number]
                meter.add(error_operations=len(x) * down[number].numel())
                told = [self.bursts(events[number + 1], slopes[number], arriving), *told]
            pairs = list(zip(chain.links, [-each / len(x) for each in told], events[:-1], strict=True))
            grads = products(model, pairs, meter)
        return Credit({**grads, **judged.own}, state, judged.loss, meter.cost(forwards=1, backwards=0))

    def bursts(self, events: Tensor, slope: Tensor, arriving: Tensor) -> Tensor:
        """Return `d`, the difference of burst rates over p'(0) that a signal at the dendrites causes, `[rows, units]`.

        Args:
            events: outputs of the layer, `[rows, units]`.
            slope: of its activation, likewise.
            arriving: `B d` of the layer above, likewise.

        >>> one = torch.ones(1)
        >>> round(float(Burst(beta=1e-3).bursts(0.5 * one, 0.2 * one, one)), 4)
        0.2
        """
        rate = events.abs()
        # a cell without events has no bursts either
        u = arriving if self.apical == "plain" else torch.where(rate > 0, slope * arriving / rate, 0.0)
        return rate * risen(self.beta * u, self.free) / self.beta


def risen(x: Tensor, free: float) -> Tensor:
    """Return `(sigmoid(x + logit(free)) - free) / (free (1 - free))`, without cancellation where x is small.

    >>> [round(float(each), 3) for each in risen(torch.tensor([1e-3, 9e9, -9e9]), 0.25)]
    [0.001, 4.0, -1.333]
    """
    lost = torch.expm1(-x.abs())
    return torch.where(x > 0, -lost / (1 + (1 - free) * lost), lost / (1 + free * lost))
