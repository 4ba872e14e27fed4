"""The door between the plain loop and the kernels; on this side of it nothing heavy is imported."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sandbox.neurons.kernels.choice import choice, explain
from sandbox.neurons.kernels.unsupported import Unsupported
from sandbox.neurons.kernels.when_compiled import sequence

if TYPE_CHECKING:
    from sandbox.neurons.base import Neuron


def attempt(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...], centred: bool
) -> tuple[tuple[Tensor, ...], Any] | None:
    """What `base.sequence` returns, from a kernel; None where the plain loop is to run.

    Raises RuntimeError, with the reason, where kernels were asked for and cannot do it.
    """
    if torch.compiler.is_compiling():
        return sequence(neuron, currents, state, dt, record, centred)
    mode = choice().mode
    if mode == "plain":
        return None
    from sandbox.neurons.base import advance
    from sandbox.neurons.kernels import linear
    from sandbox.neurons.kernels import sequence as fused

    body = partial(body_of, advance, record, centred)
    at_once = partial(linear.attempt, neuron, body, (record, centred), currents, state, dt)
    if mode == "auto" and fused.tiny(currents):
        return at_once()
    try:
        return fused.sequence(neuron, body, (record, centred), currents, state, dt)
    except Unsupported as reason:
        if mode != "auto":
            raise RuntimeError(f"{type(neuron).__name__} cannot run in a kernel: {reason}") from None
        if (found := at_once()) is not None:
            return found
        if not reason.expected:
            explain(type(neuron).__name__, str(reason))
        return None


def body_of(advance: Any, record: tuple[str, ...], centred: bool, *step: Any) -> Any:
    """`base.advance` with what is shown of a step."""
    return advance(*step, record, centred)
