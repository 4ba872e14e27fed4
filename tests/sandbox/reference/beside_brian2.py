"""The same text in Brian2 and compiled: models, and the runs of both."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import brian2 as b2
import numpy as np
import torch

from sandbox.reference import from_brian2
from sandbox.reference.brian import plain_numpy
from sandbox.reference.compiler.units import in_house

CELLS, CLOSE = 6, 1e-9


class Case(NamedTuple):
    """A model as Brian2 takes it."""

    equations: str
    threshold: str | None = None
    reset: str | None = None
    refractory: Any = False
    method: str = "euler"
    namespace: Mapping[str, Any] = MappingProxyType({})
    initial: Mapping[str, Any] = MappingProxyType({})
    dt: float = 0.1
    steps: int = 600
    spikes: int = 0  # at least


def ran_in_brian2(case, jumps=None, kicks=None, stored=MappingProxyType({}), events=MappingProxyType({})):
    """Return the variables in house units after each step, `[T, N]`, and the spikes `[T, N]`, by Brian2.

    Args:
        case: the model.
        jumps: a variable to which `kicks` are added at the start of each step.
        kicks: `[T, N]`, a quantity.
        stored: by statement, such as "I = stored_I(t, i)", the values `[T, N]` that it reads; a quantity.
        events: by name, a condition and the statements that run on it.
    """
    with plain_numpy():
        start = b2.NeuronGroup(
            CELLS,
            case.equations,
            threshold=case.threshold,
            reset=case.reset,
            refractory=case.refractory,
            method=case.method,
            namespace=dict(case.namespace),
            dt=case.dt * b2.ms,
            events={name: condition for name, (condition, _) in events.items()} or None,
        )
        for name, (_, statements) in events.items():
            start.run_on_event(name, statements)
        for name, value in case.initial.items():
            setattr(start, name, value)
        names = [*start.user_equations.diff_eq_names, *start.user_equations.parameter_names]
        states = b2.StateMonitor(start, names, record=True, when="end")
        parts = [start, states] + ([b2.SpikeMonitor(start)] if case.threshold else [])
        if jumps:
            parts.append(start.run_regularly(f"{jumps} += kicks(t, i)", when="start", dt=case.dt * b2.ms))
            start.namespace["kicks"] = b2.TimedArray(kicks, dt=case.dt * b2.ms)
        for statement, values in stored.items():
            parts.append(start.run_regularly(statement, when="start", dt=case.dt * b2.ms))
            name = re.search(r"stored_\w+", statement)[0]
            start.namespace[name] = b2.TimedArray(values, dt=case.dt * b2.ms)
        b2.Network(parts).run(case.steps * case.dt * b2.ms, namespace={})
        values = {name: house(getattr(states, name)) for name in names}
        spikes = np.zeros((case.steps, CELLS))
        if case.threshold:
            spikes[np.rint(np.asarray(parts[2].t / b2.ms) / case.dt).astype(int), np.asarray(parts[2].i)] = 1
    return values, torch.from_numpy(spikes)


def house(values):
    unit = in_house(b2.Quantity(1.0, dim=b2.get_dimensions(values)))
    return torch.from_numpy(np.asarray(values).T * unit)


def ran(neuron, case, inputs=None):
    """Return the same by the compiled neuron."""
    state = neuron.initial_state((CELLS,), torch.zeros(CELLS, dtype=torch.float64))
    rows, spikes = [], []
    for step in range(case.steps):
        x = torch.zeros(CELLS, dtype=torch.float64) if inputs is None else inputs[step]
        fired, state = neuron.step(x, state, case.dt)
        rows.append(state)
        spikes.append(fired)
    return {name: torch.stack([getattr(row, name) for row in rows]) for name in neuron.model.variables}, torch.stack(
        spikes
    )


def compiled(case, **options):
    return from_brian2(
        case.equations,
        case.threshold,
        case.reset,
        case.refractory,
        case.method,
        case.namespace,
        initial=case.initial,
        **options,
    )
