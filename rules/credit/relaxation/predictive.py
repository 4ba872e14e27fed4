"""Predictive coding: errors between what a layer does and what is predicted of it, relaxed until they rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from rules.contract import Batch, Claim, Credit, CreditRule, Objective
from rules.errors import unknown
from rules.fields import check_fields
from rules.metering import Meter
from rules.models.chain import Chain, Link, back, chain_of, judge, products, refuse_inside
from rules.settling import Moved, norm, settle

Predictions = Literal["fixed", "free", "zil"]
RATES: dict[str, float] = {"fixed": 1.0, "free": 0.1, "zil": 1.0}


class Pass(NamedTuple):
    """A pass through the links: what entered each, what it predicts, and the slope of its activation."""

    pre: list[Tensor]  # [rows, in]
    out: list[Tensor]  # [rows, out]
    slope: list[Tensor]  # [rows, out]


@dataclass(frozen=True)
class PredictiveCoding(CreditRule):
    """Predictive coding in a chain of dense layers.

        pred_l = f(W_l mu_{l-1} + b_l),   eps_l = mu_l - pred_l,   eps_L = -dloss/dpred_L
        mu_l  <- mu_l - rate (eps_l - W_{l+1}^T (eps_{l+1} f'_{l+1})),   l < L, from mu = pred on
        dW_l   = (eps_l f'_l) mu_{l-1}^T,   and the credit is -dW_l, what a minimiser subtracts

    For half the squared error, eps_L is that of an output that is clamped to the target.

    | predictions | pred and f' are | cost of a step in a chain of L layers | at rest |
    | --- | --- | --- | --- |
    | `fixed` | those of the first pass | L - 1 products of errors | the gradient |
    | `free` | those of the present mu | the same, and L - 1 layers | near it where errors are small |
    | `zil` | those of the first pass | none: L - 1 products of errors in all, from the top down | the gradient |

    With free predictions the loss counts `beta` times the number of rows (samples times steps), so that a sample
    settles alike in any batch; the credit is divided by both.

    Args:
        predictions: "fixed", "free" or "zil", "fixed" by default.
        rate: of the relaxation; None for 1 with fixed predictions, which rest after L - 1 steps, 0.1 with free ones.
        beta: of free predictions, weight of the loss, 1 by default; smaller is nearer to the gradient.
        steps: the most steps of a relaxation, 1000 by default.
        tolerance: it rests where the change that is left is smaller than this share of eps_L, 1e-4 by default.

    Raises:
        ValueError: for unknown predictions, a number out of range, an objective of hidden layers, and a model without a
            chain of dense layers.
        NotSettled: where errors do not rest in that number of steps; the message has the residual.

    >>> from rules.objectives import OBJECTIVES
    >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> batch = Batch(torch.rand(5, 2), torch.arange(5) % 2)
    >>> credit = PredictiveCoding().assign(net, OBJECTIVES["ce_mean"](), batch, (), torch.Generator())
    >>> sorted(credit.grads)
    ['0.bias', '0.weight', '2.bias', '2.weight']

    Reference: Whittington & Bogacz 2017 (free), reconstructed; Millidge, Tschantz & Buckley 2020, arXiv 2006.04182
    (fixed), the authors' code read; Song et al. 2020 (zil), reconstructed. `beta`, and the objectives other than the
    squared error, are ours.
    """

    predictions: Predictions = "fixed"
    rate: float | None = None
    beta: float = 1.0
    steps: int = 1000
    tolerance: float = 1e-4

    needs: ClassVar[frozenset[str]] = frozenset({"layers", "chain"})
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "deterministic"})

    def __post_init__(self) -> None:
        check_fields(self)
        if self.predictions not in RATES:
            raise unknown("predictions", self.predictions, RATES)
        if self.rate is not None and not 0 < self.rate <= 1:
            raise ValueError(f"rate={self.rate}: give a share of each step, above 0 and at most 1, or None")
        for name in ("beta", "tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a number above 0")
        if self.steps < 1:
            raise ValueError(f"steps={self.steps}: give a number of steps, at least 1")

    @property
    def claim(self) -> Claim:  # type: ignore[override]  # a smaller rate leaves the errors near, not at rest
        return "descent" if self.predictions == "free" or self._rate < 1 else "exact"

    @property
    def _rate(self) -> float:
        return RATES[self.predictions] if self.rate is None else self.rate

    def suits(self, objective: Objective) -> None:
        """Raise ValueError for an objective of hidden layers."""
        refuse_inside("PredictiveCoding", objective)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the credit of one batch: a forward pass, a relaxation of the errors, and one product a weight."""
        seen = objective.views(batch, rng)
        with torch.no_grad(), Meter(model, objective) as meter:
            chain, x, lead = chain_of(model, "PredictiveCoding", seen)
            first = passed(chain, x)
            judged = judge(objective, first.out[-1], lead, seen)
            if self.predictions == "free":
                scale = self.beta * len(x)
                error = lambda out: -scale * judge(objective, out, lead, seen).error  # noqa: E731
                eps, last, steps = self._free(chain, first, error, meter)
                eps = [each / scale for each in eps]
            else:
                eps, last = [torch.zeros_like(out) for out in first.out[:-1]] + [-judged.error], first
                eps, steps = self._down(chain, eps, first, meter)
            deltas = [-each * slope for each, slope in zip(eps, last.slope, strict=True)]
            grads = products(model, list(zip(chain.links, deltas, last.pre, strict=True)), meter)
        return Credit(
            {**grads, **judged.own}, state, judged.loss, meter.cost(1, 0), info={"relaxation_steps": float(steps)}
        )

    def _down(self, chain: Chain, eps: list[Tensor], first: Pass, meter: Meter) -> tuple[list[Tensor], int]:
        """Return the errors at rest with fixed predictions, and the steps that it took."""
        if self.predictions == "zil":
            for number in reversed(range(len(eps) - 1)):
                eps[number] = pulled(chain.links, eps, first.slope, number, meter)
            return eps, 1

        # mu = pred + eps with a fixed pred: to step eps itself loses no digits of a small error beside a large mu
        def step(now: list[Tensor]) -> Moved:
            changes = [pulled(chain.links, now, first.slope, k, meter) - now[k] for k in range(len(now) - 1)]
            moved = [each + self._rate * change for each, change in zip(now, changes, strict=False)]
            return Moved([*moved, now[-1]], norm(changes), norm(now[-1:]), norm(now))

        remedy = "give more steps, or a larger rate"
        return settle(step, eps, self.steps, self.tolerance, eps[-1].dtype, remedy)

    def _free(self, chain: Chain, first: Pass, error: Any, meter: Meter) -> tuple[list[Tensor], Pass, int]:
        """Return the errors at rest with free predictions, the last predictions, and the steps that it took."""

        def errors(state: tuple[list[Tensor], Pass]) -> list[Tensor]:
            mu, now = state
            return [each - out for each, out in zip(mu, now.out, strict=False)] + [error(now.out[-1])]

        def step(state: tuple[list[Tensor], Pass]) -> Moved:
            (mu, now), eps = state, errors(state)
            changes = [pulled(chain.links, eps, now.slope, k, meter) - eps[k] for k in range(len(mu))]
            mu = [each + self._rate * change for each, change in zip(mu, changes, strict=True)]
            meter.add(layer_evaluations=len(mu))
            return Moved((mu, predicted(chain, mu, now)), norm(changes), norm(eps[-1:]), norm(mu))

        remedy = "give more steps, a smaller rate where the change grows, or predictions='fixed', which always rests"
        start = (first.out[:-1], first)
        rest, steps = settle(step, start, self.steps, self.tolerance, first.out[-1].dtype, remedy)
        return errors(rest), rest[1], steps


def passed(chain: Chain, x: Tensor) -> Pass:
    """Run a chain on rows `[rows, in]`."""
    found = Pass([], [], [])
    for link in chain.links:
        out, slope = link.sloped(link.linear(x))
        for held, value in zip(found, (x, out, slope), strict=True):
            held.append(value)
        x = out
    return found


def predicted(chain: Chain, mu: list[Tensor], now: Pass) -> Pass:
    """Return what each link predicts from the activities `mu` below it; the first one sees the input, as before."""
    made = [link.sloped(link.linear(below)) for link, below in zip(chain.links[1:], mu, strict=True)]
    return Pass([now.pre[0], *mu], [now.out[0], *(out for out, _ in made)], [now.slope[0], *(s for _, s in made)])


def pulled(links: tuple[Link, ...], eps: list[Tensor], slope: list[Tensor], number: int, meter: Meter) -> Tensor:
    """Return `W_{l+1}^T (eps_{l+1} f'_{l+1})`, what the layer above asks of layer `number`."""
    return back(links[number + 1], eps[number + 1] * slope[number + 1], meter)
