"""The input of the weight that a pass uses last, at every step: the features of a model that records no traces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import UninitializedParameter

from rules.contract import Run, Trace
from rules.synapses import weights_of

WAYS = (
    "call the read-out once on [T, B, d], once on [T * B, d], or once a step on [B, d]; or let forward(x, carry, "
    "record) return rules.Run(output, carry, traces); feature='logits_t' contrasts the output itself and needs none"
)


class Use(NamedTuple):
    """One call of a module with a weight of its own."""

    module: nn.Module
    taken: Tensor
    given: Tensor


@contextmanager
def watched(model: nn.Module) -> Iterator[list[Use]]:
    """Yield a list that receives the calls of every module with a weight of its own, in the order of their ends."""
    uses: list[Use] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        while isinstance(output, (tuple, list)) and output:
            output = output[0]
        if given and isinstance(output, Tensor):
            uses.append(Use(module, given[0], output))

    handles = [part.register_forward_hook(note, with_kwargs=True) for part in model.modules() if weighs(part)]
    try:
        yield uses
    finally:
        for handle in handles:
            handle.remove()


def weighs(module: nn.Module) -> bool:
    """Return whether a module owns a weight, or a parameter that has no shape yet."""
    own = module.parameters(recurse=False)
    return any(isinstance(p, UninitializedParameter) for p in own) or bool(weights_of(module))


def last_trace(model: nn.Module, uses: list[Use], run: Run, turned: bool) -> Trace:
    """Return the trace of the weight that was used last: its input, and its output, `[T, B, *features]` each.

    A module in which another weight was used does not count: what enters it does not enter the last weight.

    Args:
        model: that was run.
        uses: what `watched` has noted.
        run: what the model returned, with output `[T, B, classes]`.
        turned: whether the model takes `[B, T, ...]` inside.

    Raises:
        ValueError: if no module with a weight was called, or its calls do not give one input for each step and sample.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    >>> with watched(net) as uses:
    ...     run = Run(net(torch.ones(5, 6, 4)))
    >>> found = last_trace(net, uses, run, turned=False)
    >>> found.weight, found.pre.shape
    ('2.weight', torch.Size([5, 6, 3]))
    """
    called = {id(use.module) for use in uses}
    last = next((use.module for use in reversed(uses) if not called & within(use.module)), None)
    if last is None:
        raise ValueError(
            f"{type(model).__name__} called no module with a weight, whose input could be features; {WAYS}"
        )
    path = next(name for name, module in model.named_modules() if module is last)
    own = [use for use in uses if use.module is last]
    taken, given = ([getattr(use, side) for use in own] for side in ("taken", "given"))
    pre, post = (over_time(side, leading(last, side[0]), run.output, turned) for side in (taken, given))
    if pre is None or post is None or not pre.is_floating_point():
        steps, samples = run.output.shape[:2]
        shapes = " and ".join(dict.fromkeys(str(tuple(each.shape)) for each in taken))
        raise ValueError(
            f"{path or 'the model'!r} of {type(model).__name__} is the last module with a weight, and was called "
            f"{len(own)} times on {shapes} for an output of {steps} steps and {samples} samples: this is not one "
            f"input for each step; {WAYS}"
        )
    names = {id(p): name for name, p in model.named_parameters()}
    weight = weights_of(last)[0]
    return Trace(names[id(weight)], pre, post, post)


def within(module: nn.Module) -> set[int]:
    """Return the identities of the modules inside a module."""
    return {id(part) for part in module.modules()} - {id(module)}


def leading(module: nn.Module, x: Tensor) -> int:
    """Return the number of axes before the features: time and samples, in two axes or in one."""
    return x.ndim - (len(module.kernel_size) + 1 if isinstance(module, _ConvNd) else 1)


def over_time(parts: list[Tensor], lead: int, output: Tensor, turned: bool) -> Tensor | None:
    """Return the signals of all calls as `[T, B, ...]`; None if they are not one for each step and sample.

    An output of one step may belong to a model that counts its steps by itself: T is then that of the signals.
    """
    steps, samples = output.shape[:2]
    first = parts[0]
    if len(parts) > 1:
        alike = all(part.shape == first.shape and len(part) == samples for part in parts)
        return torch.stack(parts) if lead == 1 and alike and steps in (1, len(parts)) else None
    if lead == 1 and steps > 1 and len(first) == steps * samples:
        rows = (samples, steps) if turned else (steps, samples)
        unfolded = first.reshape(*rows, *first.shape[1:])
        return unfolded.transpose(0, 1) if turned else unfolded
    if lead == 1:
        return first[None] if steps == 1 and len(first) == samples else None
    timed = first.transpose(0, 1) if turned else first
    return timed if lead == 2 and timed.shape[1] == samples and steps in (1, len(timed)) else None
