"""The time loop over steps of a neuron."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def loop(
    step: Callable[[Tensor, Any], tuple[tuple[Tensor, ...], Any]], inputs: Tensor, carry: Any
) -> tuple[tuple[Tensor, ...], Any]:
    """Run `(outputs), carry = step(input, carry)` for every step, and stack the outputs along time."""
    rows = []
    for x in inputs.unbind(0):
        outputs, carry = step(x, carry)
        rows.append(outputs)
    return tuple(torch.stack(column) for column in zip(*rows, strict=True)), carry


def advance(
    neuron: Any, current: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """Take one step; return output, recorded variables and, if `centred`, membrane minus threshold; and the state."""
    if not centred:
        output, after = neuron.step(current, state, dt)
        return (output, *(getattr(after, name) for name in record)), after
    before = neuron.integrate(current, state, dt)
    output, after = neuron.fire(before, dt)
    return (output, *(getattr(after, name) for name in record), neuron.centred(before)), after
