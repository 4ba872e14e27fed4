"""Run a neuron's own equations in Brian2 on a stored current."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell
from sandbox.neurons.dice import DRAWS, following
from sandbox.reference.compiler.functions import counted
from sandbox.reference.compiler.triangular import by_brian2, misread
from sandbox.reference.need import brian2
from sandbox.reference.quantities import (
    PERIOD,
    base,
    give,
    of_cells,
    private,
    recorded,
    refractoriness,
    several,
    stored,
    unit,
)
from sandbox.simulation import Trajectory


def with_equations(cell: Cell) -> Neuron:
    """Return a cell that Brian2 can run; raise ValueError for one without equations."""
    if isinstance(cell, Neuron) and cell.equations:
        return cell
    raise ValueError(
        f"{type(cell).__name__} has no equations for Brian2; it is checked against {cell.reference}: sandbox.validate"
    )


def run_brian2(
    neuron: Neuron,
    currents: Tensor,
    dt: float,
    record: tuple[str, ...] | None = None,
    periods: Tensor | None = None,
    when: str = "end",
) -> Trajectory:
    """Simulate a neuron in Brian2, in float64, with NumPy code and no compiler.

    Brian2 receives the random numbers of a stochastic neuron as they are drawn here.

    Args:
        neuron: the neuron.
        currents: `[T, N]` [nA], or `[T, N, inputs]`, constant within each step (a TimedArray, read at its beginning).
        dt: time step [ms].
        record: variables to record in each step; None for the membrane.
        periods: a refractory period [ms] for each cell, `[N]`; None for that of the neuron.
        when: slot of Brian2's schedule in which variables are recorded: "end" of the step, after the reset, or
            "after_groups", before threshold and reset.

    Returns: A `Trajectory`, as from `sandbox.simulate`.

    Raises:
        ValueError: for a neuron without equations; with Brian2's message, for a wrong unit or an unknown name in the
            equations; and for an `exact` scheme whose closed form divides by zero.

    >>> from sandbox import LIF
    >>> run = run_brian2(LIF(tau_mem=10.0), torch.full((50, 1), 1.5, dtype=torch.float64), dt=1.0)
    >>> int(run.spikes.sum())
    4
    """
    b2 = brian2()
    with_equations(neuron)
    record = (neuron.membrane,) if record is None else record
    currents = currents.detach().to(torch.float64)
    steps, cells = currents.shape[:2]
    with plain_numpy(), proof_reading(neuron):
        group = make_group(neuron, currents, dt, neuron.initial_state((cells,), currents[0]), periods)
        states = b2.StateMonitor(group, list(record), record=True, when=when, dt=dt * b2.ms)
        parts = [group, states] + ([b2.SpikeMonitor(group)] if neuron.threshold else [])
        b2.Network(parts).run(steps * dt * b2.ms, namespace={})
        variables = {name: _plain(recorded(states, name), unit(neuron.units[name])) for name in record}
    for name, values in variables.items():
        if neuron.method == "exact" and not torch.isfinite(values).all():
            raise ValueError(
                f"{name} of {neuron} is not a number in Brian2: the closed form of its scheme "
                "'exact' divides by zero where two time constants are equal; move one of them by a part in 1000"
            )
    return Trajectory(
        _raster(parts[2], steps, cells, dt) if neuron.threshold else variables[neuron.membrane], variables, dt
    )


def fire_in_brian2(neuron: Neuron, state: Any, dt: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Apply Brian2's threshold and reset alone to states `[N]`, as they are after the integration.

    Returns: The spikes `[N]` and every variable after the reset, without those that Brian2 computes anew in each step.
    """
    b2 = brian2()
    with plain_numpy(), proof_reading(neuron):
        method = neuron.method if thrown(neuron) else "euler"  # which Brian2 refuses for multiplicative noise
        group = make_group(neuron, _silence(neuron, state[0])[None], dt, state, method=method)
        group.state_updater.active = False  # so the method is never used
        spikes = b2.SpikeMonitor(group)
        b2.Network(group, spikes).run(dt * b2.ms, namespace={})
        anew = set(re.findall(r"^\s*(\w+)\s*=.*\(.*constant over dt.*\)", neuron.equations, re.MULTILINE))
        names = [name for name in evolving(neuron, state) if name not in anew]
        after = {name: _plain(group.state(name), unit(neuron.units[name])) for name in names}
    return _raster(spikes, 1, len(state[0]), dt)[0], after


