"""Run a sequence in a kernel that writes spikes as bits, an eighth of a byte for each cell and step."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sandbox.kernels.choice import choice
from sandbox.kernels.launch import registered
from sandbox.kernels.launch.backends import by_triton
from sandbox.kernels.launch.buffers import forward_buffers, numbers, per_cell, read
from sandbox.kernels.launch.call import call
from sandbox.kernels.launch.ops import rows
from sandbox.kernels.sequence import Result, divided, ended, found_for, operands
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported
from sandbox.kernels.write.emit import Variant


def sequence(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Result:
    """Do what `sandbox.kernels.sequence.sequence` does, without gradients.

    Spikes are words of 64 cells, int64 `[T, cells / 64]`, a row for each step: cell c is bit `c % 64`, from the lowest
    one, of word `c // 64`, and bits after the last cell are 0.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    if by_triton(currents.device, choice().mode):
        raise Unsupported("Triton has no kernel that writes bits", expected=True)
    currents, beside = divided(neuron, currents)
    found = found_for(neuron, body, label, currents, state, dt)
    key = registered.register(found.structure, currents.device)
    x, states, params, draws = operands(found, neuron, currents, state, beside)
    variant = Variant(per_cell(params), bits=True)
    room = forward_buffers(found.structure, variant, x, states)
    if x.numel():
        call(key, "forward", variant, rows(x), room.named | read(params, draws), numbers(found.constants, params, x))
    words, *others = room.outs
    return (words, *(out.reshape(currents.shape) for out in others)), ended(found, room.ends, currents, state)
