"""Run a sequence in a kernel that writes spikes as bytes, an eighth or a quarter of the memory of a number."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sandbox.kernels.choice import choice
from sandbox.kernels.launch import registered
from sandbox.kernels.launch.backends import by_triton
from sandbox.kernels.launch.buffers import forward_buffers, numbers, per_cell, read
from sandbox.kernels.launch.call import call
from sandbox.kernels.launch.ops import rows
from sandbox.kernels.sequence import Result, found_for, operands, returned
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported
from sandbox.kernels.write.emit import Variant


def sequence(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Result:
    """Do what `sandbox.kernels.sequence.sequence` does, without gradients; spikes are uint8, 0 or 1.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    if by_triton(currents.device, choice().mode):
        raise Unsupported("Triton has no kernel that writes bytes", expected=True)
    found = found_for(neuron, body, label, currents, state, dt)
    key = registered.register(found.structure, currents.device)
    x, states, params, draws = operands(found, neuron, currents, state)
    variant = Variant(per_cell(params), marks=True)
    room = forward_buffers(found.structure, variant, x, states)
    if x.numel():
        call(key, "forward", variant, rows(x), room.named | read(params, draws), numbers(found.constants, params, x))
    return returned(found, [*room.outs, *room.ends], currents, state)
