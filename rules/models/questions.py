"""What a model is asked before its first step: whether a second pass gives the same, what is a sample, what is time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from rules.contract import Batch, Run, lengths_of
from rules.draws import normal
from rules.forward import map_tensors, run_model
from rules.models.inputs import altered, axes_of_samples, leaves, lengthiest, next_is_asked, sequences
from rules.models.peers import memories
from rules.seeds import seeded
from rules.spikes.surrogate import differentiating
from rules.steps import counted
from rules.untouched import untouched


@dataclass(frozen=True)
class Answers:
    """What passes of a model have shown; None where a question could not be asked.

    `exchanged` is True if steps of time are independent of one another and samples are not: then the two axes are in
    another order than the model's. `where` is the path of the first module that showed a problem. `error` is what the
    model raised in evaluation mode, if it did.
    """

    stateless: bool | None = None  # a pass does not depend on the passes before it
    deterministic: bool | None = None  # two passes on the same input give the same output
    independent: bool | None = None  # the output of a sample depends on that sample alone
    causal: bool | None = None  # no output depends on a later input; None for a model without steps of time
    remembers: bool | None = None  # some output depends on an earlier input
    exchanged: bool = False
    square: bool = False  # as many steps as samples, and an output without time that takes the first axis for samples
    input_kept: bool | None = None  # a pass does not change its input in place
    copies: bool | None = None  # an output sees the input of the next step, which is what it is to answer
    ends: bool | None = None  # nothing behind the end of a sequence changes what counts; None without lengths
    where: str | None = None
    passes: int = 0
    error: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return the answers as plain data, for a file."""
        return asdict(self)


def ask(model: nn.Module, batch: Batch, *, training: bool = False) -> Answers:
    """Ask a model in three to seven passes without gradient, and leave it as it was.

    Args:
        model: the model.
        batch: its first batch.
        training: ask in the modes in which the model is, as rules that compare passes need it; in evaluation mode by
            default.

    >>> found = ask(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)), Batch(torch.rand(4, 2)))
    >>> found.stateless, found.deterministic, found.independent, found.passes
    (True, True, True, 3)
    """
    asked = Asked(model, batch, training)
    try:
        with awake(model):
            return asked.answers()
    except Exception as error:  # a model that cannot run raises the same in the step, with its traceback
        return Answers(passes=asked.passes, error=f"{type(error).__name__}: {error}")


Outputs = list[tuple[str, Tensor]]  # of every module, in the order in which they finished


