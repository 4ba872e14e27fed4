"""One step of a neuron, recorded: made-up cells, the marks of spikes, and what a recording cannot show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate, current_pass, differentiating, heaviside
from sandbox.kernels.trace.record import Tape
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons.base import Neuron
from sandbox.neurons.dice import GOLDEN

Body = Callable[[Neuron, Tensor, Any, float], tuple[tuple[Tensor, ...], Any]]  # one step: outputs, next state
Mark = Callable[[Surrogate, Tensor, bool, Tensor | None], Tensor]
KEY = 0x5EED  # of the random numbers while a step is traced
ONE = (1,)  # the shape of a single cell


class Recorded(NamedTuple):
    """A recording of one step, with its operands and results."""

    tape: Tape
    spikes: dict[int, Surrogate]  # of the spikes, by their place
    current: tuple[Tensor, ...]  # of each input
    state: Any
    named: dict[str, int]  # parameters of the neuron, by the place of their values
    outputs: tuple[Tensor, ...]
    ends: tuple[Tensor, ...]
    used: bool  # whether a spike depends on the settings of the pass


def recorded(
    neuron: Neuron,
    body: Body,
    states: tuple[str, ...],
    like: Any,
    dt: float,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    around: AbstractContextManager[Any],
) -> Recorded:
    """Record one step of cells of a shape, inside of another context; raise Unsupported if that cannot show it."""
    tape, spikes = Tape(), dict[int, Surrogate]()
    current, state, traced, named = _operands(tape, neuron, states, like, dtype, shape)
    with _pass_with(_marking(tape, spikes)) as context, around, tape:
        shown, end = body(traced, _given(neuron, current, tape.stack), state, dt)
    _check_end(like, end, states)
    tape.paused = True
    ends = tuple(getattr(end, name) for name in states)
    return Recorded(tape, spikes, current, state, named, tuple(shown), ends, context.used)


def _operands(
    tape: Tape, neuron: Neuron, states: tuple[str, ...], like: Any, dtype: torch.dtype, shape: tuple[int, ...]
) -> tuple[tuple[Tensor, ...], Any, Neuron, dict[str, int]]:
    """Make a current of each input, a state and a neuron of unequal cells, and name them on the tape."""
    current = tuple(_unequal(torch.full(shape, 0.3 + 0.01 * i, dtype=dtype)) for i in range(len(neuron.inputs) or 1))
    for one in current:
        tape.name(one, "step")
    values = {name: _unequal(torch.full(shape, 0.1 + 0.05 * i, dtype=dtype)) for i, name in enumerate(states)}
    for value in values.values():
        tape.name(value, "step")
    if getattr(like, "key", None) is not None:
        values["key"] = torch.tensor(KEY, dtype=torch.int64)
        tape.name(values["key"], "draw")
    learned, named = {}, {}
    for name, value in learned_fields(neuron).items():
        if not value.numel():
            raise Unsupported(f"{name} is a parameter without a value", expected=True)
        first = value.detach().reshape(-1)[0].cpu().clone()
        stand_in = _unequal(first.expand(shape).clone()) if value.ndim else first
        named[name] = tape.name(stand_in, "param").place
        learned[name] = stand_in
    traced = replace(neuron, **learned) if learned else neuron
    return current, like._replace(**values), traced, named


def _given(neuron: Neuron, current: tuple[Tensor, ...], stack: Callable[[Sequence[Tensor]], Tensor]) -> Tensor:
    """Return the current of a neuron with one input, or those of several, stacked."""
    return stack(current) if neuron.inputs else current[0]


def _unequal(x: Tensor) -> Tensor:
    """Change all cells but the first."""
    return x + x * torch.arange(x.numel(), dtype=x.dtype).reshape(x.shape) / 64


def learned_fields(neuron: Neuron) -> dict[str, Tensor]:
    """Return the parameters that are tensors, by name."""
    names = neuron.__dataclass_fields__
    return {name: value for name in names if isinstance(value := getattr(neuron, name), Tensor)}


def _marking(tape: Tape, spikes: dict[int, Surrogate]) -> Mark:
    """Return a function that records a spike as one operation."""

    def marked(surrogate: Surrogate, u: Tensor, strict: bool, noise: Tensor | None) -> Tensor:
        if surrogate.shape.stochastic:
            raise Unsupported(f"{surrogate} draws random numbers in the backward pass", expected=True)
        tape.paused = True
        value = heaviside(u.detach(), strict, noise)
        tape.paused = False
        made = tape.mark("strict_spike" if strict else "spike", value, u, noise)
        spikes[tape.places[id(made)]] = surrogate
        return made

    return marked


def _pass_with(spike: Mark) -> Any:
    """Return the pass of the caller, with another function for spikes."""
    context = current_pass()
    if context is None:
        return differentiating(spike=spike)
    asked = (context.surrogate, context.detach_reset, context.smooth, context.generator, spike)
    return differentiating(*asked, detach_adaptation=context.detach_adaptation)


def _check_end(like: Any, end: Any, states: tuple[str, ...]) -> None:
    if type(end) is not type(like):
        raise Unsupported(f"a step turns a {type(like).__name__} into a {type(end).__name__}")
    kept = [name for name, value in end._asdict().items() if value is not None and name != "key"]
    if kept != list(states):
        raise Unsupported(f"a step turns a state of {', '.join(states)} into one of {', '.join(kept)}", expected=True)
    if getattr(end, "key", None) is not None and int(end.key) != KEY + GOLDEN:
        raise Unsupported("the key of the random draws does not follow sandbox.neurons.dice.following")


def check_functions(
    neuron: Neuron, body: Body, states: tuple[str, ...], like: Any, dt: float, dtype: torch.dtype
) -> None:
    """Raise Unsupported for a step with an autograd function of its own, whose backward pass a tape does not see."""
    silent = differentiating(spike=lambda surrogate, u, strict, noise: heaviside(u.detach(), strict, noise))
    current, state, traced, _ = _operands(Tape(), neuron, states, like, dtype, ONE)
    values = [*current, *(getattr(state, name) for name in states), *learned_fields(traced).values()]
    with torch.enable_grad(), silent:
        for value in values:
            if value.is_floating_point():
                value.requires_grad_()
        shown, end = body(traced, _given(neuron, current, lambda parts: torch.stack(list(parts), -1)), state, dt)
    waiting = [value.grad_fn for value in (*shown, *(getattr(end, name) for name in states))]
    seen: set[Any] = set()
    while waiting:
        function = waiting.pop()
        if function is None or function in seen:
            continue
        seen.add(function)
        if isinstance(function, torch.autograd.function.BackwardCFunction):
            raise Unsupported(f"the step uses the autograd function {type(function).__name__.removesuffix('Backward')}")
        waiting.extend(edge for edge, _ in function.next_functions)
