"""What a credit rule claims, measured: exact, unbiased, or at least downhill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rules import toy
from rules.contract import Batch, Credit
from rules.observe import as_run
from rules.recipes import LearningRule


def _exact(rule: LearningRule) -> None:
    batch = toy.batch()
    for model in (toy.smooth(), toy.leaky(spiking=False)):
        mine = assign(replace(rule, objective=toy.Quadratic()), model, batch).grads
        demand(
            close(mine, finite_differences(rule, model, batch), 1e-7),
            "the credit of a smooth network differs from central finite differences by over 1e-7",
        )


def _unbiased(rule: LearningRule, draws: int = 2000) -> None:
    model, batch = toy.leaky(spiking=False), toy.batch()
    rule = replace(rule, objective=toy.Quadratic())
    truth = flat(finite_differences(rule, model, batch))
    rng, state = torch.Generator().manual_seed(0), rule.credit.init(model)
    drawn = torch.stack(
        [flat(rule.credit.assign(model, rule.objective, batch, state, rng).grads) for _ in range(draws)]
    )
    along = drawn @ truth / truth.square().sum()  # 1 on average, if mean and scale are right
    error = float(along.std()) / draws**0.5
    demand(
        abs(float(along.mean()) - 1) < 4 * error + 1e-6,
        f"the mean of {draws} draws has {float(along.mean()):.3f} of the true gradient's size, +- {error:.3f}",
    )
    left = drawn.mean(0) - truth
    noise = drawn.std(0) / draws**0.5
    demand(bool((left.abs() <= 5 * noise + 1e-6).all()), f"the mean of {draws} draws is off by over 5 standard errors")


def _descent(rule: LearningRule) -> None:
    model, batch = toy.leaky(spiking=False), toy.batch()
    rule = replace(rule, objective=toy.Quadratic())
    credit = assign(rule, model, batch)
    with torch.no_grad():
        for name, p in rule.credit.parameters(model).items():
            if name in credit.grads:
                p.sub_(1e-3 * credit.grads[name] / (1 + credit.grads[name].norm()))
    after = assign(rule, model, batch).loss
    demand(after < credit.loss, f"a small step along the credit took the loss from {credit.loss:.6f} to {after:.6f}")


CLAIMS: dict[str, Callable[[LearningRule], None]] = {"exact": _exact, "unbiased": _unbiased, "descent": _descent}


def finite_differences(rule: LearningRule, model: nn.Module, batch: Batch, step: float = 1e-5) -> dict[str, Tensor]:
    """Central differences of the quadratic toy loss: error of order step^2 = 1e-10, round-off 1e-16 / step = 1e-11."""

    def loss() -> float:
        return float(toy.Quadratic()(as_run(model(batch.x)), batch))

    slopes = {}
    with torch.no_grad():
        for name, p in rule.credit.parameters(model).items():
            slope = torch.zeros_like(p)
            for index in range(p.numel()):
                entry, kept = p.view(-1), float(p.view(-1)[index])
                entry[index] = kept + step
                up = loss()
                entry[index] = kept - step
                slope.view(-1)[index] = (up - loss()) / (2 * step)
                entry[index] = kept
            slopes[name] = slope
    return slopes


def assign(rule: LearningRule, model: nn.Module, batch: Batch | None = None, state: Any = None) -> Credit:
    """Credit on a toy batch, from a generator that is the same at every call."""
    rng = torch.Generator().manual_seed(7)
    start = rule.credit.init(model) if state is None else state
    return rule.credit.assign(model, rule.objective, batch or toy.batch(), start, rng)


def same(a: Any, b: Any) -> bool:
    """Equal to the last bit, through dicts, tuples and lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def close(a: dict[str, Tensor], b: dict[str, Any], tolerance: float) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


def flat(grads: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in grads.values()])


def demand(held: bool, otherwise: str) -> None:
    """Raises AssertionError with `otherwise` where something does not hold."""
    if not held:
        raise AssertionError(otherwise)