class Asked:
    """Passes of a model that leave no trace, and comparisons of their outputs."""

    def __init__(self, model: nn.Module, batch: Batch, training: bool) -> None:
        self.model, self.batch, self.training = model, batch, training
        self.passes = 0
        self.samples = 0
        self.in_place = False

    def answers(self) -> Answers:
        """Return the answers, asking no further where a question was answered badly."""
        with untouched(self.model, seed=1):
            self.settle()
            first, before, second, after = self.output(), memories(self.model), self.output(), memories(self.model)
        self.samples = first.shape[1]
        found = self.of_samples(first) if close(first, second) else self.unequal()
        if found.stateless and (kept := first_moved(before, after)):  # silent neurons show no state in their output
            found = replace(found, stateless=False, where=kept)
        return replace(found, passes=self.passes, input_kept=not self.in_place)

    def settle(self) -> None:
        """Put the model into evaluation mode, unless it is asked as it is."""
        if not self.training:
            self.model.eval()

    def output(self, x: Any = None, watch: Outputs | None = None) -> Tensor:
        """Return the output of one pass, `[T, B, ...]`; stochastic units of ours draw the same in each."""
        self.passes += 1
        given = apart(self.batch.x if x is None else x)
        batch = self.batch._replace(x=given)
        versions = [leaf._version for leaf in leaves(given)]
        handles = [] if watch is None else [m.register_forward_hook(noting(watch, n)) for n, m in named(self.model)]
        try:
            with differentiating(generator=seeded(0, "questions")):
                run = run_model(self.model, batch)
        finally:
            for handle in handles:
                handle.remove()
        self.in_place |= versions != [leaf._version for leaf in leaves(given)]
        return run.output.detach()

    def fresh(self, x: Any = None, seed: int = 1, watch: Outputs | None = None) -> Tensor:
        """Return the output of a pass from the state in which the model was handed over."""
        with untouched(self.model, seed=seed):
            self.settle()
            return self.output(x, watch)

    def unequal(self) -> Answers:
        """Tell random numbers from a kept state, for a model whose second pass gave another output."""
        one: Outputs = []
        two: Outputs = []
        if not close(self.fresh(seed=1, watch=one), self.fresh(seed=2, watch=two)):
            return Answers(deterministic=False, where=first_apart(one, two, lambda shown: shown))
        one, two = [], []
        with untouched(self.model, seed=1):
            self.settle()
            self.output(watch=one), self.output(watch=two)
        return Answers(stateless=False, where=first_apart(one, two, lambda shown: shown))

    def of_samples(self, first: Tensor) -> Answers:
        """Change one sample, then a stretch of time, and see what else changes."""
        found = Answers(stateless=True, deterministic=True)
        steps, samples = first.shape[:2]
        axes = axes_of_samples(self.batch.x, samples)
        independent, timed = None, axes == (1,) or (axes == (1, 0) and steps == lengthiest(self.batch.x))
        for axis in axes if samples > 1 else ():
            changed = altered(self.batch.x, axis, slice(0, 1), samples)
            independent = close(first[:, 1:], self.fresh(changed)[:, 1:])
            if independent:
                timed = axis == 1
                break
        square = bool(independent) and axes == (1, 0) and axis == 0 and steps == 1 and sequences(self.batch.x)
        found = replace(found, independent=independent, square=square)
        if timed and steps > 2 and steps == lengthiest(self.batch.x):
            start, end = steps // 3, steps - steps // 3
            later = self.fresh(altered(self.batch.x, 0, slice(start, end), steps))
            causal = close(first[:start], later[:start])
            found = replace(found, causal=causal, remembers=not close(first[end:], later[end:]))
            found = replace(found, copies=not causal and next_is_asked(self.batch))
        if independent is not False and self.batch.lengths is not None:
            found = replace(found, ends=self.of_ends())
        if independent is False:
            found = replace(found, exchanged=bool(found.causal and not found.remembers), where=self.mixing(axes[0]))
        return found

    def of_ends(self) -> bool | None:
        """Change what stands behind the ends of sequences, which are cut short for this, and see what else changes."""
        steps, samples = lengthiest(self.batch.x), self.samples
        if steps < 2:
            return None
        lengths = cast("Tensor", self.batch.lengths).clamp(max=steps - max(1, steps // 3))
        there, whole = torch.arange(steps, device=lengths.device)[:, None] < lengths, self.batch
        changed = altered(whole.x, 0, slice(0, steps), steps)

        def beside(leaf: Tensor, other: Tensor) -> Tensor:
            if leaf.shape[:2] != (steps, samples):
                return leaf
            return torch.where(there.view(steps, samples, *[1] * (leaf.ndim - 2)), leaf, other)

        pairs = zip(leaves(whole.x), leaves(changed), strict=True)
        mixed = {id(one): beside(one, other) for one, other in pairs}
        self.batch = whole._replace(lengths=lengths)
        try:
            one = self.fresh(whole.x)
            two = self.fresh(map_tensors(lambda leaf: mixed.get(id(leaf), leaf), whole.x))
            ends = cast("Tensor", lengths_of(Run(one), self.batch))
        finally:
            self.batch = whole
        return close(*(torch.where(counted(each, ends)[..., None], each.flatten(2), 0.0) for each in (one, two)))

    def mixing(self, axis: int) -> str | None:
        """Return the path of the first module in which another sample's change shows."""
        one: Outputs = []
        two: Outputs = []
        self.fresh(watch=one), self.fresh(altered(self.batch.x, axis, slice(0, 1), self.samples), watch=two)

        def others(shown: Tensor) -> Tensor:
            if shown.ndim > 1 and shown.shape[1] == self.samples:
                return shown[:, 1:]
            if len(shown) % self.samples == 0:  # samples alone, or steps and samples in one axis
                return shown.reshape(-1, self.samples, *shown.shape[1:])[:, 1:]
            return shown

        return first_apart(one, two, others)


@contextmanager
def awake(model: nn.Module) -> Iterator[None]:
    """Give matrices that are all zero, as some models begin with, other numbers inside, so that outputs show more."""
    asleep = [p for p in model.parameters() if p.ndim > 1 and p.is_floating_point() and not bool(p.any())]
    with torch.no_grad():
        for number, p in enumerate(asleep):
            p.copy_(normal(p.shape, seeded(0, "awake", number), p) / p[0].numel() ** 0.5)
    try:
        yield
    finally:
        with torch.no_grad():
            for p in asleep:
                p.zero_()


def apart(x: Any) -> Any:
    """Return an input that a model may change in place; one that is constant along an axis it cannot change."""
    return map_tensors(lambda leaf: leaf.clone() if 0 not in leaf.stride() else leaf, x)


def named(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every module by its path, parts before the whole."""
    return [(name or type(model).__name__, module) for name, module in model.named_modules()]


def noting(watch: Outputs, name: str) -> Callable[..., None]:
    """Return a hook that notes a module's first output."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if isinstance(output, Tensor):
            watch.append((name, output.detach().clone()))

    return hook


def first_apart(one: Outputs, two: Outputs, part: Callable[[Tensor], Tensor]) -> str | None:
    """Return the path of the first module whose outputs differ in two passes, in a part of them."""
    for (name, a), (_, b) in zip(one, two, strict=False):
        if a.shape != b.shape or not close(part(a), part(b)):
            return name
    return None


def first_moved(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> str | None:
    """Return the path of the first neuron that a second pass on the same input left in another state."""
    for name, held in before.items():
        now = after[name]
        if len(held) != len(now) or not all(close(a, b) for a, b in zip(held, now, strict=True)):
            return name
    return None


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether two outputs are equal but for rounding: up to the square root of the precision of the largest."""
    if a.shape != b.shape or not a.numel():
        return a.shape == b.shape
    if not a.is_floating_point():
        return torch.equal(a, b)
    tolerance = torch.finfo(a.dtype).eps ** 0.5
    return bool(torch.allclose(a, b, rtol=0, atol=tolerance * float(a.abs().nan_to_num().max()), equal_nan=True))
