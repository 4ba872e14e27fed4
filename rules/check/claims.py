"""Measurements of what a credit rule claims: exact, unbiased, unbiased up to the sign of the errors, or descent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rules.check import toy
from rules.check.graphs import cut_gradient
from rules.contract import Batch, Credit
from rules.forward import as_run, run_model
from rules.objectives.output_error import BitError
from rules.optional import offers
from rules.recipes import LearningRule
from rules.spikes.surrogate import differentiating


def _exact(rule: LearningRule) -> None:
    batch = toy.batch()
    if rule.credit.detaches or "cells" in rule.needs:
        _exact_on_cut_graph(rule, batch)
        return
    for model in (toy.smooth(), toy.leaky(spiking=False)):
        if not rule.credit.needs <= offers(model) | {"labels"}:  # a chain has no memory
            continue
        mine = assign(replace(rule, objective=toy.Quadratic()), model, batch).grads
        require(
            close(mine, finite_differences(rule, model, batch), 1e-7),
            "the credit of a smooth network differs from central finite differences by over 1e-7",
        )


def _exact_on_cut_graph(rule: LearningRule, batch: Batch) -> None:
    rule, model = replace(rule, objective=toy.Quadratic()), toy.recurrent()
    missing = ", ".join(sorted(rule.credit.detaches)) or "nothing"
    require(
        close(assign(rule, model, batch).grads, on_cut_graph(rule, model, batch), 1e-10),
        f"the credit differs from autograd on the graph that leaves out {missing} by over 1e-10",
    )


def on_cut_graph(rule: LearningRule, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return the gradient by autograd where the paths are cut that the rule says it leaves out."""
    with differentiating(detach_reset="reset" in rule.credit.detaches, detach_adaptation=False):
        found = cut_gradient(model, rule.objective, batch, rule.credit.detaches)
    known = rule.credit.parameters(model)
    return {name: g for name, g in found.items() if name in known}


def _unbiased(rule: LearningRule, draws: int = 2000) -> None:
    if not rule.credit.asks:
        _unbiased_by_reward(rule)
        return
    cells = "cells" in rule.needs
    model, batch = toy.recurrent() if cells else toy.leaky(spiking=False), toy.batch()
    rule = replace(rule, objective=toy.Quadratic())
    truth = flat(on_cut_graph(rule, model, batch) if cells else finite_differences(rule, model, batch))
    rng, state = torch.Generator().manual_seed(0), rule.credit.init(model, torch.Generator().manual_seed(0))
    drawn = torch.stack(
        [flat(rule.credit.assign(model, rule.objective, batch, state, rng).grads) for _ in range(draws)]
    )
    along = drawn @ truth / truth.square().sum()  # 1 on average, if mean and scale are right
    error = float(along.std()) / draws**0.5
    require(
        abs(float(along.mean()) - 1) < 4 * error + 1e-6,
        f"the mean of {draws} draws has {float(along.mean()):.3f} of the true gradient's size, +- {error:.3f}",
    )
    left = drawn.mean(0) - truth
    noise = drawn.std(0) / draws**0.5
    require(bool((left.abs() <= 5 * noise + 1e-6).all()), f"the mean of {draws} draws is off by over 5 standard errors")


def _descent(rule: LearningRule) -> None:
    wanted = (toy.leaky(spiking=False), toy.recurrent(), toy.smooth())
    model = next((model for model in wanted if rule.needs <= offers(model) | {"labels"}), wanted[1])
    _lowers(replace(rule, objective=toy.Quadratic()), model, toy.batch())


def _lowers(rule: LearningRule, model: nn.Module, batch: Batch) -> None:
    """Require that a small step along the credit lowers the loss of the batch."""
    credit = assign(rule, model, batch)
    with torch.no_grad():
        for name, p in rule.credit.located(model, batch).parameters(model).items():
            if name in credit.grads:
                p.sub_(1e-3 * credit.grads[name] / (1 + credit.grads[name].norm()))
    after = assign(rule, model, batch).loss
    require(after < credit.loss, f"a small step along the credit took the loss from {credit.loss:.6f} to {after:.6f}")


