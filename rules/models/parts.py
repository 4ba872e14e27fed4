"""The chain of modules that a pass went through, found in its calls and compared with the tensors between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rules.models.calls import Call, Seen, every
from rules.models.peers import peer_of
from rules.synapses import SYNAPSES


class Frame(NamedTuple):
    """The time steps and samples of a pass; no steps where the output has no time."""

    steps: int | None
    samples: int
    batch_first: bool = False

    @property
    def lead(self) -> int:
        """The number of axes before the features."""
        return 1 if self.steps is None else 2


class Part(NamedTuple):
    """One module of the chain, and how it was called."""

    path: str
    module: nn.Module
    form: str  # of its input: "stepped", "whole", "folded", "turned", "flat", or "static" without time
    shown: str  # the form of its output
    use: int  # which of the module's uses, in a step of time or in the pass
    uses: int
    pick: int | None  # which tensor among several it returned
    stateful: bool  # whether it was given its last state, as a second argument
    before: tuple[int, ...]  # features of its input
    after: tuple[int, ...]  # features of its output


class Misfit(Exception):
    """Two modules that do not follow each other."""


class Group(NamedTuple):
    """The calls of one module: one, or one for each step of time."""

    path: str
    calls: list[Call]

    @property
    def module(self) -> nn.Module:
        return self.calls[0].module

    def taken(self) -> list[Seen]:
        """Return the input of each call."""
        return [call.taken[0] for call in self.calls if call.taken]

    def given(self, place: int) -> list[Seen]:
        """Return a tensor among those that each call returned."""
        return [call.given[place] for call in self.calls if place < len(call.given)]


def form(tensors: Sequence[Tensor], frame: Frame) -> str | None:
    """Return how tensors hold time and batch; None if they do not hold both.

    >>> x = torch.zeros(5, 2, 3)
    >>> form([x], Frame(5, 2)), form(list(x), Frame(5, 2)), form([x.flatten(0, 1)], Frame(5, 2))
    ('whole', 'stepped', 'folded')
    """
    first, samples = tensors[0], frame.samples
    if frame.steps is None:
        return "static" if len(tensors) == 1 and first.ndim and len(first) == samples else None
    if len(tensors) == frame.steps and len(tensors) > 1:
        return "stepped" if all(t.ndim and len(t) == samples for t in tensors) else None
    if len(tensors) > 1 or first.ndim < 2:
        return None
    sizes, ahead = tuple(first.shape[:2]), (samples, frame.steps) if frame.batch_first else (frame.steps, samples)
    if sizes == ahead:
        return "turned" if frame.batch_first else "whole"
    if sizes == ahead[::-1]:
        return "whole" if frame.batch_first else "turned"
    if len(first) == samples * frame.steps:
        return "flat" if frame.batch_first else "folded"
    return None


def arranged(tensors: Sequence[Tensor], kind: str, frame: Frame) -> Tensor:
    """Return tensors of a form as `[T, B, ...]`, or `[B, ...]` without time."""
    if kind == "stepped":
        return torch.stack(list(tensors))
    if kind == "turned":
        return tensors[0].transpose(0, 1)
    if kind in ("static", "whole") or frame.steps is None:
        return tensors[0]
    if kind == "folded":
        return tensors[0].reshape(frame.steps, frame.samples, *tensors[0].shape[1:])
    return tensors[0].reshape(frame.samples, frame.steps, *tensors[0].shape[1:]).transpose(0, 1)


def linked(before: list[Seen], after: list[Seen], frame: Frame) -> bool:
    """Return whether what one module returned is what the next one received.

    Tensors of the same form must be the same memory at the same version, because equal numbers, such as those of silent
    neurons, may also come from elsewhere; joined or separated steps are compared by their numbers.
    """
    if not before or not after:
        return False
    old, new = [each.tensor for each in before], [each.tensor for each in after]
    forms = form(old, frame), form(new, frame)
    if None in forms:
        return False
    if forms[0] == forms[1]:
        return all(same(a, b) for a, b in zip(before, after, strict=True))
    a, b = (arranged(t, kind, frame) for t, kind in zip((old, new), forms, strict=True) if kind is not None)
    return a.numel() == b.numel() and torch.equal(a.flatten(frame.lead - 1), b.flatten(frame.lead - 1))


def same(a: Seen, b: Seen) -> bool:
    """Return whether two tensors are one, perhaps in another shape, unchanged in between."""
    if a.version != b.version or a.tensor.numel() != b.tensor.numel() or a.tensor.data_ptr() != b.tensor.data_ptr():
        return False
    return a.tensor is b.tensor or torch.equal(a.tensor.flatten(), b.tensor.flatten())


def chain(root: Group, names: Mapping[nn.Module, str], frame: Frame) -> list[Part]:
    """Return the parts of a pass, in order.

    A module is taken apart if the modules inside it follow one another from its input to its output; otherwise it is
    one part. Raises Misfit if the outermost module cannot be taken apart.
    """
    whole = [*every(root.calls)]

    def opened(group: Group, pick: int, outermost: bool = False) -> list[Part]:
        if not outermost and closed(group.module):
            return [part(group, pick, whole, frame)]
        broken: list[Misfit] = []
        for groups in groupings(group, names, frame):
            try:
                picks = follow(group, pick, groups, frame)
                return [part for each, place in zip(groups, picks, strict=True) for part in opened(each, place)]
            except Misfit as misfit:
                broken.append(misfit)
        if outermost:
            raise broken[0] if broken else Misfit("it calls no module, or not the same ones at every step")
        return [part(group, pick, whole, frame)]

    return opened(root, 0, outermost=True)


def chosen(paths: Sequence[str], root: Group, names: Mapping[nn.Module, str], frame: Frame) -> list[Part]:
    """Return the parts that were named by hand; raises Misfit if they do not follow one another."""
    whole = [*every(root.calls)]
    groups = []
    for path in paths:
        calls = [call for call in whole if names[call.module] == path]
        if not calls:
            raise Misfit(f"{path!r} was not called")
        groups.append(Group(path, calls))
    picks = follow(root, 0, groups, frame)
    return [part(group, pick, whole, frame) for group, pick in zip(groups, picks, strict=True)]


def closed(module: nn.Module) -> bool:
    """Return whether a module is not opened: a weight, a neuron of a known library, attention, or without children."""
    kinds = (*SYNAPSES, nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)
    return isinstance(module, kinds) or peer_of(module) is not None or not module._modules


def groupings(group: Group, names: Mapping[nn.Module, str], frame: Frame) -> Iterator[list[Group]]:
    """Yield the ways in which the calls inside a module may belong together over time."""
    inside = [call.inner for call in group.calls]
    modules = [[call.module for call in calls] for calls in inside]
    if any(each != modules[0] for each in modules) or not modules[0]:
        return
    yield [Group(names[calls[0].module], list(calls)) for calls in zip(*inside, strict=True)]
    steps = frame.steps or 0
    if len(inside) > 1 or steps < 2:
        return
    calls, period = inside[0], len(modules[0]) // steps
    if period and modules[0] == modules[0][:period] * steps:
        yield [Group(names[calls[n].module], calls[n::period]) for n in range(period)]
    yield [Group(names[m], [call for call in calls if call.module is m]) for m in dict.fromkeys(modules[0])]


def follow(outer: Group, pick: int, groups: list[Group], frame: Frame) -> list[int]:
    """Return which of its outputs each group hands on; raises Misfit where one does not follow the other.

    `pick` is the output of what holds them that the last of them must give.
    """
    where = repr(outer.path) if outer.path else "the model"
    if not linked(outer.taken(), groups[0].taken(), frame):
        raise Misfit(f"{groups[0].path!r} does not receive the input of {where}")
    picks = []
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        wanted = outer.given(pick) if after is None else after.taken()
        places = range(len(group.calls[0].given))
        place = next((n for n in places if linked(group.given(n), wanted, frame)), None)
        if place is None and after is None:
            raise Misfit(f"the output of {group.path!r} is not that of {where}")
        if place is None:
            raise Misfit(
                f"the output of {group.path!r} is not the input of {after.path!r}"  # type: ignore[union-attr]
                "; write what happens in between as a module, such as nn.Tanh(), nn.Flatten() or nn.MaxPool2d(2)"
            )
        picks.append(place)
    return picks


def part(group: Group, pick: int, whole: list[Call], frame: Frame) -> Part:
    """Return a group as a part that is not taken apart; raises Misfit if it cannot be called alone."""
    first = group.calls[0]
    taken, given = ([each.tensor for each in side] for side in (group.taken(), group.given(pick)))
    kinds = [form(side, frame) if side else None for side in (taken, given)]
    uses = [call for call in whole if call.module is first.module]
    numbers = [n for n, call in enumerate(uses) if any(call is each for each in group.calls)]
    period = len(uses) // len(numbers)
    steady = len(numbers) == 1 or numbers == list(range(numbers[0], len(uses), period))
    if kinds[0] is None or kinds[1] is None or not steady:
        shapes = " -> ".join(str(tuple(side[0].shape)) if side else "nothing" for side in (taken, given))
        raise Misfit(
            f"{group.path!r} was called {len(group.calls)} times on {shapes}, for {frame.steps or 'no'} steps of "
            f"{frame.samples} samples"
        )
    return Part(
        path=group.path,
        module=first.module,
        form=kinds[0],
        shown=kinds[1],
        use=numbers[0],
        uses=period if kinds[0] == "stepped" else len(uses),
        pick=None if first.alone else pick,
        stateful=kinds[0] == "stepped" and group.calls[-1].more,
        before=tuple(arranged(taken, kinds[0], frame).shape[frame.lead :]),
        after=tuple(arranged(given, kinds[1], frame).shape[frame.lead :]),
    )


def frame_of(output: Tensor, batch_first: bool) -> Frame:
    """Return steps and samples of an output `[T, B, classes]` or `[B, classes]`."""
    return Frame(None if output.ndim == 2 else len(output), output.shape[int(output.ndim > 2)], batch_first)


def require_time(x: Tensor, frame: Frame) -> None:
    """Raise Misfit if the input does not have the time and the samples of the output."""
    wanted = (frame.samples,) if frame.steps is None else (frame.steps, frame.samples)
    if tuple(x.shape[: frame.lead]) != wanted:
        raise Misfit(
            f"it turns an input {tuple(x.shape)} into an output of {frame.steps or 'no'} steps and {frame.samples} "
            "samples; let it give an output at every step, and repeat a constant input, x[None].expand(T, ...)"
        )
