"""The contract of credit rules as a test suite, for any rule."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from rules.batches import as_batch
from rules.check import toy
from rules.check.claims import CLAIMS, assign, beside_autograd, close, require, same
from rules.contract import NEEDS, Batch, CreditRule, MissingNeed, own_parameters
from rules.forward import pieces, run_model
from rules.models.admission import UnfitModel
from rules.objectives import OBJECTIVES
from rules.optional import offers
from rules.plasticity import SGD
from rules.recipes import LearningRule, make
from rules.spikes.surrogate import differentiating
from rules.trainer import Trainer
from rules.windows import Share, continued


class Result(NamedTuple):
    """The outcome of one check."""

    check: str
    passed: bool
    message: str = ""


class Report(NamedTuple):
    """The outcome of all checks; it prints as a table."""

    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(result.passed for result in self.results)

    def __str__(self) -> str:
        return "\n".join(f"{'ok  ' if r.passed else 'FAIL'}  {r.check:<28} {r.message}".rstrip() for r in self.results)


class Subject(NamedTuple):
    """A rule, and the models to check it on: pairs of a model and a batch, or none for toy models."""

    rule: LearningRule
    given: tuple[tuple[nn.Module, Batch], ...] = ()

    def cases(self) -> Iterator[tuple[nn.Module, Batch]]:
        """Yield a new copy of every model that offers what the rule needs, with a batch."""
        for model, batch in self.given:
            yield copy.deepcopy(model), batch
        for model in () if self.given else toy.models():
            if "dendrites" in offers(model) - self.rule.needs:  # whose read-out has two time constants
                continue
            if self.rule.needs <= offers(model) | {"labels"} and not refused(self.rule, model):
                yield model, toy.batch()


def refused(rule: LearningRule, model: nn.Module) -> bool:
    """Return whether a rule of bits refuses a toy model, because it wants those of the read-out as well.

    A model that offers what it needs and no more is not asked: that one it has to take (`needs are honest`).
    """
    if "bits" not in rule.needs:
        return False
    try:
        assign(rule, copy.deepcopy(model))
    except UnfitModel:
        return True
    return False


def check_rule(rule: LearningRule | CreditRule | str, models: Iterable[tuple[nn.Module, Any]] = ()) -> Report:
    """Check a rule against the contract on toy models, in about a second, or on models of one's own.

    Args:
        rule: a `LearningRule`, a name in `RULES`, or a credit, which is checked with cross-entropy and SGD.
        models: pairs of a model and a batch `(x, y)`, in place of the toy models; they are not changed. On them claims
            are compared with autograd, on toy models with finite differences.

    Returns:
        A report with one result for each member of `CHECKS`.

    Raises:
        MissingNeed: if a model of one's own does not offer what the rule needs.
        TypeError: if `rule` is none of these.

    >>> check_rule("bptt").passed
    True
    >>> check_rule("bptt", models=[(nn.Linear(3, 2), (torch.rand(5, 3), torch.tensor([0, 1, 1, 0, 1])))]).passed
    True
    """
    whole = as_rule(rule)
    given = tuple((model, as_batch(batch)) for model, batch in models)
    for model, _ in given:
        if missing := whole.needs - offers(model) - {"labels"}:
            raise MissingNeed(type(whole.credit).__name__, type(model).__name__, missing, offers(model))
    return checked(Subject(whole, given), CHECKS)


def as_rule(rule: Any) -> LearningRule:
    """Return a rule from its name, from a credit, or as it is."""
    if isinstance(rule, CreditRule):
        return LearningRule(OBJECTIVES["tet" if rule.timing == "step" else "ce_mean"](), rule, SGD(0.01))
    rule = make(rule) if isinstance(rule, str) else rule
    if not isinstance(rule, LearningRule):
        raise TypeError(
            f"{rule!r} is not a rule: give a rules.LearningRule, a rules.CreditRule or a name in rules.RULES"
        )
    return rule


def checked(subject: Any, checks: Mapping[str, Callable[[Any], None]]) -> Report:
    """Run every check on a subject and report the outcomes; an exception counts as a failed check."""
    results = []
    for name, check in checks.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(subject)
            results.append(Result(name, True))
        except Exception as error:  # a broken subject may raise anything; the report shows it
            results.append(Result(name, False, f"{type(error).__name__}: {error}"))
    return Report(tuple(results))


def plain_data(subject: Subject) -> None:
    """Check that the parts are frozen dataclasses or modules, pickle and compare equal, and draw no random numbers."""
    before, rule = torch.get_rng_state(), subject.rule
    for part in (rule.objective, rule.credit):
        if isinstance(part, nn.Module):
            continue
        require(
            is_dataclass(part) and type(part).__dataclass_params__.frozen,
            f"{type(part).__name__} is not a frozen dataclass; decorate it with @dataclass(frozen=True)",
        )
        again = pickle.loads(pickle.dumps(part))
        require(again == part, f"{part} does not equal its pickled copy: is there a field without equality?")
        type(part)(**{f.name: getattr(part, f.name) for f in fields(part) if f.init})  # type: ignore[arg-type]
    pickle.dumps(rule)
    require(torch.equal(before, torch.get_rng_state()), "making the rule drew from torch's global generator")


def changes_nothing(subject: Subject) -> None:
    """Check that `assign` changes neither model, gradients, modes, hooks, batch, state nor the global generator."""
    rule = subject.rule
    for model, batch in subject.cases():
        state = rule.credit.located(model, batch).init(model, torch.Generator().manual_seed(0))
        before = _snapshot(model, batch, state)
        assign(rule, model, batch, state)
        for what, was in before.items():
            require(same(was, _snapshot(model, batch, state)[what]), f"assign changed the {what}; return it instead")
        settled = _memory(rule)  # after one call, because lazy parameters get their shape from the first batch
        assign(rule, model, batch, state)
        require(
            same(settled, _memory(rule)), "assign changed the objective; what changes with steps belongs in advance"
        )


def gradients_fit(subject: Subject) -> None:
    """Check that each gradient has the shape and dtype of one of the rule's parameters, and is finite and detached."""
    rule = subject.rule
    for model, batch in subject.cases():
        grads = assign(rule, model, batch).grads
        known = rule.credit.located(model, batch).parameters(model) | own_parameters(rule.objective)
        require(bool(grads), "assign gave no gradient at all")
        for name, g in grads.items():
            require(name in known, f"there is a gradient for {name!r}, which the rule's parameters() does not name")
            require(
                g.shape == known[name].shape and g.dtype == known[name].dtype,
                f"{name} is {tuple(known[name].shape)} {known[name].dtype}, its gradient {tuple(g.shape)} {g.dtype}",
            )
            require(
                bool(g.isfinite().all()) and not g.requires_grad,
                f"the gradient of {name} is not finite or not detached",
            )


