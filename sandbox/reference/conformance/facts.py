"""Look at a cell from outside: its threshold, its reset, its refractory time, in its own arithmetic."""

from __future__ import annotations

import torch

from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.probe import Probe
from sandbox.reference.conformance.seen import Facts
from sandbox.reference.conformance.stepping import Step


def facts_of(step: Step, neuron: Cell, dt: float = 1.0, dtype: torch.dtype = torch.float64) -> Facts:
    """Look at a cell from outside: each experiment is a run from rest, in the cell's own arithmetic.

    A pulse is bisected, in floating-point numbers, to the two neighbours of which one makes the cell fire; what the
    membrane showed below it is the threshold itself if the cell fires at `v > threshold`, and the number before it if
    at `v >= threshold`. Behind a spike, inputs that hold an unreset membrane in place show what the reset did.

    Args:
        step: the black box (`sandbox.reference.conformance.stepping.Step`).
        neuron: what it is said to be; its currents and its threshold are used, nothing else.
        dt: time step [ms].
        dtype: of the currents.

    >>> import torch
    >>> def leaky(current, state):
    ...     v = 0.9 * (0.0 if state is None else state) + current
    ...     spikes = (v > 1).double()
    ...     return spikes, v, v - spikes
    >>> from sandbox.neurons import LIF
    >>> found = facts_of(leaky, LIF(tau_mem=10.0, r=10.0))
    >>> found.fires_at, found.reset, round(found.amount, 6), found.shown, found.delay, found.refractory
    ('>', 'subtract', 1.0, 'before', 0, 0)
    """
    return Probe(step, neuron, dt, dtype).facts()