def beside_autograd(rule: LearningRule, model: nn.Module, batch: Batch, draws: int = 200) -> None:
    """Compare a rule's claim with autograd through the model and the rule's own objective.

    A rule that is exact on smooth cells only, as those that probe, claims nothing about spikes: on a model with
    surrogates it is compared with the gradient that autograd makes of them only where it needs a gradient.
    """
    credit = rule.credit.located(model, batch)
    claim, known = credit.claim, credit.parameters(model)
    if not credit.asks:  # what it claims is not about the objective; the toy models measure it
        return
    if claim == "descent":
        _lowers(rule, model, batch)
    if claim not in ("exact", "unbiased"):
        return
    slopes = torch.autograd.grad(
        rule.objective(run_model(model, batch), batch), list(known.values()), allow_unused=True
    )
    truth = {name: g for name, g in zip(known, slopes, strict=True) if g is not None}
    rng = torch.Generator().manual_seed(0)
    state = credit.init(model, torch.Generator().manual_seed(0))
    count = draws if claim == "unbiased" else 1
    drawn = [credit.assign(model, rule.objective, batch, state, rng).grads for _ in range(count)]
    names = [name for name in truth if name in drawn[0]]
    wanted = flat({name: truth[name] for name in names})
    found = torch.stack([flat({name: grads[name] for name in names}) for grads in drawn])
    along = found @ wanted / wanted.square().sum()
    if claim == "exact":
        tolerance = 1e3 * torch.finfo(wanted.dtype).eps ** (1 if "gradient" in credit.needs else 2 / 3)
        apart = float((found[0] - wanted).norm() / wanted.norm())
        require(apart < tolerance, f"the credit of {type(model).__name__} differs from autograd by {apart:.2g}")
    else:
        error = float(along.std()) / draws**0.5
        require(
            abs(float(along.mean()) - 1) < 4 * error + 1e-3,
            f"on {type(model).__name__} the mean of {draws} draws has {float(along.mean()):.3f} of the size of "
            f"autograd's gradient, +- {error:.3f}",
        )


def _sign_unbiased(rule: LearningRule, copies: int = 400, calls: int = 30) -> None:
    """Compare the mean over many copies of a batch with the sum over all bit patterns of a toy network."""
    model, batch = toy.smooth(frozenset({"gradient", "layers", "bits"})), toy.batch()
    assert batch.y is not None
    rule = replace(rule, objective=BitError())
    truth = flat(signed_backpropagation(model, batch, getattr(rule.credit, "kappa", 4.0)))
    many = Batch(batch.x.repeat(1, copies, 1), batch.y.repeat(copies))
    rng, state = torch.Generator().manual_seed(0), rule.credit.init(model, torch.Generator().manual_seed(0))
    drawn = torch.stack(
        [flat(rule.credit.assign(model, rule.objective, many, state, rng).grads) / copies for _ in range(calls)]
    )
    error = drawn.std(0) / calls**0.5
    require(
        bool(((drawn.mean(0) - truth).abs() <= 5 * error + 1e-9).all()),  # 5 standard errors of 30 means of 400 draws
        "the mean of its draws is not kappa (sign(W^T e) p (1 - p)) p^T, summed over batch and steps",
    )


def _unbiased_by_reward(rule: LearningRule, copies: int = 4000, calls: int = 30) -> None:
    """Compare the mean over many copies of two steps of a batch with the sum over all spikes of a toy network."""
    model, batch = toy.recurrent(), toy.batch()
    assert batch.y is not None
    batch = Batch(batch.x[:2, :2], batch.y[:2])
    with torch.no_grad():
        for p in model.parameters():  # so that no spike is certain, and the answer is that of the spikes
            p.mul_(0.5 if p.ndim > 1 else 0.0)
    known = rule.credit.parameters(model)
    found = torch.autograd.grad(-expected_reward(rule.credit, model, batch), list(known.values()))
    truth = flat(dict(zip(known, found, strict=True)))
    many = Batch(batch.x.repeat(1, copies, 1), batch.y.repeat(copies))  # type: ignore[union-attr]
    rng, state = torch.Generator().manual_seed(0), rule.credit.init(model, torch.Generator().manual_seed(0))
    drawn = torch.stack([flat(rule.credit.assign(model, rule.objective, many, state, rng).grads) for _ in range(calls)])
    along = drawn @ truth / truth.square().sum()  # 1 on average, if mean and scale are right
    error, rare = drawn.std(0) / calls**0.5, 0.01 * truth.abs().max()  # spikes that are too rare to be drawn at all
    require(
        bool(((drawn.mean(0) - truth).abs() <= 5 * error + rare).all())  # 5 standard errors of 30 means of 4000 draws
        and abs(float(along.mean()) - 1) < 4 * float(along.std()) / calls**0.5,
        f"the mean of its draws has {float(along.mean()):.3f} of the size of the gradient of minus the expected "
        "reward, summed over all spikes, or another direction",
    )


