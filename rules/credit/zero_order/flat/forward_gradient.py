"""The forward gradient: the exact slope along a random direction, by forward-mode differentiation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from rules.contract import Batch, Claim, Continues, Cost, Credit, CreditRule, MissingNeed, Objective, OverProcesses, Run
from rules.credit.zero_order.flat.asking import Asking, Joined
from rules.credit.zero_order.flat.moving import DIRECTIONS, require_draws
from rules.credit.zero_order.flat.tangents import Tangents, spiking, tangent, with_direction
from rules.credit.zero_order.products import Unchanged
from rules.credit.zero_order.sharing import generator, seeds, shared, whole
from rules.errors import unknown
from rules.fields import check_fields
from rules.forward import leaves, map_tensors
from rules.optional import offers


@dataclass(frozen=True)
class ForwardGradient(CreditRule):
    """The forward gradient.

        g = (1/n) sum_k <dl/dtheta, S z_k> S^-1 z_k,    E[z z^T] = 1

    S is the scale of each parameter, as in `SPSA`: the mean is the same, and its noise smaller where scales differ.
    Each slope is exact: forward-mode differentiation carries the direction through the model together with its signals,
    and autograd takes the derivative of the objective at the model's output. There is no backward pass through the
    model, no stored activity and no step size. The mean of g is the gradient, and their cosine follows the law of
    `SPSA`. Spikes propagate the direction by their surrogate's derivative; the reset is detached, as in `BPTT()`.

    Takes n forward passes, in which the product of the input and the first weights is made once. The cost adds, for
    each layer evaluation, one more for the direction of its weights and one more if its input has a direction too. The
    carry is that of the model. Processes divide the draws as in `SPSA`, and exchange only seeds and slopes.

    Args:
        draws: n.
        direction: "normal", or "rademacher" for random signs.
        relative: whether S is each parameter's rms; False for 1.

    Raises:
        ValueError: for an impossible setting, and for batch normalisation or dropout in training mode.
        MissingNeed: if no direction reaches the output.
        NonFinite: for a NaN in a slope.
        ValueError: if an operation of the model has no derivative in forward mode.

    >>> from rules.check.toy import Quadratic, batch, leaky
    >>> rule, rng = ForwardGradient(draws=2), torch.Generator().manual_seed(0)
    >>> rule.assign(leaky(spiking=True), Quadratic(), batch(), (), rng).cost.forwards
    2

    Reference: Baydin et al. 2022 (arXiv 2202.08587); the scales are ours.
    """

    draws: int = 1
    direction: Literal["normal", "rademacher"] = "normal"
    relative: bool = True

    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    continues: ClassVar[Continues] = "state"
    relies_on: ClassVar[frozenset[str]] = frozenset({"stateless", "input"})
    over_processes: ClassVar[OverProcesses] = "draws"
    claim: ClassVar[Claim] = "unbiased"

    def __post_init__(self) -> None:
        check_fields(self)
        require_draws("draws", self.draws)
        if self.direction not in DIRECTIONS:
            raise unknown("direction", self.direction, DIRECTIONS)

    def assign(self, model: nn.Module, objective: Objective, batch: Batch, state: Any, rng: torch.Generator) -> Credit:
        """Return the gradient for every trainable parameter, from slopes along directions."""
        asking = Asking(self, model, objective, batch, rng)
        joined = Joined(model, objective.module())
        scales, numbers = asking.scales(self.relative), seeds(self.draws, rng)
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        products = Unchanged(model, leaves(asking.views.x), linear, with_direction)
        passes: list[tuple[Any, Cost]] = []  # of each pass, the carry and the cost of its directions

        def directions(k: int) -> dict[str, Tensor]:
            rng, draw = generator(numbers[k]), DIRECTIONS[self.direction]
            return {name: draw(p.detach(), rng).mul_(scales[name]) for name, p in asking.parameters.items()}

        def slope(k: int) -> list[float]:
            along = directions(k)
            with torch.no_grad(), forward_ad.dual_level(), products.passing(), Tangents(model) as tangents:
                dual = {name: forward_ad.make_dual(p.detach(), along[name]) for name, p in learned.items()}
                run = joined.replacing(dual, lambda: asking.run(spiking(generator(asking.noise))))
                passes.append((map_tensors(Tensor.detach, run.carry), tangents.cost()))
                return [*slope_and_loss(self, asking, run, along)]

        learned = self.parameters(model)
        with forward_mode(model):
            found = shared(
                self.draws, 2, lambda mine: torch.tensor([slope(k) for k in mine], dtype=torch.float64), "the weights"
            )  # [draws, 2]
        asking.spare(products)
        grads = {name: torch.zeros_like(p) for name, p in asking.parameters.items()}
        for k, factor in enumerate((found[:, 0] / self.draws).tolist()):
            for name, z in directions(k).items():
                grads[name].add_(z, alpha=factor / scales[name] ** 2)
        spent = whole(sum((cost for _, cost in passes), asking.spent))
        return Credit(
            grads=grads,
            state=state,
            loss=float(found[:, 1].mean()),
            cost=spent + asking.weighing(self.draws, self.relative, self.direction),
            carry=passes[0][0] if passes else None,
            info={"probes": float(self.draws)},
        )


def slope_and_loss(rule: CreditRule, asking: Asking, run: Run, along: Mapping[str, Tensor]) -> tuple[float, float]:
    """Return `sum <dl/dy, dy>` over all inputs y of the objective, its own parameters included, and the loss."""
    pairs: list[tuple[Tensor, Tensor | None]] = []

    def opened(signal: Tensor) -> Tensor:
        primal: Tensor = forward_ad.unpack_dual(signal).primal
        leaf = primal.detach().requires_grad_()
        pairs.append((leaf, tangent(signal)))
        return leaf

    shown = map_tensors(opened, run._replace(carry=None))
    if all(direction is None for _, direction in pairs):
        raise MissingNeed(str(rule), type(asking.model).__name__, {"gradient"}, offers(asking.model) - {"gradient"})
    pairs += [(p, along[name]) for name, p in asking.own.items()]
    with torch.enable_grad():
        loss = asking.objective(shown, asking.views)
        errors = torch.autograd.grad(loss, [leaf for leaf, _ in pairs], allow_unused=True)
    terms = [
        float((error * direction).sum())
        for error, (_, direction) in zip(errors, pairs, strict=True)
        if error is not None and direction is not None
    ]
    return sum(terms), float(loss)


@contextmanager
def forward_mode(model: nn.Module) -> Iterator[None]:
    """Raise ValueError, with what to do, where an operation of the model has no derivative in forward mode."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if not any(word in str(error) for word in ("jvp", "forward AD", "forward-mode")):
            raise
        raise ValueError(
            f"forward_gradient differentiates in forward mode, and an operation of {type(model).__name__} cannot "
            f"({error}). Use spsa, which needs no derivatives; write spikes with rules.Surrogate, or replace those of "
            "another library, rules.adapt(model, surrogate='triangle')"
        ) from error
