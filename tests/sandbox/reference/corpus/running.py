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
SHORT = 30  # steps of the gradients
DRAWN = re.compile(r"\brandn?\s*\(")


@b2.check_units(t=b2.second, result=1)
def _sine(t: Any) -> Any:
    return np.sin(2 * np.pi * 10 * b2.Hz * t)


def _sine_in_torch(t: torch.Tensor) -> torch.Tensor:
    return torch.sin(2 * torch.pi * 0.01 * t)  # of ms


OWN = {"f": (_sine, _sine_in_torch)}  # functions that a source defines, for Brian2 and in torch


class Run(NamedTuple):
    """Variables `[T, N]` after each step, in house units, by name, and spikes `[T, N]`."""

    variables: dict[str, torch.Tensor]
    spikes: torch.Tensor


def compiled(facts: Facts, group: Any) -> Any:
    """Return the neuron that `from_brian2` makes of the texts and values.

    Initial values that are drawn, or that read other variables, are those of the group of Brian2.
    """
    initial = {name: given for name, given in starts(facts).items() if name not in facts.inputs}
    names = set(group.variables) - {"i", "N"}
    for name, given in initial.items():
        if isinstance(given, str) and (DRAWN.search(given) or names & set(re.findall(r"[A-Za-z_]\w*", given))):
            initial[name] = getattr(group, name)[:]
    events = {name: (each["when"], each["do"]) for name, each in facts.events.items() if "do" in each}
    return from_brian2(
        facts.text,
        facts.threshold,
        facts.reset,
        facts.period(),
        facts.method,
        namespace(facts) | {name: OWN[name][0] for name in facts.functions},
        initial=initial,
        **facts.named(),
        **({"events": events} if events else {}),
        **({"functions": {name: OWN[name][1] for name in facts.functions}} if facts.functions else {}),
    )


def starts(facts: Facts) -> dict[str, Any]:
    """Return the initial values as Brian2 takes them."""
    return {name: start(name, given) for name, given in facts.initial.items()}


def group_of(facts: Facts, cells: int = CELLS) -> Any:
    """Return the group that Brian2 makes of the model, with its initial values, links and events."""
    b2.seed(0)
    group = b2.NeuronGroup(
        cells,
        facts.text,
        threshold=facts.threshold,
        reset=facts.reset,
        refractory=False if facts.refractory is None else facts.period(),
        method=facts.method or ("exact", "euler", "heun"),
        events={name: each["when"] for name, each in facts.events.items()} or None,
        namespace=namespace(facts) | {name: OWN[name][0] for name in facts.functions},
        dt=facts.dt * b2.ms,
        order=2,
    )
    for name, each in facts.events.items():
        if "do" in each:
            group.run_on_event(name, each["do"])
    for name, given in starts(facts).items():
        setattr(group, name, given)
    for name in facts.links:
        linked = source_of(facts, name)
        setattr(group, name, b2.linked_var(linked, facts.links[name]["variable"]))
        group.add_attribute(f"group_of_{name}")
        setattr(group, f"group_of_{name}", linked)
    return group


def source_of(facts: Facts, name: str) -> Any:
    """Return the group that has a linked variable."""
    given = {key: each for key, each in facts.links[name].items() if key not in ("variable", "cells")}
    source = Facts(name=name, source=facts.source, family=facts.family, dt=facts.dt, **given)
    group = group_of(source, facts.links[name].get("cells", CELLS))
    for part in group.contained_objects:
        part.order = 0
    return group


def kicks_of(facts: Facts) -> dict[str, np.ndarray]:
    """Return the stored inputs `[T, N]`, in SI: stronger from cell to cell, of jumps one in twenty steps."""
    rng = np.random.default_rng(0)
    found = {}
    for name, scaled in facts.driven.items():
        found[name] = rng.random((STEPS, CELLS)) * np.linspace(0.25, 1.0, CELLS) * float(value(name, scaled))
        if name in facts.jumps:
            found[name] *= rng.random((STEPS, CELLS)) < 0.05
    return found


