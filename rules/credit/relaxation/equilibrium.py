"""Equilibrium propagation: a network that settles freely and nudged, and learns from the difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective, Run
from rules.credit.relaxation.sustained import self_sustained
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, as_run, chain_of, judge, products, refuse_inside
from rules.settling import Moved, norm, settle

Nudge = Literal["one_sided", "symmetric", "random_sign"]
NUDGES = ("one_sided", "symmetric", "random_sign")


@dataclass(frozen=True)
class EquilibriumPropagation(CreditRule):
    """Equilibrium propagation in a chain of dense layers whose weights also act downwards, transposed.

        Phi(s, beta) = sum_l s_l . (W_l s_{l-1} + b_l) - beta cost(s_L)
        s_l <- f(dPhi/ds_l) = f(W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}),    s_L <- f(W_L s_{L-1} + b_L - beta dcost/ds_L)
        credit = -[dPhi/dW(s at b1) - dPhi/dW(s at b2)] / (b1 - b2),    dPhi/dW_l = s_l s_{l-1}^T

    The network of this rule is the one that settles: its output is s_L at rest with beta = 0, and `evaluate` settles
    it. The model's own forward pass has no feedback, and gives other numbers. Layers take turns from the first to the
    last; each takes the value that maximises Phi less the integrals of the inverse activations, so that this sum never
    falls in the free phase if activations rise. It has a maximum where they are bounded, such as nn.Hardsigmoid or
    nn.Tanh; others rest if weights are small.

    | nudge | b1, b2 | error of the credit |
    | --- | --- | --- |
    | `one_sided` | beta, 0 | grows as beta |
    | `symmetric` | beta, -beta | grows as beta^2 |
    | `random_sign` | beta or -beta, drawn for each batch; 0 | that of one side, of either sign |

    The cost is the objective times the number of rows (samples times steps), so that a sample settles alike in any
    batch, up to the tolerance, since the batch rests as a whole; the credit is divided by it. Each step of a sequence
    settles for itself.

    Args:
        nudge: "one_sided", "symmetric" or "random_sign", "symmetric" by default.
        beta: strength of the nudge, 0.2 by default.
        steps: the most sweeps over the layers in each phase, 1000 by default.
        tolerance: the network rests where a sweep changes it by less than this share of its norm, 1e-6 by default.

    Raises:
        ValueError: for an unknown nudge, a number out of range, an objective of hidden layers, and a model without a
            chain of dense layers.
        NotSettled: where a phase does not rest in that number of sweeps; the message has the residual.

    >>> from rules.objectives import OBJECTIVES
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Hardsigmoid(), nn.Linear(3, 2), nn.Hardsigmoid())
    >>> batch = Batch(torch.rand(5, 2), torch.arange(5) % 2)
    >>> credit = EquilibriumPropagation().assign(net, OBJECTIVES["ce_mean"](), batch, (), torch.Generator())
    >>> sorted(credit.grads)
    ['0.bias', '0.weight', '2.bias', '2.weight']

    Reference: Scellier & Bengio 2017 (arXiv 1602.05179); Laborieux et al. 2021 (arXiv 2006.03824) for the symmetric
    nudge, the authors' code read. The order of the layers, the test of rest and the objectives other than the squared
    error are ours.
    """

    nudge: Nudge = "symmetric"
    beta: float = 0.2
    steps: int = 1000
    tolerance: float = 1e-6

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    claim: ClassVar[Claim] = "descent"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.nudge not in NUDGES:
            raise unknown("nudge", self.nudge, NUDGES)
        for name in ("beta", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: give a number of sweeps, at least 1")

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("EquilibriumPropagation", objective)

    def runs(self, model: nn.Module) -> Callable[[Batch], Run]:
        """Return the function that settles the network freely on a batch."""

        def settled(batch: Batch) -> Run:
            chain, x, lead = chain_of(model, "EquilibriumPropagation", batch)
            with torch.no_grad():
                states, _ = self.rest(chain, x, resting(chain, x))
            return as_run(states[-1], lead)

        return settled

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credit of one batch, from a free phase and one or two nudged phases that begin where it rests."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "EquilibriumPropagation", seen)
            free, sweeps = self.rest(chain, x, resting(chain, x), meter=meter)
            judged = judge(objective, free[-1], lead, seen)
            cost = lambda out: len(x) * judge(objective, out, lead, seen).error  # noqa: E731
            low, high = self._sides(rng)
            ends = []
            for beta in (low, high):
                found = free
                if beta:
                    found, more = self.rest(chain, x, free, beta, cost, meter)
                    sweeps += more
                ends.append(found)
            share = (low - high) * len(x)
            grads: dict[str, Tensor] = {}
            for states, sign in zip(ends, (1, -1), strict=True):
                pairs = list(zip(chain.links, states, [x, *states[:-1]], strict=True))
                for name, product in products(model, pairs, meter).items():
                    grads[name] = grads.get(name, 0.0) - sign * product / share
            meter.add(layer_evaluations=(sweeps - 1) * (len(chain.links) - 1))
            ill = tuple(self_sustained(chain))
        grads |= judged.own
        return Credit(grads, state, judged.loss, meter.cost(1, 0), info={"sweeps": float(sweeps)}, findings=ill)

    def _sides(self, rng: torch.Generator) -> tuple[float, float]:
        """Return b1 and b2."""
        if self.nudge == "symmetric":
            return self.beta, -self.beta
        if self.nudge == "one_sided":
            return self.beta, 0.0
        up = bool(torch.randint(2, (), generator=rng, device=rng.device))
        return (self.beta if up else -self.beta), 0.0

    def rest(
        self,
        chain: Chain,
        x: Tensor,
        states: list[Tensor],
        beta: float = 0.0,
        cost: Callable[[Tensor], Tensor] = torch.zeros_like,
        meter: Meter | None = None,
    ) -> tuple[list[Tensor], int]:
        """Return the states `[rows, units]` at rest, and the number of sweeps.

        Args:
            chain: the links.
            x: what enters the first, `[rows, in]`; it stays, and so does the drive that it causes.
            states: to begin with.
            beta: strength of the nudge.
            cost: gives dcost/ds_L.
            meter: counts the products of weights that act downwards; None for no count.
        """
        drive = chain.links[0].linear(x)

        def sweep(now: list[Tensor]) -> Moved:
            after = list(now)
            for number, link in enumerate(chain.links):
                below = drive if number == 0 else link.linear(after[number - 1])
                if number + 1 < len(after):
                    above = chain.links[number + 1].weight
                    below = below + after[number + 1] @ above
                    if meter is not None:
                        counted = len(x) * above.numel()
                        meter.add(synaptic_operations=counted, multiplications=counted)
                elif beta:
                    below = below - beta * cost(after[-1])
                after[number] = link.fire(below)
            size = norm(after)
            return Moved(after, norm([a - b for a, b in zip(after, now, strict=True)]), size, size)

        remedy = (
            "give smaller weights (gain, an option of the model perceptron), bounded activations such as "
            "nn.Hardsigmoid or nn.Tanh behind every layer, more steps"
            + (f", or a smaller beta than {abs(beta):g}" if beta else "")
        )
        return settle(sweep, states, self.steps, self.tolerance, x.dtype, remedy)


def resting(chain: Chain, x: Tensor) -> list[Tensor]:
    """Return states of zeros, `[rows, units]` for each link."""
    return [x.new_zeros(len(x), link.linear.out_features) for link in chain.links]
