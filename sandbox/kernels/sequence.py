"""A sequence handed to a kernel: what may be handed, the plan for it, and its way in and out of the operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

from rules.spikes.surrogate import current_pass
from sandbox.kernels.choice import choice
from sandbox.kernels.launch.backends import refusal
from sandbox.kernels.trace.kinds import COSTLY
from sandbox.kernels.trace.plan import Body, Plan, plan
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.unsupported import Unsupported
from sandbox.kernels.write.emit import Variant, saved
from sandbox.neurons.dice import GOLDEN, uniform

Result = tuple[tuple[Tensor, ...], Any]
DTYPES = (torch.float32, torch.float64)
TINY = 2**15  # steps times cells under which the plain loop has answered before a kernel is compiled
FEW = 64  # cells that cost the plain loop as much as one
PLANS = 512
CACHE = 2**20  # bytes of states beyond which cheap steps are rather computed again than kept in fresh memory
CHUNK = 2**20  # draws made at once

_PLANS: dict[Any, Plan | Unsupported] = {}


def sequence(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Result:
    """All steps of `body` over currents `[T, ...]` in a kernel; raises Unsupported where the plain loop has to do it.

    `label` names the body: equal labels, equal bodies.
    """
    return run(found_for(neuron, body, label, currents, state, dt), neuron, currents, state)


def found_for(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Plan:
    """The plan for a sequence that a kernel may run; raises Unsupported for any other."""
    admit(currents, state)
    found = planned(neuron, body, label, currents.dtype, state, dt)
    if (context := current_pass()) is not None:
        context.used = context.used or found.used
    return found


def admit(currents: Tensor, state: Any) -> None:
    """Raise Unsupported for what the kernels are not made for."""
    if why := refusal(currents.device, choice().mode):
        raise Unsupported(why)
    context = current_pass()
    if context is not None and context.spike is not None and not context.smooth:
        raise Unsupported("another function makes the spikes of this pass", expected=True)
    if forward_ad._current_level >= 0 or _tangents():
        raise Unsupported("forward-mode differentiation", expected=True)
    if torch._C._get_tracing_state() is not None or torch.is_autocast_enabled(currents.device.type):
        raise Unsupported("torch.jit and autocast see the steps", expected=True)
    if currents.dtype not in DTYPES:
        raise Unsupported(f"currents have dtype {currents.dtype}")
    if currents.ndim == 0 or len(currents) == 0 or not hasattr(state, "_asdict"):
        raise Unsupported("no sequence", expected=True)
    alike = currents.shape[1:], currents.dtype, currents.device
    for name, value in state._asdict().items():
        if name == "key" or value is None:
            continue
        if not isinstance(value, Tensor) or (value.shape, value.dtype, value.device) != alike:
            raise Unsupported(f"state.{name} is unlike the currents", expected=True)


def tiny(currents: Tensor) -> bool:
    """Whether the plain loop is the quicker one, compilation included."""
    cells = currents[0].numel() if len(currents) else 0
    return len(currents) * max(cells, FEW) < TINY


def _tangents() -> bool:
    stack = _functorch.get_interpreter_stack() or []
    return any(each.key() == _functorch.TransformType.Jvp for each in stack)


def planned(neuron: Any, body: Body, label: Any, dtype: torch.dtype, state: Any, dt: float) -> Plan:
    """The plan for a neuron under the present pass, traced at the first use."""
    context = current_pass()
    how = None if context is None else (context.surrogate, context.detach_reset, context.smooth)
    present = tuple(name for name, value in state._asdict().items() if value is not None)
    try:
        key = (type(neuron), identity(neuron), label, dtype, present, type(state), dt, how)
        known = _PLANS.get(key)
    except TypeError:
        raise Unsupported(f"a field of {type(neuron).__name__} cannot be hashed") from None
    if known is None:
        names = tuple(name for name in present if name != "key")
        try:
            known = plan(neuron, body, names, state, dt, dtype)
        except Unsupported as reason:
            known = reason
        if len(_PLANS) >= PLANS:
            _PLANS.clear()
        _PLANS[key] = known
    if isinstance(known, Unsupported):
        raise Unsupported(str(known), known.expected)
    return known


def identity(neuron: Any) -> tuple[Any, ...]:
    """The fields of a neuron as something to look up by; of a learned one only that it is."""
    return tuple(_identity(getattr(neuron, f.name)) for f in fields(neuron))


def _identity(value: Any) -> Any:
    if isinstance(value, Tensor):
        return "learned", value.dtype, value.ndim > 0
    # True, 1 and 1.0 are equal, and so are 0.0 and -0.0, but steps may tell them apart
    return (type(value), repr(value)) if isinstance(value, (int, float)) else value


def run(found: Plan, neuron: Any, currents: Tensor, state: Any) -> Result:
    """Cells in a row, through the operator, and back into shape."""
    from sandbox.kernels.launch import batching, ops, registered, transforms  # noqa: F401  # batching registers itself

    key = registered.register(found.structure, currents.device)
    x, states, params, draws = row = operands(found, neuron, currents, state)
    every = stride_of_memory(found.structure, params, x) if row.differentiated else 0
    operator = ops.run if _functorch.maybe_current_level() is None else transforms.transformed
    results = operator(x, states, params, draws, found.constants, key, every)
    return returned(found, results, currents, state)


class Operands(NamedTuple):
    """What a kernel reads: `x` and draws `[T, M]`, states `[M]`, parameters `[M]` or `()`."""

    x: Tensor
    states: list[Tensor]
    params: list[Tensor]
    draws: list[Tensor]

    @property
    def differentiated(self) -> bool:
        """Whether autograd will come back for one of them."""
        every = (self.x, *self.states, *self.params, *self.draws)
        return torch.is_grad_enabled() and any(t.requires_grad for t in every)


def operands(found: Plan, neuron: Any, currents: Tensor, state: Any) -> Operands:
    """Currents and state with their cells in a row, and what torch computes beforehand."""
    steps, shape, count = len(currents), currents.shape[1:], found.structure.params
    before = found.beforehand(neuron, partial(drawn, state, currents)) if found.boundary else []
    params = [_spread(value, currents) for value in before[:count]]
    draws = [_flat(value.to(currents.dtype).expand(steps, *shape)) for value in before[count:]]
    return Operands(_flat(currents), [getattr(state, name).reshape(-1) for name in found.states], params, draws)


def returned(found: Plan, results: Sequence[Tensor], currents: Tensor, state: Any) -> Result:
    """What a kernel put out and the state it ended in, in the shape of the cells."""
    steps, shape, count = len(currents), currents.shape[1:], len(found.structure.outputs)
    outputs = tuple(out.reshape(steps, *shape) for out in results[:count])
    ends = {name: end.reshape(shape) for name, end in zip(found.states, results[count:], strict=False)}
    if getattr(state, "key", None) is not None:
        ends["key"] = state.key + wrapped(steps * GOLDEN)
    return outputs, state._replace(**ends)


def stride_of_memory(structure: Structure, params: list[Tensor], x: Tensor) -> int:
    """How many steps lie between two states that are kept, so that they fit the memory of `using`."""
    kept = len(saved(structure, Variant(tuple(p.ndim > 0 for p in params), True)))
    cheap = x.device.type == "cpu" and not any(node.kind in COSTLY for node in structure.graph.nodes)
    bound = min(choice().memory, CACHE) if cheap else choice().memory
    if x.numel() * x.element_size() * kept <= bound:
        return 1
    return max(2, math.isqrt(len(x)))


def wrapped(value: int) -> int:
    """A whole number as int64 has it."""
    return (value + 2**63) % 2**64 - 2**63


def _flat(x: Tensor) -> Tensor:
    """`[T, ...]` as `[T, M]`, without a copy of what stands still in time."""
    if len(x) > 1 and x.stride(0) == 0:
        return x[:1].reshape(1, -1).expand(len(x), -1)
    return x.reshape(len(x), -1) if x.numel() else x.reshape(len(x), x[0].numel())


def _spread(value: Tensor, currents: Tensor) -> Tensor:
    """A parameter as one number, or as one for each cell."""
    value, shape = value.to(currents.dtype), currents.shape[1:]
    if value.device != currents.device:
        raise Unsupported(f"a parameter is on {value.device}", expected=True)
    if value.numel() == 1:
        return value.reshape(())
    if torch.broadcast_shapes(value.shape, shape) != shape:
        raise Unsupported(f"a parameter of shape {tuple(value.shape)} for cells of shape {tuple(shape)}", expected=True)
    return value.expand(shape).reshape(-1)


def drawn(state: Any, currents: Tensor, stream: int, dtype: torch.dtype) -> Tensor:
    """The numbers that the plain loop would draw, step by step: `[T, ...]`."""
    like = currents[0].detach().to(dtype)
    steps = torch.arange(len(currents), dtype=torch.int64, device=like.device) * GOLDEN
    keys = (state.key + steps).reshape(-1, *[1] * like.ndim)
    return torch.cat([uniform(some, like, stream) for some in keys.split(max(1, CHUNK // max(1, like.numel())))])
