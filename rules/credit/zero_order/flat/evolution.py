"""An evolution strategy: a population of perturbed weights, and a step towards the members with small loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Batch, Continues, Credit, CreditRule, Objective, OverProcesses
from rules.credit.zero_order.draws import normal_like
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.moving import require_rank, require_size, require_visible
from rules.credit.zero_order.flat.thin import moving
from rules.credit.zero_order.outer import require_outer_products
from rules.credit.zero_order.relative import random_step
from rules.credit.zero_order.sharing import seeds, shared
from rules.errors import unknown
from rules.fields import check_fields
from rules.optional import plain

WIDTH = 0.1  # of the rms, in a model without spikes; ranks divided by a narrow one would be large steps


@dataclass(frozen=True)
class EvolutionStrategy(CreditRule):
    """An evolution strategy with antithetic pairs and rank shaping.

        g = 1/(n sigma) sum_k f(l(theta + sigma S z_k)) S^-1 z_k,    z_k ~ N(0, 1),  and with pairs z_{n/2 + k} = -z_k

    S is the scale of each parameter, as in `SPSA`.
    With `shaping` "rank", f replaces the loss by its rank in the population, from -1/2 to 1/2 (equal losses share their
    mean rank). Only the order matters, and the size of g does not depend on the slope: g claims `descent`. With "none",
    `f(l) = l` (less the mean of the others if there are no pairs), and g is `unbiased` for the gradient of the loss
    smoothed by a Gaussian of width sigma, `E l(theta + sigma S z)`.

    Takes n forward passes and reports the mean loss of the population, an estimate of the smoothed loss; carry None.
    Memory, models, objectives and processes are as in `SPSA`.

    Args:
        population: n.
        sigma: size of the perturbations; by default 0.3 for a model that offers `bits`, and otherwise 0.1.
        relative: whether sigma is in units of each parameter's rms; False for those of the weights.
        antithetic: use pairs of z and -z.
        shaping: "rank" or "none".
        rank: of directions, as in `SPSA`; they are not Gaussian then, and g is the gradient to O(sigma^2). None, by
            default, for directions of whole matrices.

    Raises:
        ValueError: for a population below 2, or odd with pairs, a sigma that is not above 0 or vanishes beside a
            weight, none in units of the weights, and batch normalisation or dropout in training mode.
        NonFinite: for a NaN in a probe.

    >>> EvolutionStrategy().claim, EvolutionStrategy(shaping="none").claim
    ('descent', 'unbiased')

    Reference: Salimans et al. 2017 (arXiv 1703.03864), recalled: ranks, pairs and the exchange of seeds; the
    leave-one-out baseline without pairs, shared ranks and scales are ours.
    """

    population: int = 16
    sigma: float | None = None
    antithetic: bool = True
    shaping: Literal["rank", "none"] = "rank"
    rank: int | None = None
    relative: bool = True

    needs: ClassVar[frozenset[str]] = frozenset()
    continues: ClassVar[Continues] = "pass"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input", "deterministic"})
    over_processes: ClassVar[OverProcesses] = "draws"

    def __post_init__(self) -> None:
        check_fields(self)
        if self.population < 2:
            raise ValueError(f"population={self.population}: give at least 2, so that losses can be compared")
        if self.antithetic and self.population % 2:
            raise ValueError(
                f"population={self.population}: antithetic pairs need an even number; give "
                f"{self.population + 1}, or antithetic=False"
            )
        require_size("sigma", self.sigma, self.relative)
        if self.shaping not in ("rank", "none"):
            raise unknown("shaping", self.shaping, ("rank", "none"))
        require_rank(self.rank)

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """With a rank, compare outer products with autograd: a weight that is used elsewhere would not move there."""
        if self.rank is not None:
            require_outer_products(self, model, batch)

    @property
    def claim(self) -> Literal["unbiased", "descent"]:  # type: ignore[override]  # ranks have no scale
        return "descent" if self.shaping == "rank" else "unbiased"

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the direction for every trainable parameter, from losses only."""
        asking = Asking(self, model if self.rank is None else plain(model), objective, batch, rng)
        scales, sigma = asking.scales(self.relative), self.sigma or random_step(asking.spikes, WIDTH)
        require_visible("sigma", sigma, asking.parameters, scales)
        signs = (1.0, -1.0) if self.antithetic else (1.0,)
        numbers = seeds(self.population // len(signs), rng)
        with moving(asking, normal_like, self.rank, scales) as moved:

            def member(k: int, sign: float) -> float:
                moved.to(numbers[k], sign * sigma)
                with moved.passing():
                    return asking.loss()

            def measure(mine: range) -> Tensor:
                return torch.tensor([[member(k, sign) for sign in signs] for k in mine], dtype=torch.float64)

            losses = shared(len(numbers), len(signs), measure, f"sigma={sigma:g}")  # [n/2, 2] or [n, 1]
        factors = self.worth(losses) @ torch.tensor(signs, dtype=torch.float64)
        grads = moved.become(numbers, factors / (self.population * sigma))
        return Credit(
            grads=grads,
            state=state,
            loss=float(losses.mean()),
            cost=asking.cost() + asking.weighing(len(numbers), self.relative, "normal", moved.sizes),
            info={"probes": float(self.population)},
        )

    def worth(self, losses: Tensor) -> Tensor:
        """Return f of the losses, in the same shape."""
        if self.shaping == "rank":
            return places(losses)
        fair = 1.0 if self.antithetic else self.population / (self.population - 1)  # less the mean of the others
        return (losses - losses.mean()) * fair


def places(losses: Tensor) -> Tensor:
    """Return the rank of each loss, scaled from -1/2 for the smallest to 1/2; equal losses share their mean rank.

    >>> places(torch.tensor([5.0, -1.0, 5.0, 80.0])).tolist()
    [0.0, -0.5, 0.0, 0.5]
    """
    ordered = losses.flatten().sort().values
    below = torch.searchsorted(ordered, losses.contiguous())
    through = torch.searchsorted(ordered, losses.contiguous(), right=True)
    return (below + through - 1).to(torch.float64) / (2 * (len(ordered) - 1)) - 0.5