def make_group(
    neuron: Neuron, currents: Tensor, dt: float, state: Any, periods: Tensor | None = None, method: str = ""
) -> Any:
    """Build the NeuronGroup of a neuron in a given state, driven by stored currents `[T, N]`."""
    b2 = brian2()
    physical, own = of_cells(neuron, currents.shape[1 : -1 if neuron.inputs else None])
    if periods is not None:
        own[private(neuron, PERIOD)] = periods.numpy() * b2.ms
    lines, added = [neuron.equations], jumps(neuron)
    for name, values in {**by_input(neuron, currents), **drawn(neuron, state, currents)}.items():
        symbol = unit(neuron.units[name])
        physical[stored(neuron, name)] = b2.TimedArray(values.numpy() * symbol, dt=dt * b2.ms)
        if name in thrown(neuron) or name in added:
            continue
        lines.append(f"{name} = {stored(neuron, name)}(t, i) : {base(symbol)} (constant over dt)")
    lines += [f"{name} : {base(values)} (constant)" for name, values in own.items()]
    group = b2.NeuronGroup(
        currents.shape[1],
        "\n".join(lines),
        threshold=neuron.threshold,
        reset=neuron.reset_code,
        refractory=refractoriness(neuron) if periods is None else private(neuron, PERIOD),
        method=method or scheme(neuron),
        namespace=physical,
        dt=dt * b2.ms,
        events={name: condition for name, (condition, _) in events(neuron).items()} or None,
    )
    for name, (_, statements) in events(neuron).items():
        group.run_on_event(name, statements)
    for name, variable in added.items():
        group.run_regularly(f"{variable} += {stored(neuron, name)}(t, i)", when="start", dt=dt * b2.ms)
    throw(group, neuron)
    start = {name: getattr(state, name).numpy() * unit(neuron.units[name]) for name in evolving(neuron, state)}
    give(group, {**own, **start})
    return group


def by_input(neuron: Cell, currents: Tensor) -> dict[str, Tensor]:
    """Return the currents of each input of a neuron, `[T, N]`, by its name in the equations."""
    if not neuron.inputs:
        return {"current": currents} if "current" in neuron.units else {}
    return dict(zip(neuron.inputs, currents.unbind(-1), strict=True))


def events(neuron: Cell) -> dict[str, tuple[str, str]]:
    """Return the further events of a neuron, by name: a condition, and the statements that run where it holds."""
    return dict(getattr(neuron, "recipe", {}).get("events", {}))


def jumps(neuron: Cell) -> dict[str, str]:
    """Return the variable that each input is added to before a step; "current" is the name of a single input."""
    found: dict[str, str] = getattr(neuron, "jumps", {})
    return dict(found) if neuron.inputs else dict(zip(["current"], found.values(), strict=False))


def _silence(neuron: Cell, like: Tensor) -> Tensor:
    """Return no current for cells `[N]`."""
    zero = torch.zeros_like(like)
    return zero[..., None].expand(*zero.shape, len(neuron.inputs)) if neuron.inputs else zero


def evolving(neuron: Neuron, state: Any) -> list[str]:
    """Return the state variables of the equations: those with a unit."""
    return [name for name in state._fields if name in neuron.units]


def parameters(neuron: Neuron) -> dict[str, float]:
    """Return the parameters in the equations, by name: the fields with a unit, of the first cell if cells differ."""
    given = {f.name: getattr(neuron, f.name) for f in fields(neuron)}
    first = {name: value.flatten()[0] if several(value) else value for name, value in given.items()}
    return {name: float(value) for name, value in first.items() if name in neuron.units}


def drawn(neuron: Neuron, state: Any, currents: Tensor) -> dict[str, Tensor]:
    """Return the random numbers `[T, N]` that a neuron draws in each step, by name."""
    if not neuron.draws:
        return {}
    keys = [state.key]
    for _ in currents[1:]:
        keys.append(following(keys[-1]))
    return {
        name: torch.stack([DRAWS[kind](key, state[0], stream) for key in keys])
        for stream, (name, kind) in enumerate(neuron.draws.items())
    }