def same_seed_same_credit(subject: Subject) -> None:
    """Check that the credit depends on the generator passed in, and not on the global one."""
    for model, batch in subject.cases():
        torch_state = torch.get_rng_state()
        try:
            torch.manual_seed(1)
            one = assign(subject.rule, model, batch)
            torch.manual_seed(2)
            two = assign(subject.rule, model, batch)
        finally:
            torch.set_rng_state(torch_state)
        require(
            same(one.grads, two.grads) and one.loss == two.loss,
            "two calls with the same generator differ: draw with generator=rng, keep nothing between calls",
        )


def survives_silence(subject: Subject) -> None:
    """Check that the credit is finite when input and weights are zero, so that nothing fires."""
    for model, batch in subject.cases():
        with torch.no_grad():
            for p in model.parameters():
                p.zero_()
        credit = assign(subject.rule, model, batch._replace(x=torch.zeros_like(batch.x)))
        bad = [name for name, g in credit.grads.items() if not g.isfinite().all()]
        require(not bad, f"in silence the gradient of {', '.join(bad)} is not finite")


def needs_are_honest(subject: Subject) -> None:
    """Check that a declared need is necessary, and that the declared needs are sufficient."""
    rule = subject.rule
    require(rule.needs <= set(NEEDS), f"needs={set(rule.needs)}: the vocabulary is {', '.join(NEEDS)}")
    model, batch = _bare(rule.needs)
    require(bool(assign(rule, model, batch).grads), f"no credit on a model that offers only {set(rule.needs)}")
    for need in sorted(rule.needs - ({"features"} if "layers" in rule.needs else set())):  # layers have features
        model, batch = _bare(rule.needs - {need})
        with _raises(MissingNeed, f"Trainer accepts a model and batch without {need!r}"):
            Trainer(model, rule).step(batch)
        if need not in rule.credit.needs | rule.objective.needs:  # of `every`: windows need it, and not the whole
            continue
        try:
            grads = assign(rule, model, batch).grads
        except Exception:  # any exception shows that the need is real
            continue
        require(all(not g.any() for g in grads.values()), f"declares {need!r} and works without it")


def claim_holds(subject: Subject) -> None:
    """Measure the claim: `exact`, `unbiased` in mean and scale, `descent`, or `sign_unbiased`."""
    rule, given = subject
    for model, batch in subject.cases() if given else ():
        beside_autograd(rule, model, batch)
    if not given:
        claim = rule.credit.claim
        require(claim in CLAIMS, f"claim={claim!r}: the claims are {', '.join(map(repr, CLAIMS))}")
        CLAIMS[claim](rule)


