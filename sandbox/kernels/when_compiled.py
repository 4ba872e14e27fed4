"""The kernels under torch.compile, which sees one operator and none of the tracing behind it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rules.spikes.blocks import told
from rules.spikes.surrogate import current_pass
from sandbox.kernels import choice
from sandbox.kernels.launch.backends import refusal
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons.base import Neuron
from sandbox.neurons.stepping import body_of


@dataclass(frozen=True)
class Prepared:
    """What the compiled code needs of a neuron: the key of its kernel, and its constants."""

    constants: Tensor
    key: str


def constant(neuron: Neuron) -> bool:
    """Return whether compiled code may treat the neuron as a constant: it has numbers and one input, and draws none."""
    return not (neuron.draws or neuron.inputs) and not any(isinstance(value, Tensor) for value in vars(neuron).values())


def sequence(
    neuron: Neuron, currents: Tensor, state: Any, dt: float, record: tuple[str, ...], centred: bool
) -> tuple[tuple[Tensor, ...], Any] | None:
    """Return what `attempt` returns, by operations that torch.compile supports."""
    chosen, context = told(choice.GUARDED, choice._CHOICE), current_pass()
    if (chosen is not None and chosen.mode == "plain") or not constant(neuron) or currents.device.type != "cpu":
        return None
    how: tuple[Any, ...] = (True, False, 0)
    if context is not None:
        if (
            context.spike is not None
            or context.generator is not None
            or context.detach_adaptation != context.detach_reset
        ):
            return None
        how = (context.detach_reset, context.smooth, id(context.surrogate))
    present = tuple(value is not None for value in state)
    found = neuron.kernel_when_compiled(prepared, id(neuron), dt, currents.dtype, record, centred, present, how)
    if found is None:
        return None
    if context is not None:
        context.used = True
    steps, shape = currents.shape[0], currents.shape[1:]
    states = [value.reshape(-1) for value in state if value is not None]
    save = torch.is_grad_enabled() and any(t.requires_grad for t in (currents, *states))
    results = torch.ops.sandbox.run(currents.reshape(steps, -1), states, [], [], found.constants, found.key, int(save))
    count = len(record) + 1 + centred
    outputs = tuple(out.reshape(currents.shape) for out in results[:count])
    ends = [end.reshape(shape) for end in results[count : count + len(states)]]
    places = [sum(present[:i]) if there else None for i, there in enumerate(present)]
    return outputs, type(state)(*[None if place is None else ends[place] for place in places])


def prepared(
    neuron: Neuron,
    identity: int,
    dt: float,
    dtype: torch.dtype,
    record: tuple[str, ...],
    centred: bool,
    present: tuple[bool, ...],
    how: tuple[Any, ...],
) -> Prepared | None:
    """Prepare a kernel once, outside of the compiled code; the result is valid for one `identity` and `how`."""
    mode = choice.choice().mode
    if mode == "plain":
        return None
    from sandbox.kernels.launch import batching, registered  # noqa: F401  # the first registers the operators
    from sandbox.kernels.plans import planned

    like = torch.zeros((1,), dtype=dtype)
    state = neuron.initial_state((1,), like)
    given = type(state)(*(like if there else None for there in present))
    try:
        if why := refusal(like.device, mode):
            raise Unsupported(why)
        plan = planned(neuron, partial(body_of, record, centred), (record, centred), dtype, given, dt)
    except Unsupported as reason:
        if mode != "auto":
            raise RuntimeError(f"{type(neuron).__name__} cannot run in a kernel: {reason}") from None
        return None
    return Prepared(plan.constants, registered.register(plan.structure, like.device))