def scheme(neuron: Neuron) -> Any:
    """Return the method of a group: its name, or a function where Brian2's "exact" would misread a variable's name."""
    moving = re.findall(r"\bd(\w+)/dt", neuron.equations)
    return by_brian2 if neuron.method == "exact" and misread(moving) else neuron.method


def thrown(neuron: Neuron) -> list[str]:
    """Return the draws that the texts of a neuron call for themselves, `xi`, `rand()` and `randn()`, in their order."""
    declared = getattr(neuron, "recipe", {"draws": neuron.draws})["draws"]
    return [name for name in neuron.draws if name not in declared]


def throw(group: Any, neuron: Neuron) -> None:
    """Let a group read the stored draws where its texts call for random numbers, in the order of the compiler."""
    names = thrown(neuron)
    if not names:
        return
    if any(name.startswith("poisson") for name in names):
        group.namespace["counted"] = brian2().Function(_counted, arg_units=[1, 1], return_unit=1)
    called = [name for name in names if not name.startswith("xi")]
    runners = [group.subexpression_updater, group.state_updater, *group.thresholder.values(), *group.resetter.values()]
    for runner in filter(None, runners):
        runner.update_abstract_code(run_namespace={})
        count = len(re.findall(CALL, _without_noise(runner)))
        _redirect(runner, neuron, called[:count])
        called = called[count:]


CALL = r"\brandn?\(\)|\bpoisson\("


def _counted(u: Any, mean: Any) -> Any:
    mean, u = np.broadcast_arrays(np.asarray(mean, dtype=float), u)
    return counted(torch.from_numpy(mean.copy()), torch.from_numpy(u.copy())).numpy()


def _without_noise(runner: Any) -> str:
    return "\n".join(line for line in str(runner.abstract_code).splitlines() if not line.startswith("xi"))


def _redirect(runner: Any, neuron: Neuron, names: Sequence[str]) -> None:
    """Replace the calls in the code of a runner, each time that it is made, by stored draws of these names."""
    original = runner.update_abstract_code

    def update(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        waiting, lines = list(names), []
        for line in str(runner.abstract_code).splitlines():
            noise = [line.split("=")[0].strip()] if line.startswith("xi") else waiting
            for call in re.findall(CALL, line):
                value = f"{stored(neuron, noise.pop(0))}(t, i)"
                line = re.sub(CALL, f"counted({value}, " if call == "poisson(" else value, line, count=1)
            lines.append(line)
        runner.abstract_code = "\n".join(lines)

    runner.update_abstract_code = update


@contextmanager
def plain_numpy() -> Iterator[None]:
    """Run Brian2 without a compiler inside this block.

    Print options are shortened too: at every call, Brian2's `exprel` formats its result for the message of an error
    that it does not raise. In full length that would take several times as long as everything else.
    """
    prefs = brian2().prefs
    before, prefs.codegen.target = prefs.codegen.target, "numpy"
    try:
        with np.printoptions(threshold=0, edgeitems=1):
            yield
    finally:
        prefs.codegen.target = before


@contextmanager
def proof_reading(neuron: Neuron) -> Iterator[None]:
    """Turn Brian2's errors about a neuron's equations into a ValueError."""
    try:
        yield
    except (ArithmeticError, MemoryError):
        raise
    except Exception as error:  # Brian2 wraps a dozen kinds of error, and they share no base class
        first: BaseException = error
        while first.__cause__ is not None:
            first = first.__cause__
        raise ValueError(f"Brian2 refuses {type(neuron).__name__}: {' '.join(str(first).split())}") from error


def _plain(values: Any, symbol: Any) -> Tensor:
    return torch.from_numpy(np.asarray(values / symbol).T.copy())


def _raster(monitor: Any, steps: int, cells: int, dt: float) -> Tensor:
    raster = torch.zeros(steps, cells, dtype=torch.float64)
    at = np.rint(np.asarray(monitor.t / brian2().ms) / dt).astype(int)
    raster[torch.from_numpy(at), torch.from_numpy(np.asarray(monitor.i).astype(int))] = 1.0
    return raster
