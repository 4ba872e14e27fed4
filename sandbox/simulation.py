"""Run a neuron over a sequence of currents, in a kernel if there is one, after checks of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rules.steps import wide_dtype
from sandbox.kernels.attempt import attempt
from sandbox.neurons.base import Neuron
from sandbox.neurons.stepping import advance, check_resolution, loop, rest, variables


def sequence(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...] = (), centred: bool = False
) -> tuple[tuple[Tensor, ...], Any]:
    """Run all steps of a neuron, in a kernel if there is one for it (`sandbox.kernels`).

    Returns the output, each recorded variable, and, if `centred`, membrane minus threshold before the reset, all
    `[T, ...]`; and the last state.
    """
    fused = attempt(neuron, currents, state, dt, record, centred)
    if fused is not None:
        return fused
    return loop(lambda current, carry: advance(neuron, current, carry, dt, record, centred), currents, state)


def scan(
    neuron: Neuron, currents: Tensor, state: Any = None, dt: float = 1.0, generator: torch.Generator | None = None
) -> tuple[Tensor, Any]:
    """Run a neuron over a sequence of currents.

    Warns if dt is longer than the neuron's fastest time constant.

    Args:
        neuron: the neuron.
        currents: `[T, ...]` [nA], constant within each step.
        state: the state to continue from; None for rest.
        dt: time step [ms], 1 by default.
        generator: random generator of a stochastic neuron; None for the neuron's own seed.

    Returns: Outputs `[T, ...]` and the last state. A call that starts from that state continues exactly.

    Raises:
        ValueError: for an empty sequence, a current that is not finite, a state of another shape or dtype, or
            `dt <= 0`.

    >>> from sandbox.neurons import LIF
    >>> spikes, state = scan(LIF(tau_mem=10.0), torch.full((50, 1), 1.5))
    >>> int(spikes.sum())
    4
    """
    start = admitted(neuron, currents, state, dt, generator)
    (outputs,), end = sequence(neuron, currents, start, dt)
    return outputs, end


@dataclass(frozen=True)
class Trajectory:
    """Result of a simulation: `spikes`, and each recorded variable as an attribute under its own name, `[T, ...]`."""

    spikes: Tensor
    variables: dict[str, Tensor]
    dt: float  # [ms]

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["variables"][name]  # type: ignore[no-any-return]
        except KeyError:
            recorded = ", ".join(self.__dict__.get("variables", {})) or "nothing"
            raise AttributeError(f"{name!r} was not recorded (recorded: {recorded}); pass record=({name!r},)") from None

    @property
    def t(self) -> Tensor:
        """Time at the end of each step [ms]."""
        return torch.arange(1, len(self.spikes) + 1, dtype=torch.float64) * self.dt


def simulate(
    neuron: Neuron,
    currents: Tensor,
    dt: float = 1.0,
    record: tuple[str, ...] = ("v",),
    state: Any = None,
    generator: torch.Generator | None = None,
) -> Trajectory:
    """Run a neuron and record its variables at the end of each step, after the reset.

    Args:
        neuron: the neuron.
        currents: `[T, ...]` [nA], constant within each step.
        dt: time step [ms], 1 by default.
        record: names of state variables to record, ("v",) by default.
        state: the state to continue from; None for rest.
        generator: random generator of a stochastic neuron; None for the neuron's own seed.

    Returns: The spikes and the recorded variables.

    Raises:
        ValueError: as `scan`, and for a variable that the neuron's state does not have.

    >>> from sandbox.neurons import LIF
    >>> round(float(simulate(LIF(tau_mem=10.0), torch.full((10, 1), 0.5)).v[-1]), 4)  # 0.5 (1 - exp(-1))
    0.3161
    """
    start = admitted(neuron, currents, state, dt, generator)
    valid = variables(start)
    for name in record:
        if name not in valid:
            raise ValueError(f"{type(neuron).__name__} has no variable {name!r}; it has: {', '.join(valid)}")

    (spikes, *rows), _ = sequence(neuron, currents, start, dt, record)
    return Trajectory(spikes, dict(zip(record, rows, strict=True)), dt)


def admitted(neuron: Neuron, currents: Tensor, state: Any, dt: float, generator: torch.Generator | None) -> Any:
    """Return the state to start from, after checks of currents, state and dt; torch.compile skips the checks."""
    if torch.compiler.is_compiling():
        return rest(neuron, currents, generator) if state is None else state
    check_currents(neuron, currents, dt)
    return rest(neuron, currents, generator) if state is None else check_state(neuron, state, currents[0])


def check_currents(neuron: Neuron, currents: Tensor, dt: float) -> None:
    """Raise ValueError for invalid currents or dt; warn if dt is too long for the neuron's dynamics."""
    if currents.ndim == 0 or len(currents) == 0:
        raise ValueError(f"currents have shape {tuple(currents.shape)}; wanted [T, ...] with at least one step")
    if not currents.is_floating_point():
        raise ValueError(f"currents have dtype {currents.dtype}; wanted floating point: currents.double()")
    if not dt > 0:
        raise ValueError(f"dt={dt}: give a positive time step in ms")
    transformed = torch._C._are_functorch_transforms_active()  # whose tensors have no readable values
    seen = currents[:1] if currents.stride(0) == 0 else currents  # an expanded current repeats one step
    # A finite sum rules out NaN and infinity in one pass; a sum that overflows needs the second, exact check.
    if not transformed and not torch.isfinite(seen.sum()) and not torch.isfinite(seen).all():
        first = (~torch.isfinite(seen)).nonzero()[0].tolist()
        raise ValueError(f"currents hold {seen[tuple(first)].item()} at {first}; wanted finite numbers in nA")
    check_resolution(neuron, dt)


def check_state(neuron: Neuron, state: Any, current: Tensor) -> Any:
    """Return the state if it fits this neuron and current; raise ValueError otherwise."""
    wanted = neuron.initial_state(current.shape, current)
    if type(state) is not type(wanted):
        raise ValueError(
            f"state is a {type(state).__name__}; {type(neuron).__name__} wants a {type(wanted).__name__}, "
            "as neuron.initial_state(shape, like) gives"
        )
    for name in variables(state):
        value, fitting = getattr(state, name), current.dtype
        if name == "wait" and value.dtype == wide_dtype(current):
            fitting = value.dtype  # steps are counted in float32 at least
        if value.shape != current.shape or value.dtype != fitting:
            raise ValueError(
                f"state.{name} is {value.dtype} of shape {tuple(value.shape)}; the currents want "
                f"{current.dtype} of shape {tuple(current.shape)}"
            )
    return state
