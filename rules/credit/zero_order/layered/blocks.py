"""Probe inside a block that cannot be taken apart: at each use of each weight, up to the block's output.

Whatever joins the branches of a block, such as a shortcut or a recurrence, lies inside the probed part, so nothing has
to be known about it. The cost is that each probe runs the whole block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from rules.credit.zero_order.layered.stages import Step
from rules.synapses import is_synapse


class Call(NamedTuple):
    """One use of one weight during a pass."""

    module: nn.Module
    pre: Tensor  # rows and features, in the module's own shape
    z: Tensor


@contextmanager
def intercepted(module: nn.Module, watch: Callable[[int, nn.Module, Tensor, Tensor], Tensor | None]) -> Iterator[None]:
    """Call `watch(number, weight, pre, z)` at every use of a weight inside; its result, if not None, replaces z."""
    number = 0

    def hook(weight: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], z: Tensor) -> Tensor | None:
        nonlocal number
        number += 1
        return watch(number - 1, weight, next(iter((*args, *kwargs.values()))), z)

    handles = [part.register_forward_hook(hook, with_kwargs=True) for part in module.modules() if is_synapse(part)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def listened(step: Step, x: Tensor) -> tuple[Tensor, list[Call]]:
    """Return the output of a block, and every use of a weight inside."""
    calls: list[Call] = []

    def watch(number: int, weight: nn.Module, pre: Tensor, z: Tensor) -> None:
        calls.append(Call(weight, pre, z))

    with intercepted(step.module, watch):
        return step(x), calls


def rerun(step: Step, x: Tensor, use: int, z: Tensor) -> Tensor:
    """Return the output of a block in which one use of a weight gives `z` instead."""
    with intercepted(step.module, lambda number, *_: z if number == use else None):
        return step(x)


def rows(call: Call, axis: int, steps: int, samples: int, turned: bool = False) -> str:
    """Return how a weight stacks time and batch.

    "timed" `[T, B]`, "folded" `[T B]`, or "row" `[B]`, a single time; where the batch is first inside (`turned`),
    "turned" `[B, T]` or "flat" `[B T]`.
    """
    leading = call.z.ndim - (len(call.module.kernel_size) + 1 if isinstance(call.module, _ConvNd) else 1)
    found = len(call.z)
    if axis == 1 and leading >= 2 and call.z.shape[:2] == ((samples, steps) if turned else (steps, samples)):
        return "turned" if turned else "timed"
    if axis == 1 and leading == 1 and found == steps * samples:
        return "flat" if turned else "folded"
    if found == samples and (axis == 0 or leading == 1):
        return "row"
    raise ValueError(
        f"a {type(call.module).__name__} inside a block gives shape {tuple(call.z.shape)} for {steps} steps of "
        f"{samples} samples: it must be used on [T, B, ...], on [T * B, ...], or on [B, ...] at a time; a model that "
        "takes [B, T, ...] is turned by rules.adapt(model, batch_first=True)"
    )


def unstacked(z: Tensor, form: str, samples: int) -> Tensor:
    """Return a weight's output as `[T, B, ...]`."""
    if form in ("turned", "flat"):
        return z.reshape(samples, -1, *z.shape[2 if form == "turned" else 1 :]).transpose(0, 1)
    return z if form == "timed" else z.reshape(-1, samples, *z.shape[1:])


def stacked(z: Tensor, form: str) -> Tensor:
    """Return the inverse of `unstacked`."""
    if form in ("turned", "flat"):
        return z.transpose(0, 1) if form == "turned" else z.transpose(0, 1).flatten(0, 1)
    return z if form == "timed" else z.flatten(0, 1)