def ran_in_brian2(facts: Facts, group: Any, neuron: Any) -> tuple[Run, torch.Tensor]:
    """Run the group of a model; return what it did, and the inputs `[T, N]` or `[T, N, inputs]` in house units."""
    equations = group.user_equations
    names = [
        name for name in equations.diff_eq_names | equations.parameter_names if behind(name) in neuron.model.variables
    ]
    states = b2.StateMonitor(group, names, record=True, when="end")
    parts = [group, states] + ([b2.SpikeMonitor(group)] if facts.threshold else [])
    kicks = kicks_of(facts)
    for name, values in kicks.items():
        unit = b2.Quantity(1.0, dim=group.variables[name].dim)
        group.namespace[f"kicks_{name}"] = b2.TimedArray(values * unit, dt=facts.dt * b2.ms)
        sign = "+=" if name in facts.jumps else "="
        parts.append(group.run_regularly(f"{name} {sign} kicks_{name}(t, i)", when="start", dt=facts.dt * b2.ms))
    links = {}
    for name in facts.links:
        links[name] = b2.StateMonitor(group, name, record=True, when="groups", order=1)
        parts += [links[name], getattr(group, f"group_of_{name}")]
    zero = torch.zeros(STEPS, CELLS, dtype=torch.float64)
    for name, values in brian.drawn(neuron, neuron.initial_state((CELLS,), zero[0]), zero).items():
        group.namespace[f"stored_{name}"] = b2.TimedArray(values.numpy(), dt=facts.dt * b2.ms)
    brian.throw(group, neuron)
    b2.Network(parts).run(STEPS * facts.dt * b2.ms, namespace={})

    def house(values: Any, name: str) -> torch.Tensor:
        return torch.from_numpy(np.asarray(values, dtype=float) / scale(group.variables[name].dim))

    spikes = torch.zeros(STEPS, CELLS, dtype=torch.float64)
    if facts.threshold:
        spikes[np.rint(np.asarray(parts[2].t / b2.ms) / facts.dt).astype(int), np.asarray(parts[2].i)] = 1
    shown = {name: np.asarray(getattr(monitor, f"{name}_")).T for name, monitor in links.items()}
    order = [*facts.inputs, *facts.links, *facts.jumps]
    inputs = [house({**kicks, **shown}[name], name) for name in order]
    found = {behind(name): house(np.asarray(getattr(states, f"{name}_")).T, name) for name in names}
    return Run(found, spikes), zero if not inputs else inputs[0] if len(inputs) == 1 else torch.stack(inputs, -1)


def ran(facts: Facts, neuron: Any, inputs: torch.Tensor) -> Run:
    """Run the compiled neuron."""
    state = neuron.initial_state((CELLS,), torch.zeros(CELLS, dtype=torch.float64))
    rows, spikes = [], []
    with torch.no_grad():
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


def gradients(facts: Facts, neuron: Any, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradient of the spikes and last values after some steps, by the inputs, constants and first values."""
    inputs = inputs[:SHORT].clone().requires_grad_()
    changes = {
        name: torch.as_tensor(number, dtype=torch.float64).clone().requires_grad_()
        for name, number in neuron.parameters.items()
        if name != "t_refractory"
    }
    neuron = neuron.with_parameters(**changes) if changes else neuron
    state = neuron.initial_state((CELLS,), torch.zeros(CELLS, dtype=torch.float64))
    first = {
        name: getattr(state, name).detach().clone().requires_grad_()
        for name in neuron.model.variables
        if getattr(state, name).is_floating_point()
    }
    state = state._replace(**first)
    total = torch.zeros((), dtype=torch.float64)
    for x in inputs:
        fired, state = neuron.step(x, state, facts.dt)
        total = total + fired.sum()
    total = total + sum(getattr(state, name).to(total).sum() for name in neuron.model.variables)
    leaves = {"input": inputs, **changes, **{f"first {name}": number for name, number in first.items()}}
    if not total.requires_grad:  # neither variables nor constants, as of a threshold that is a time
        return {}
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {name: each for name, each in zip(leaves, found, strict=True) if each is not None}