def expected_reward(credit: Any, model: nn.Module, batch: Batch) -> Tensor:
    """Return the expected sum of rewards of a toy network whose cells fire by chance, over all spikes it can have.

    A right answer is a reward of 1 - 1 / classes in a step, a wrong one of - 1 / classes. The spikes have the
    probability that `credit.surrogate` gives them by its primitive, and the cells go on from them as they fell.
    """
    assert batch.y is not None
    steps, bits = len(batch.x), len(batch.x) * toy.HIDDEN
    every = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * bits)
    every = every.reshape(-1, steps, toy.HIDDEN)  # all spikes of one sample
    total = batch.x.new_zeros(())
    for x, label in zip(batch.x.unbind(1), batch.y, strict=True):
        logs: list[Tensor] = []
        spikes = iter(every.unbind(1))

        def given(own: Any, u: Tensor, strict: bool, noise: Any, logs: Any = logs, spikes: Any = spikes) -> Tensor:
            z, chance = next(spikes), credit.surrogate.primitive(u)
            logs.append((z * chance + (1 - z) * (1 - chance)).log().sum(1))
            fell: Tensor = z
            return fell

        with differentiating(spike=given):
            output = run_model(model, Batch(x[:, None].expand(-1, len(every), -1))).output
        first = (output == output.amax(2, keepdim=True)).to(x.dtype)  # several, where outputs are equal
        right = (first / first.sum(2, keepdim=True))[..., label] - 1 / output.shape[2]
        total = total + (torch.stack(logs).sum(0).exp() * right.sum(0)).sum()
    mean: Tensor = total / len(batch.y)
    return mean


def _nothing(rule: LearningRule) -> None:
    """Check nothing, because nothing is claimed; the other checks still test the rule against the contract."""


CLAIMS: dict[str, Callable[[LearningRule], None]] = {
    "exact": _exact,
    "unbiased": _unbiased,
    "descent": _descent,
    "sign_unbiased": _sign_unbiased,
    "none": _nothing,
}


def signed_backpropagation(model: nn.Module, batch: Batch, kappa: float) -> dict[str, Tensor]:
    """Return minus the expected pulses of binary stochastic learning on the toy network, summed over all its bits.

    With s0, s1, s2 the bits of input, hidden layer and read-out, and P their joint probability:
    `E[n2] = sum P e2 s1^T`, `E[n1] = sum P kappa sign(W2^T e2) p1 (1 - p1) s0^T`, `e2 = target - s2`.
    """
    (w1, b1), (w2, b2) = ((stage.weight.detach(), stage.bias.detach()) for stage in (model[0], model[2]))  # type: ignore[index]
    s0, s1, s2 = (
        torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * width).view(-1, width)
        for width in (w1.shape[1], w1.shape[0], w2.shape[0])
    )
    p1 = torch.sigmoid(s0 @ w1.T + b1)  # [2^3, 5]
    p2 = torch.sigmoid(s1 @ w2.T + b2)  # [2^5, 2]
    hidden = torch.where(s1[None] > 0, p1[:, None], 1 - p1[:, None]).prod(-1)  # P(s1 | s0)  [2^3, 2^5]
    answer = torch.where(s2[None] > 0, p2[:, None], 1 - p2[:, None]).prod(-1)  # P(s2 | s1)  [2^5, 2^2]
    slope = kappa * p1 * (1 - p1)
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    assert batch.y is not None
    for x, label in zip(batch.x.flatten(0, 1), batch.y.repeat(len(batch.x)), strict=True):
        shown = torch.where(s0 > 0, x, 1 - x).prod(-1)  # P(s0)
        joint = shown[:, None, None] * hidden[:, :, None] * answer[None]  # [2^3, 2^5, 2^2]
        e2 = torch.nn.functional.one_hot(label, len(b2)) - s2
        e1 = torch.sign(e2 @ w2)[None] * slope[:, None]  # [2^3, 2^2, 5]
        total["2.weight"] -= torch.einsum("ijk,kc,jh->ch", joint, e2, s1)
        total["2.bias"] -= torch.einsum("ijk,kc->c", joint, e2)
        total["0.weight"] -= torch.einsum("ijk,ikh,if->hf", joint, e1, s0)
        total["0.bias"] -= torch.einsum("ijk,ikh->h", joint, e1)
    return total


def finite_differences(rule: LearningRule, model: nn.Module, batch: Batch, step: float = 1e-5) -> dict[str, Tensor]:
    """Return central differences of the toy loss: error of order step^2 = 1e-10, round-off 1e-16 / step = 1e-11."""

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
    """Return the credit on a toy batch, from a generator that is the same at every call."""
    rng = torch.Generator().manual_seed(7)
    batch = batch or toy.batch()
    credit = rule.credit.located(model, batch)
    start = credit.init(model, torch.Generator().manual_seed(0)) if state is None else state
    with differentiating(generator=rng):  # as the Trainer does
        return credit.assign(model, rule.objective, batch, start, rng)


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal to the last bit, through dicts, tuples and lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def close(a: dict[str, Tensor], b: dict[str, Any], tolerance: float) -> bool:
    """Return whether two dicts of tensors have the same keys and nearly the same values."""
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=tolerance, atol=tolerance) for k in a)


def flat(grads: dict[str, Tensor]) -> Tensor:
    """Return all gradients as one vector."""
    return torch.cat([g.flatten() for g in grads.values()])


def require(held: bool, otherwise: str) -> None:
    """Raise AssertionError with the message `otherwise` if the condition `held` is false."""
    if not held:
        raise AssertionError(otherwise)
