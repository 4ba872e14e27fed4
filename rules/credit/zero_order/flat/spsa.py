"""Simultaneous perturbation: the change of the loss when all weights move at once along a random direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from rules.contract import Batch, Claim, Continues, Credit, CreditRule, Objective, OverProcesses
from rules.credit.zero_order.flat.asking import Asking
from rules.credit.zero_order.flat.moving import DIRECTIONS, require_draws, require_rank, require_size, require_visible
from rules.credit.zero_order.flat.thin import moving
from rules.credit.zero_order.outer import require_outer_products
from rules.credit.zero_order.relative import random_step
from rules.credit.zero_order.sharing import seeds, shared
from rules.errors import unknown
from rules.fields import check_fields
from rules.optional import plain


@dataclass(frozen=True)
class SPSA(CreditRule):
    """Simultaneous perturbation stochastic approximation; with normal directions the estimator of MeZO.

        g = (1/n) sum_k [l(theta + eps S z_k) - l(theta - eps S z_k)] / (2 eps)  S^-1 z_k,    E[z z^T] = 1

    or, `forward`, with `[l(theta + eps S z_k) - l(theta)] / eps`. S is diagonal, with the rms of each parameter for all
    of its entries (that of its module's weights for a bias, `rules.credit.zero_order.relative`), or, not `relative`, 1.
    The mean of g is the gradient, to O(eps^2), whatever S is. For d weights, normal directions and S = 1 its cosine
    with it is `sqrt(n / (n + d + 1))` (on average over draws), and `E|cos| = sqrt(2 / (pi d))` for a single one.

    Takes 2 n forward passes and reports the mean of the measured losses; or, `forward`, n + 1 passes, and reports loss
    and carry of the unperturbed one. Directions are regenerated from seeds: in addition to the gradient, it needs only
    the memory of the largest parameter. It works with any model and any objective, whose own parameters are trained
    too. Under `torch.distributed`, processes with the same batch divide the draws, and exchange only seeds and losses.

    Args:
        draws: n.
        step: eps; by default 0.3 for a model with spikes (one that offers `bits`, or has spiked in the unperturbed
            pass), where smaller steps change none, and otherwise 0.01.
        relative: whether eps is in units of each parameter's rms; False for those of the weights.
        diff: "central" or "forward" differences.
        direction: "normal", or "rademacher" for random signs.
        rank: of the directions of every nn.Linear, `u v^T / sqrt(rank)` with u and v drawn so, where that takes fewer
            random numbers; the mean is the same. The product of the input and the first weights is then made once
            (`rules.credit.zero_order.flat.thin`). It pays where layers are wide; small networks take as long as with
            None, the default, for directions of whole matrices.

    Raises:
        ValueError: for an impossible setting, a step that vanishes beside a weight in its precision, none in units
            of the weights, and batch normalisation or dropout in training mode.
        NonFinite: for a NaN in a probe.

    >>> from rules.check.toy import Quadratic, batch, smooth
    >>> black_box = smooth(frozenset())
    >>> credit = SPSA(draws=4).assign(black_box, Quadratic(), batch(), (), torch.Generator().manual_seed(0))
    >>> credit.cost.forwards, list(credit.grads) == [name for name, _ in black_box.named_parameters()]
    (8, True)

    Reference: Spall 1992; Malladi et al. 2023 (MeZO, arXiv 2305.17333), whose code has `step` 1e-3, not `relative`.
    There weights are moved back without a copy, exact up to rounding; here a copy restores every bit, and its memory is
    reused for the gradient. The scales are ours.
    """

    draws: int = 1
    step: float | None = None
    diff: Literal["central", "forward"] = "central"
    direction: Literal["normal", "rademacher"] = "normal"
    rank: int | None = None
    relative: bool = True

    claim: ClassVar[Claim] = "unbiased"
    continues: ClassVar[Continues] = "pass"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input", "deterministic"})
    over_processes: ClassVar[OverProcesses] = "draws"

    def __post_init__(self) -> None:
        check_fields(self)
        require_draws("draws", self.draws)
        require_size("step", self.step, self.relative)
        if self.diff not in ("central", "forward"):
            raise unknown("diff", self.diff, ("central", "forward"))
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)
        require_rank(self.rank)

    def confirm(self, model: nn.Module, batch: Batch) -> None:
        """With a rank, compare outer products with autograd: a weight that is used elsewhere would not move there."""
        if self.rank is not None:
            require_outer_products(self, model, batch)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient for every trainable parameter, from losses only."""
        asking = Asking(self, model if self.rank is None else plain(model), objective, batch, rng)
        scales, numbers = asking.scales(self.relative), seeds(self.draws, rng)
        with torch.no_grad(), moving(asking, DIRECTIONS[self.direction], self.rank, scales) as moved:
            base = None
            if self.diff == "forward":
                with moved.passing():
                    base = asking.run()
            eps = random_step(asking.spikes) if self.step is None else self.step
            require_visible("step", eps, asking.parameters, scales)
            centre = None if base is None else float(objective(base, asking.views))

            def there(k: int, step: float) -> float:
                moved.to(numbers[k], step)
                with moved.passing():
                    return asking.loss()

            def ends(k: int) -> list[float]:
                ahead = there(k, eps)
                return [ahead, there(k, -eps) if centre is None else centre]

            losses = shared(
                self.draws,
                2,
                lambda mine: torch.tensor([ends(k) for k in mine], dtype=torch.float64),
                f"step={eps:g}",
            )  # [draws, 2]
        slopes = (losses[:, 0] - losses[:, 1]) / (eps if base else 2 * eps)
        grads = moved.become(numbers, slopes / self.draws)
        return Credit(
            grads=grads,
            state=state,
            loss=float(losses.mean()) if centre is None else centre,
            cost=asking.cost() + asking.weighing(self.draws, self.relative, self.direction, moved.sizes),
            carry=base.carry if base else None,
            info={"probes": float(self.draws)},
        )
