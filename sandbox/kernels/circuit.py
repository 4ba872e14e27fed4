"""Circuits in a kernel: which are supported, the plans of their step, and the tensors around the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch

from rules.spikes.surrogate import Differentiation, current_pass, differentiating
from sandbox.events import Events
from sandbox.kernels.attempt import left
from sandbox.kernels.choice import choice
from sandbox.kernels.unsupported import Unsupported, or_plain

Found = tuple[Events, Tensor | None, list[Tensor]]
Plain = Callable[[Sequence["Wire"], Tensor, Any], tuple[Tensor, list[Tensor]]]


class Wire(NamedTuple):
    """A connection in indices of cells and steps."""

    port: int  # number of the variable that its spikes add to, in `Bodies.targets`
    weight: Tensor  # [synapses], sorted by presynaptic cell, or [post, pre] if dense
    delay: int | Tensor  # in steps; one for each synapse is [synapses]
    edges: tuple[Tensor, Tensor] | None = None  # presynaptic and postsynaptic cells [synapses]; None if dense
    offsets: tuple[int, int] = (0, 0)  # dense: the first postsynaptic and presynaptic cell

    @property
    def longest(self) -> int:
        """The longest delay in steps."""
        if isinstance(self.delay, Tensor):
            return int(self.delay.max()) if len(self.delay) else 0
        return self.delay

    @property
    def places(self) -> tuple[slice, slice]:
        """Of dense weights: the postsynaptic and the presynaptic cells."""
        post, pre = self.offsets
        return slice(post, post + self.weight.shape[0]), slice(pre, pre + self.weight.shape[1])


class Bodies(NamedTuple):
    """The equations of a step, `body(neuron, current, state, dt)`, and the variables that spikes add to."""

    label: Any  # equal labels mean equal bodies
    threshold: Callable[..., Any]
    reset: Callable[..., Any]  # its current are the spikes
    whole: Callable[..., Any]  # both in turn, with nothing between them
    targets: tuple[str, ...]  # of the ports


def attempt(
    neuron: Any,
    bodies: Bodies,
    wires: Sequence[Wire],
    currents: Tensor,
    state: Any,
    dt: float,
    record: tuple[str, ...],
    spikes: bool,
    plain: Plain,
) -> Found | None:
    """Run a circuit in a compiled loop; None if the plain one has to run.

    Args:
        neuron: of all cells.
        bodies: the equations of a step.
        wires: the connections.
        currents: `[T, B, n]`.
        state: of cells and synapses, `[B, n]`.
        dt: time step [ms].
        record: variables to record.
        spikes: whether spikes are wanted as an array, too.
        plain: the plain loop, for gradients that are differentiated again or of several errors at once: connections,
            currents and state to spikes and recorded variables.

    Returns: Events, spikes `[T, B, n]` if they are wanted, and the recorded variables `[T, B, n]`.

    Raises:
        RuntimeError: if a kernel is required but cannot run; the message names the reason.
    """
    if left(currents):
        return None
    given = neuron, bodies, wires, currents, state, dt, record, spikes, plain
    return or_plain(neuron, lambda: _run(*given), lambda: None)


def _run(
    neuron: Any,
    bodies: Bodies,
    wires: Sequence[Wire],
    currents: Tensor,
    state: Any,
    dt: float,
    record: tuple[str, ...],
    spikes: bool,
    plain: Plain,
) -> Found:
    from sandbox.kernels.launch import circuit_call, circuit_loop, registered
    from sandbox.kernels.sequence import found_for, operands

    _admit(currents)
    first, second = _plans(neuron, bodies, currents, state, dt, found_for)
    row = operands(first, neuron, currents, state)
    steps = [circuit_call.Step(registered.register(first.structure, currents.device), first.constants, row.params)]
    if second is not None:
        apart = operands(second, neuron, currents, state)
        key = registered.register(second.structure, currents.device)
        steps.append(circuit_call.Step(key, second.constants, apart.params))
    if any(t.requires_grad for step in steps for t in step.params) or any(t.requires_grad for t in row.draws):
        raise Unsupported("a parameter of the neuron is learned", expected=True)
    cells = currents.shape[-1]
    places = [first.states.index(name) for name in bodies.targets]
    call = circuit_call.Call(
        steps[0],
        steps[1] if second is not None else None,
        row.draws,
        [_cable(wire, places[wire.port], cells) for wire in wires],
        tuple(first.states.index(name) for name in record),
        cells,
        [],
        _repeated(plain, wires, currents.shape, state, first.states),
    )
    weights = [wire.weight for wire in wires]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (row.x, *row.states, *weights))
    save = save and (spikes or bool(record))
    found = circuit_loop.Run.apply(call, spikes, save, row.x, *row.states, *weights)  # type: ignore[no-untyped-call]
    shaped = [each.reshape(currents.shape) for each in found]
    events = _events(call.events, circuit_loop.steps_of, currents, dt)
    return events, shaped[0] if spikes else None, shaped[1:] if spikes else shaped


def _repeated(plain: Plain, wires: Sequence[Wire], shape: Sequence[int], state: Any, names: Sequence[str]) -> Any:
    """Return the plain loop in the shapes of the kernel, under the present pass, from other values of `state`."""
    now = current_pass() or Differentiation()
    how = (now.surrogate, now.detach_reset, False, now.generator, now.spike)

    def again(x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        given = [wire._replace(weight=weight) for wire, weight in zip(wires, weights, strict=True)]
        start = state._replace(**{name: each.reshape(shape[1:]) for name, each in zip(names, states, strict=True)})
        with differentiating(*how, detach_adaptation=now.detach_adaptation):
            spikes, recorded = plain(given, x.reshape(shape), start)
        return [each.reshape(x.shape) for each in (spikes, *recorded)]

    return again


def _admit(currents: Tensor) -> None:
    """Raise Unsupported where the loop cannot run, apart from what is refused for every sequence."""
    context = current_pass()
    if context is not None and context.smooth:
        raise Unsupported("a smooth pass has no spikes", expected=True)
    if _functorch.maybe_current_level() is not None:
        raise Unsupported("a transform of torch.func", expected=True)
    if currents.device.type != "cpu" or choice().mode == "triton":
        raise Unsupported("Triton has no kernel for circuits", expected=True)
    if not currents.numel():
        raise Unsupported("there are no cells", expected=True)


def _plans(neuron: Any, bodies: Bodies, currents: Tensor, state: Any, dt: float, found_for: Any) -> tuple[Any, Any]:
    """Return the plans of a step: one for all of it, or threshold and reset if spikes arrive at what the reset sees."""
    reset = found_for(neuron, bodies.reset, (bodies.label, "reset"), currents, state, dt)
    if all(_aside(reset, name) for name in bodies.targets):
        return found_for(neuron, bodies.whole, (bodies.label, "whole"), currents, state, dt), None
    if reset.structure.draws:
        raise Unsupported("its reset draws random numbers, and spikes arrive between threshold and reset")
    return found_for(neuron, bodies.threshold, (bodies.label, "threshold"), currents, state, dt), reset


def _aside(reset: Any, name: str) -> bool:
    """Return whether the reset neither changes nor reads a variable."""
    number = reset.states.index(name)
    graph, ends = reset.structure.graph, reset.structure.ends
    place = graph.input(f"s{number}")
    others = [end for i, end in enumerate(ends) if i != number]
    return ends[number] == place and place not in graph.reach(others)


def _cable(wire: Wire, target: int, cells: int) -> Any:
    from sandbox.kernels.launch.circuit_call import Cable
    from sandbox.synapses.pattern import starts

    if wire.edges is None:
        post_cells, pre_cells = (range(each.start, each.stop) for each in wire.places)
        return Cable(target, int(wire.delay), wire.longest, places=(post_cells, pre_cells))
    pre, post = wire.edges
    if not isinstance(wire.delay, Tensor):
        return Cable(target, wire.delay, wire.longest, starts(pre, cells), post.int())
    if (wire.longest + 1) * cells >= 2**31:
        raise Unsupported(f"delays of {wire.longest} steps in {cells} cells are more than an index counts")
    return Cable(target, None, wire.longest, starts(pre, cells), (wire.delay * cells + post).int())


def _events(
    samples: Sequence[tuple[Tensor, Tensor]], steps_of: Callable[[Tensor], Tensor], like: Tensor, dt: float
) -> Events:
    """Return the events of all samples in currents `[T, B, n]`."""
    sizes = torch.tensor([len(fired) for _, fired in samples])
    sample = torch.repeat_interleave(torch.arange(len(samples)), sizes)
    step = torch.cat([steps_of(rows) for rows, _ in samples])
    cell = sample * like.shape[-1] + torch.cat([fired for _, fired in samples])
    return Events.of_pairs(step, cell, len(like), like.shape[1:], dt)
