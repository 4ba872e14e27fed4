"""What is measured on a compiled step: the distance to the threshold, and the input at which a cell begins to fire."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.errors import unknown
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.names import CLOCKS
from sandbox.reference.compiler.units import in_house, text_of
from sandbox.reference.need import brian2

STEPS = 4000  # of a measurement
CURRENTS = 64  # side by side
FEW = 8  # cells that differ
WIDEST = (-9.0, 12.0)  # powers of ten of an input in house units: A/m^2 to pA
PASSES = 3  # each narrows the range by a factor of CURRENTS
LONGEST_DT, SHORTEST_DT = 0.05, 0.01  # [ms]
JUMPING_DT = 1.0  # [ms] of inputs that are added in each step


def swing_of(neuron: Any) -> float:
    """Return the mean distance of initial cells from the threshold; 1 for none, and where a draw or time decides."""
    model = neuron.model
    if model.above is None:
        return 1.0
    read = set().union(*(side.names() for side in model.above))
    if read & CLOCKS or decided_by_draws(neuron):
        return 1.0
    with torch.no_grad():
        state = _start(neuron, 1)
        distance = float(neuron.difference(state).abs().mean())
    return distance if distance and math.isfinite(distance) else 1.0


def decided_by_draws(neuron: Any) -> bool:
    """Return whether a random number stands in the threshold."""
    return any(side.names() & neuron.draws.keys() for side in neuron.model.above or ())


def rheobase_of(neuron: Any) -> Any:
    """Return the smallest constant input that doubles the spikes of a silent run and adds one; the swing if none does.

    Where a draw decides, the input that adds a spike in one of 20 steps.
    Of a neuron without a threshold, the input that moves the membrane by the swing.
    Of several inputs, a tensor of that of each.
    """
    neuron = thinned(neuron)
    if neuron.inputs:
        return torch.tensor([_smallest(neuron, number) for number in range(len(neuron.inputs))], dtype=torch.float64)
    return _smallest(neuron)


def admitted(name: str, value: Any, units: Mapping[str, str]) -> Any:
    """Return a constant in house units; raise ValueError for a quantity of another unit."""
    b2 = brian2()
    if not isinstance(value, b2.Quantity):
        return value
    wanted, found = units.get(name, "ms"), text_of(value.dim)
    if found != wanted:
        raise ValueError(f"{name}={value!r} is in {found}; wanted {wanted}")
    if value.ndim == 0:
        return in_house(value)
    return torch.from_numpy(np.array([in_house(b2.Quantity(each, dim=value.dim)) for each in np.ravel(value)]))


def no_parameter(neuron: Any, name: str) -> ValueError:
    """Return the error of a name that is not one of a constant; it may be one of a variable."""
    if name in neuron.starts:
        return ValueError(
            f"{name} is a variable of the state, with the initial value {neuron.starts[name]!r:.60}: to learn it, make "
            "it a (constant) of the equations with a number, or one for each cell, in initial="
        )
    return unknown("parameter", name, [*neuron.parameters, *neuron.within_period])


def undefined(neuron: Any) -> list[str]:
    """Return the variables whose exact step from the initial state is not a number; none for other schemes."""
    if neuron.method != "exact" or torch._C._are_functorch_transforms_active():
        return []
    with torch.no_grad():
        try:
            state = _start(neuron, 1)
        except RuntimeError:  # tensors of other numbers of cells, which is said where cells are made
            return []
        # initial values may be none for so few cells, as i / (N - 1)
        state = state._replace(**{name: torch.nan_to_num(getattr(state, name)) for name in neuron.model.variables})
        zero = torch.zeros(*state[0].shape, *[len(neuron.inputs)] * bool(neuron.inputs), dtype=torch.float64)
        after = neuron.integrate(zero, state, 0.1)
    return [name for name in neuron.model.variables if bool(torch.isnan(getattr(after, name)).any())]


def checked(neuron: Any) -> Any:
    """Return a neuron; raise ValueError if its exact step is not a number for its constants.

    Of two variables that depend on each other with rates that are equal it is not, as in Brian2.
    """
    if bad := undefined(neuron):
        raise ValueError(
            f"the exact step of {', '.join(bad)} is not a number for these constants: it divides by the difference of "
            "two rates that are equal, in a cell at least; make one differ by a part in 1e4, or use "
            "method='exponential_euler' or 'rk4'"
        )
    return neuron


def check_step(neuron: Any, method: str, infinite: bool) -> None:
    """Write the programs once: a coefficient that is not finite comes from two equal time constants."""
    plan = neuron._plan(neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64)), 0.1)
    constants = [c for program in (plan.update, plan.threshold, plan.reset) if program for c in program.constants]
    fits = not any(math.isnan(float(c)) or (math.isinf(float(c)) and not infinite) for c in constants)
    if fits and not undefined(neuron):
        return
    if infinite:
        raise ValueError(
            "a step with inf in these equations is not a number: inf is a bound, as in clip(v, 0*mV, inf*mV)"
        )
    times = ", ".join(f"{name}={value:g}" for name, value in neuron.parameters.items() if name.startswith("tau"))
    raise ValueError(
        f"Brian2's {method!r} solution is not finite for these constants ({times}): it divides by the difference of "
        "two rates that are equal; make one differ by a part in 1e4, or use method='exponential_euler' or 'rk4'"
    )


def unheard(neuron: Any) -> str:
    """Return the message for a neuron whose one input nothing reads, with the names that may be meant.

    Those are parameters and constants in the unit of a current, or else all parameters of the equations.
    """
    lines = grammar.equations(neuron.recipe["equations"])
    assigned = {neuron.input} | {each.target for each in grammar.statements(neuron.recipe["reset"] or "").statements}
    own = [line.name for line in lines if line.kind == "parameter" and line.name not in assigned]
    own += [name for name in neuron.parameters if name in neuron.units and name not in own]
    driving = [name for name in own if neuron.units.get(name, "").startswith("nA")]
    meant = driving or [name for name in own if name not in neuron.parameters]
    moving = [line.name for line in lines if line.kind == "differential equation"]
    named = f"name the one that is meant, input={meant[0]!r} (one of {', '.join(meant)}), " if meant else ""
    return (
        f"nothing reads the input {neuron.input!r}, so that currents do nothing: {named}add it to an equation, say to "
        f"which variable synapses add, as in jumps={[*moving, 'g'][0]!r}, or give input=None for none"
    )


def thinned(neuron: Any) -> Any:
    """Return a neuron of which at most FEW cells differ, evenly spaced among those of its tensors."""
    starts = {name: value for name, value in neuron.starts.items() if isinstance(value, Tensor)}
    many = {name: value for name, value in neuron.parameters.items() if isinstance(value, Tensor)} | starts
    lengths = {len(value) for value in many.values() if value.ndim == 1 and len(value) > FEW}
    if len(lengths) != 1:
        return neuron
    (length,) = lengths
    kept = torch.linspace(0, length - 1, FEW).round().long()
    few = {name: value.detach()[kept] for name, value in many.items() if value.shape == (length,)}
    neuron = beginning(neuron, {name: few[name] for name in starts if name in few})
    return replace(neuron, **{name: value for name, value in few.items() if name not in starts})


def beginning(neuron: Any, starts: Mapping[str, Tensor]) -> Any:
    """Return a compiled neuron with other initial values, which belong to its class."""
    if not starts:
        return neuron
    kind = type(neuron)
    other = type(kind.__name__, (kind,), {"starts": {**neuron.starts, **starts}})
    return other(**{field.name: getattr(neuron, field.name) for field in fields(neuron)})


def hearing(neuron: Any, signals: Mapping[str, Any]) -> Any:
    """Return a compiled neuron with other stored signals, which belong to its class."""
    kind, algebra = type(neuron), copy.copy(neuron.model.algebra)
    algebra.brought = {**algebra.brought, **signals}
    own = {"called": {**neuron.called, **signals}, "model": neuron.model._replace(algebra=algebra), "plans": {}}
    return type(kind.__name__, (kind,), own)(**{field.name: getattr(neuron, field.name) for field in fields(neuron)})


def _smallest(neuron: Any, number: int | None = None) -> float:
    """Return that of the input of this number; None for the only one."""
    if not neuron.heeds:
        return float(neuron.swing)
    for sign in (1.0, -1.0):
        low, high = WIDEST
        for narrowing in range(PASSES):
            grid = torch.logspace(low, high, CURRENTS, dtype=torch.float64)
            enough = _enough(neuron, sign * grid, number)
            first = int(enough.double().argmax())
            if not enough[first]:
                break
            low, high = (math.log10(float(grid[max(first - 1, 0)])), math.log10(float(grid[first])))
            if narrowing == PASSES - 1:
                return float(grid[first])
    return float(neuron.swing)


def _enough(neuron: Any, currents: Tensor, number: int | None) -> Tensor:
    """Return for each current whether it moves the cells, beside a run without one."""
    dt = JUMPING_DT if neuron.jumps else min(max(neuron.fastest / 20, SHORTEST_DT), LONGEST_DT)
    every = torch.cat([torch.zeros(1, dtype=torch.float64), currents])
    with torch.no_grad():
        state = _start(neuron, len(every))
        inputs = every.reshape(-1, *[1] * (state[0].ndim - 1)).expand_as(state[0]).contiguous()
        total: Any = torch.zeros_like(inputs)
        if number is not None:
            chosen = torch.arange(len(neuron.inputs)) == number
            inputs = torch.where(chosen, inputs[..., None], torch.zeros((), dtype=inputs.dtype))
        output = total
        for _ in range(STEPS):
            output, state = neuron.step(inputs, state, dt)
            total = total + output
    if neuron.model.above is None:
        moved = (output - output[:1]).abs().flatten(1).mean(1)
        reached: Tensor = moved[1:] >= neuron.swing
        return reached
    count = total.flatten(1).mean(1)
    more = STEPS / 20 if decided_by_draws(neuron) else count[0] + 1
    doubled: Tensor = count[1:] >= count[0] + more
    return doubled


def _start(neuron: Any, samples: int) -> Any:
    """Return initial cells `[samples, ...]`, as many as there are in parameters and initial values."""
    many = [
        value.shape for value in (*neuron.parameters.values(), *neuron.starts.values()) if isinstance(value, Tensor)
    ]
    shape = torch.broadcast_shapes((1,), *many)
    return neuron.initial_state((samples, *shape), torch.zeros((), dtype=torch.float64))