def resumes_bit_exactly(subject: Subject) -> None:
    """Check that one step, a file and two resumed steps give the same bits as three uninterrupted steps."""
    rule = subject.rule
    for model, batch in subject.cases():
        batches = [batch] * 3 if subject.given else [toy.batch(seed) for seed in range(3)]
        whole, first, second = (Trainer(copy.deepcopy(model), copy.deepcopy(rule), seed=3) for _ in range(3))
        for batch in batches:
            whole.step(batch)
        first.step(batches[0])
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second.begin(batches[0])
        second.load_state_dict(torch.load(file, weights_only=True))
        for batch in batches[1:]:
            second.step(batch)
        require(
            same(whole.model.state_dict(), second.model.state_dict()),
            "resumed weights differ: what the rule remembers belongs in the state that assign returns",
        )


def windows_add_up(subject: Subject) -> None:
    """Check that a sequence in windows continues, and that credits of traces add up to that of the whole."""
    rule = subject.rule
    if rule.credit.continues == "no" or rule.objective.timing != "step":
        return
    for model, batch in subject.cases():
        if "carry" not in offers(model):
            continue
        credit = rule.credit.located(model, batch)
        start = credit.init(model, torch.Generator().manual_seed(0))
        whole, state, carry = assign(rule, model, batch, start), start, None
        share, found, loss = Share(rule.objective, batch), {name: 0.0 * g for name, g in whole.grads.items()}, 0.0
        for piece in pieces(batch, 3):
            rng = torch.Generator().manual_seed(7)
            with differentiating(generator=rng):
                piece = piece._replace(carry=carry)
                part = continued(credit, model, piece, credit.assign(model, share, piece, state, rng))
            state, carry, loss = part.state, part.carry, loss + part.loss
            for name, g in part.grads.items():
                found[name] = found[name] + g
        require(
            abs(loss - whole.loss) <= 1e-9 * (1 + abs(whole.loss)),
            f"the losses of windows add up to {loss:g}, and that of the whole is {whole.loss:g}: return the carry",
        )
        require(
            rule.credit.continues != "traces" or credit.claim == "unbiased" or close(found, whole.grads, 1e-9),
            "the credits of windows do not add up to that of the whole: what a trace remembers belongs in the carry",
        )


def cost_is_counted(subject: Subject) -> None:
    """Check that costs are whole numbers, grow with the batch, and hold work for every weight that is updated."""
    rule = subject.rule
    for model, batch in subject.cases():
        samples = run_model(model, batch).output.shape[1]
        axis = 1 if batch.x.ndim > 2 and batch.x.shape[1] == samples else 0
        double = Batch(torch.cat([batch.x, batch.x], axis), None if batch.y is None else torch.cat([batch.y, batch.y]))
        credit = assign(rule, model, batch)
        one, two = credit.cost, assign(rule, model, double).cost
        require(one.forwards >= 1 and isinstance(one.synaptic_operations, int), f"cost={one} counts no forward pass")
        require(
            two.synaptic_operations >= 2 * one.synaptic_operations > 0,
            f"{one.synaptic_operations} operations for a batch, {two.synaptic_operations} for twice the batch",
        )
        updated = sum(int(g.count_nonzero()) for g in credit.grads.values())
        require(
            one.weight_operations >= updated,
            f"{updated} weights are updated by {one.weight_operations} weight operations: count outer products and "
            "traces with meter.add(weight_operations=...)",
        )


CHECKS: dict[str, Callable[[Subject], None]] = {
    "plain data": plain_data,
    "changes nothing": changes_nothing,
    "gradients fit the parameters": gradients_fit,
    "same seed same credit": same_seed_same_credit,
    "survives silence": survives_silence,
    "needs are honest both ways": needs_are_honest,
    "claim holds": claim_holds,
    "resumes bit-exactly": resumes_bit_exactly,
    "windows add up": windows_add_up,
    "cost is counted": cost_is_counted,
}


def _bare(needs: frozenset[str]) -> tuple[nn.Module, Batch]:
    """Build a model and a batch that offer these needs and nothing else."""
    return toy.bare(frozenset(needs) - {"labels"}), toy.batch(labels="labels" in needs)


def _snapshot(model: nn.Module, batch: Batch, state: Any) -> dict[str, Any]:
    return copy.deepcopy(
        {
            "weights or buffers": dict(model.state_dict()),
            "gradients (p.grad)": {name: p.grad for name, p in model.named_parameters()},
            "requires_grad flags": {name: p.requires_grad for name, p in model.named_parameters()},
            "training mode": [m.training for m in model.modules()],
            "hooks": [
                (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()
            ],
            "batch": tuple(batch),
            "state": state,
            "global generator": torch.get_rng_state(),
        }
    )


def _memory(rule: LearningRule) -> dict[str, Any]:
    module = rule.objective.module()
    return {} if module is None else copy.deepcopy(module.state_dict())


@contextmanager
def _raises(kind: type[Exception], otherwise: str) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(otherwise)
