"""Compiles a model of the corpus, and runs it beside Brian2 with the same stored input and the same draws."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import brian2 as b2
import numpy as np
import torch

from sandbox.reference import brian, from_brian2
from sandbox.reference.compiler.given import behind
from sandbox.reference.compiler.units import scale
from tests.sandbox.reference.corpus.facts import CELLS, Facts, namespace, start, value

STEPS = 2000
DRAWN = re.compile(r"\brandn?\s*\(")


class Run(NamedTuple):
    """Variables `[T, N]` after each step, in house units, by name, and spikes `[T, N]`."""

    variables: dict[str, torch.Tensor]
    spikes: torch.Tensor


def compiled(facts: Facts, group: Any) -> Any:
    """Return the neuron that `from_brian2` makes of the texts and values.

    Initial values that are drawn, or that read other variables, are those of the group of Brian2.
    """
    initial = {name: given for name, given in starts(facts).items() if name not in named(facts.input)}
    names = set(group.variables)
    for name, given in initial.items():
        if isinstance(given, str) and (DRAWN.search(given) or set(re.findall(r"[A-Za-z_]\w*", given)) & names - {"i", "N"}):
            initial[name] = getattr(group, name)[:]
    return from_brian2(
        facts.text,
        facts.threshold,
        facts.reset,
        facts.period(),
        facts.method,
        namespace(facts),
        "w" if facts.jumps else facts.input,
        jumps=facts.jumps,
        initial=initial,
    )


def starts(facts: Facts) -> dict[str, Any]:
    """Return the initial values as Brian2 takes them."""
    return {name: start(name, given) for name, given in facts.initial.items()}


def named(input: Any) -> list[str]:
    """Return the names of the inputs."""
    return [] if input is None else [input] if isinstance(input, str) else list(input)


def group_of(facts: Facts) -> Any:
    """Return the group that Brian2 makes of the model, with its initial values."""
    b2.seed(0)
    group = b2.NeuronGroup(
        CELLS,
        facts.text,
        threshold=facts.threshold,
        reset=facts.reset,
        refractory=False if facts.refractory is None else facts.period(),
        method=facts.method or ("exact", "euler", "heun"),
        namespace=namespace(facts),
        dt=facts.dt * b2.ms,
    )
    for name, given in starts(facts).items():
        setattr(group, name, given)
    return group


def kicks_of(facts: Facts) -> np.ndarray:
    """Return the stored input `[T, N]`, in SI: stronger from cell to cell, of jumps one in twenty steps."""
    rng = np.random.default_rng(0)
    drawn = rng.random((STEPS, CELLS)) * np.linspace(0.25, 1.0, CELLS)
    if facts.jumps:
        drawn *= rng.random((STEPS, CELLS)) < 0.05
    return drawn * float(value("drive", facts.drive))


def ran_in_brian2(facts: Facts, group: Any, neuron: Any) -> Run:
    """Run the group of a model."""
    driven, variables = facts.jumps or facts.input, list(neuron.model.variables)
    names = [name for name in group.user_equations.diff_eq_names | group.user_equations.parameter_names if behind(name) in variables]
    states = b2.StateMonitor(group, names, record=True, when="end")
    parts = [group, states] + ([b2.SpikeMonitor(group)] if facts.threshold else [])
    if driven:
        unit = b2.Quantity(1.0, dim=group.variables[driven].dim)
        group.namespace["kicks"] = b2.TimedArray(kicks_of(facts) * unit, dt=facts.dt * b2.ms)
        parts.append(
            group.run_regularly(f"{driven} {'+=' if facts.jumps else '='} kicks(t, i)", when="start", dt=facts.dt * b2.ms)
        )
    zero = torch.zeros(STEPS, CELLS, dtype=torch.float64)
    for name, values in brian.drawn(neuron, neuron.initial_state((CELLS,), zero[0]), zero).items():
        group.namespace[f"stored_{name}"] = b2.TimedArray(values.numpy(), dt=facts.dt * b2.ms)
    brian.throw(group, neuron)
    b2.Network(parts).run(STEPS * facts.dt * b2.ms, namespace={})
    found = {}
    for name in names:
        values = np.asarray(getattr(states, name + "_")).T
        found[behind(name)] = torch.from_numpy(values / scale(group.variables[name].dim))
    spikes = torch.zeros(STEPS, CELLS, dtype=torch.float64)
    if facts.threshold:
        spikes[np.rint(np.asarray(parts[2].t / b2.ms) / facts.dt).astype(int), np.asarray(parts[2].i)] = 1
    return Run(found, spikes)


def ran(facts: Facts, neuron: Any, dimension: Any) -> Run:
    """Run the compiled neuron."""
    state = neuron.initial_state((CELLS,), torch.zeros(CELLS, dtype=torch.float64))
    driven = facts.jumps or facts.input
    inputs = torch.zeros(STEPS, CELLS, dtype=torch.float64)
    if driven:
        inputs = torch.from_numpy(kicks_of(facts) / scale(dimension))
    rows, spikes = [], []
    with torch.inference_mode():
        for x in inputs:
            fired, state = neuron.step(x, state, facts.dt)
            rows.append(state)
            spikes.append(fired)
    found = {name: torch.stack([getattr(row, name) for row in rows]) for name in neuron.model.variables}
    return Run(found, torch.stack(spikes) if facts.threshold else torch.zeros(STEPS, CELLS, dtype=torch.float64))


def apart(wanted: Run, found: Run) -> dict[str, float]:
    """Return by variable the largest difference, relative to the largest value that Brian2 has."""
    result = {}
    for name, values in wanted.variables.items():
        largest = float(values.abs().max())
        difference = float((found.variables[name].to(values) - values).abs().max())
        result[name] = difference / largest if largest else difference
    return result


def gradients(facts: Facts, neuron: Any, steps: int = 30) -> dict[str, torch.Tensor]:
    """Return the gradient of the spikes and last values after some steps, of the input, constants and first values."""
    inputs = torch.full((steps, CELLS), 0.1, dtype=torch.float64, requires_grad=True)
    leaves = {"input": inputs}
    changes = {}
    for name, number in neuron.parameters.items():
        if name != "t_refractory":
            changes[name] = torch.as_tensor(number, dtype=torch.float64).clone().requires_grad_()
    if neuron.within_period and set(neuron.within_period) & set(changes):
        changes = {name: number for name, number in changes.items() if name not in neuron.within_period}
    leaves |= changes
    neuron = neuron.with_parameters(**changes) if changes else neuron
    state = neuron.initial_state((CELLS,), torch.zeros(CELLS, dtype=torch.float64))
    first = {}
    for name in neuron.model.variables:
        number = getattr(state, name)
        if number.is_floating_point():
            first[name] = number.detach().to(torch.float64).clone().requires_grad_()
    leaves |= {f"first {name}": number for name, number in first.items()}
    state = state._replace(**first)
    total = torch.zeros((), dtype=torch.float64)
    for x in inputs:
        fired, state = neuron.step(x, state, facts.dt)
        total = total + fired.sum()
    total = total + sum(getattr(state, name).to(torch.float64).sum() for name in neuron.model.variables)
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: grad for name, grad in zip(leaves, found, strict=True) if grad is not None}
