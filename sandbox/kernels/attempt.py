"""The entry from the plain loop to the kernels; heavy modules are imported only when a kernel is tried."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Local
from rules.credit.spike_timing.at_once import Bounds, Frame
from rules.credit.spike_timing.window import Window
from sandbox.kernels.choice import choice
from sandbox.kernels.unsupported import or_plain
from sandbox.kernels.when_compiled import sequence
from sandbox.neurons.base import Neuron
from sandbox.neurons.stepping import body_of

SLOWER = 8.0  # times that a plain loop takes where it also differentiates every step


def attempt(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...], centred: bool
) -> tuple[tuple[Tensor, ...], Any] | None:
    """Return what `loops.sequence` returns, computed by a kernel; None if the plain loop has to run.

    Raises:
        RuntimeError: if a kernel is required but cannot run; the message names the reason.
    """
    if torch.compiler.is_compiling():
        return sequence(neuron, currents, state, dt, record, centred)
    chosen = choice()
    if chosen.mode == "plain":
        return None
    from sandbox.kernels import linear
    from sandbox.kernels import sequence as fused

    given = neuron, partial(body_of, record, centred), (record, centred), currents, state, dt
    if chosen.mode == "auto" and fused.tiny(currents) and not _earned(*given):
        return linear.attempt(*given)
    return or_plain(neuron, lambda: fused.sequence(*given), lambda: linear.attempt(*given))


def attempt_bits(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...]
) -> tuple[tuple[Tensor, ...], Any] | None:
    """Do the same as `attempt` with spikes as bits, without gradients, and however few the steps are."""
    from sandbox.kernels import bits

    body = partial(body_of, record, False)
    return or_plain(neuron, lambda: bits.sequence(neuron, body, (record, False), currents, state, dt), lambda: None)


def attempt_recurrent(
    neuron: Neuron, synapse: nn.Module, currents: Tensor, state: Any, heard: Any, dt: float, centred: bool
) -> tuple[tuple[Tensor, ...], Any] | None:
    """Do the same as `attempt` for cells that receive their last output through a synapse."""
    body = partial(body_of, (), centred)
    if left(currents) and not _earned(neuron, body, ((), centred), currents, state, dt):
        return None
    from sandbox.kernels import recurrent

    return or_plain(
        neuron,
        lambda: recurrent.recurrence(neuron, synapse, body, ((), centred), currents, state, heard, dt),
        lambda: None,
    )


def attempt_linearised(
    neuron: Neuron, synapse: nn.Linear | None, currents: Tensor, state: Any, heard: Any, dt: float
) -> tuple[Tensor, Any, Local] | None:
    """Return output, last state and the derivatives of every step, by a kernel; None if there is none."""
    if left(currents, SLOWER):
        return None
    from sandbox.kernels.linearised import linearised

    body = partial(body_of, (), False)
    return or_plain(
        neuron,
        lambda: linearised(neuron, synapse, body, ((), False), currents, state, heard, dt),
        lambda: None,
    )


def left(currents: Tensor, times: float = 1.0) -> bool:
    """Return whether currents are left to the plain loop, which takes so many times as long as a sequence alone."""
    mode = choice().mode
    if torch.compiler.is_compiling() or mode == "plain":
        return True
    from sandbox.kernels import sequence

    return mode == "auto" and sequence.tiny(currents, times)


def _earned(*given: Any) -> bool:
    """Return whether earlier calls of this process have earned a kernel for a short sequence of few cells."""
    chosen = choice()
    if torch.compiler.is_compiling() or chosen.mode != "auto" or not chosen.history:
        return False
    from sandbox.kernels import sequence

    return sequence.earned(*given)


def attempt_plastic(
    neuron: Neuron, frame: Frame, window: Window, bounds: Bounds, dt: float
) -> tuple[Tensor, Any, Tensor, tuple[Tensor, ...]] | None:
    """Run a layer whose weights change in every step, by a kernel; None if the plain loop has to run."""
    if choice().mode == "plain" or torch.compiler.is_compiling():
        return None
    from sandbox.kernels.plastic import plastic

    body = partial(body_of, (), False)
    return or_plain(neuron, lambda: plastic(neuron, body, ((), False), frame, window, bounds, dt), lambda: None)
