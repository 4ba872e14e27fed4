"""Brian2 runs a neuron's own equations on a stored current."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.neurons.base import Neuron, Trajectory


def run_brian2(neuron: Neuron, currents: Tensor, dt: float, record: tuple[str, ...] = ("v",)) -> Trajectory:
    """Simulate in Brian2, in float64, with NumPy code and no compiler.

    Arguments: currents `[T, N]` in nA, held constant within each step (a TimedArray); `dt` in ms; variables to record
    as they stand at the end of each step, after the reset. Returns what `sandbox.simulate` returns.

    >>> from sandbox import LIF
    >>> run = run_brian2(LIF(tau_mem=10.0), torch.full((50, 1), 1.5, dtype=torch.float64), dt=1.0)
    >>> int(run.spikes.sum())
    4
    """
    import brian2 as b2

    steps, cells = currents.shape
    namespace = {name: value for name, value in _parameters(neuron).items() if name in neuron.units}
    physical: dict[str, Any] = {name: value * getattr(b2, neuron.units[name]) for name, value in namespace.items()}
    stored = currents.detach().to(torch.float64).numpy()
    physical["stimulus"] = b2.TimedArray(stored * getattr(b2, neuron.units["current"]), dt=dt * b2.ms)
    target, b2.prefs.codegen.target = b2.prefs.codegen.target, "numpy"
    try:
        group = b2.NeuronGroup(
            cells,
            neuron.equations + "\ncurrent = stimulus(t, i) : amp",
            threshold=neuron.threshold,
            reset=neuron.reset_code or None,
            refractory=neuron.t_refractory * b2.ms if "unless refractory" in neuron.equations else False,
            method=neuron.method,
            namespace=physical,
            dt=dt * b2.ms,
        )
        start = neuron.initial_state((cells,), currents.to(torch.float64))
        for name, value in start._asdict().items():
            if name in neuron.units:
                setattr(group, name, value.numpy() * getattr(b2, neuron.units[name]))
        states = b2.StateMonitor(group, list(record), record=True, when="end", dt=dt * b2.ms)
        parts = [group, states]
        if neuron.threshold:
            parts.append(b2.SpikeMonitor(group))
        b2.Network(parts).run(steps * dt * b2.ms, namespace={})
        variables = {name: _plain(getattr(states, name), getattr(b2, neuron.units[name])) for name in record}
        return Trajectory(_raster(parts[2], steps, cells, dt) if neuron.threshold else variables["v"], variables, dt)
    finally:
        b2.prefs.codegen.target = target


def _parameters(neuron: Neuron) -> dict[str, float]:
    return {f.name: getattr(neuron, f.name) for f in fields(neuron)}  # type: ignore[arg-type]  # always a dataclass


def _plain(values: Any, unit: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values / unit).T.copy())


def _raster(monitor: Any, steps: int, cells: int, dt: float) -> Tensor:
    import brian2 as b2

    raster = torch.zeros(steps, cells, dtype=torch.float64)
    at = np.rint(np.asarray(monitor.t / b2.ms) / dt).astype(int)
    raster[torch.from_numpy(at), torch.from_numpy(np.asarray(monitor.i).astype(int))] = 1.0
    return raster
