"""Run a sequence in a kernel: which sequences are supported, their plan, and the reshaping around the operator."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._C import _functorch
from torch.autograd import forward_ad

from rules.spikes.surrogate import current_pass
from sandbox.kernels import history
from sandbox.kernels.choice import choice
from sandbox.kernels.launch.backends import refusal
from sandbox.kernels.plans import key_of, known, planned
from sandbox.kernels.trace.plan import Plan
from sandbox.kernels.trace.step import Body
from sandbox.kernels.trace.structure import Structure
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons.dice import GOLDEN, uniform

Result = tuple[tuple[Tensor, ...], Any]
DTYPES = (torch.float32, torch.float64)
TINY = 2**15  # steps times cells below which the plain loop ends before a kernel is compiled
SOME, MANY = 4, 64  # steps below which the plain loop is faster: of any cell, and of one with a single operation a step
LARGE = 2**18  # currents above which a kernel is faster from the first step on
FEW = 64  # cells that take the plain loop as long as one does
CACHE = 2**20  # bytes of states above which computing cheap steps again is faster than keeping them in new memory
CHUNK = 2**20  # numbers drawn at once


def sequence(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Result:
    """Run all steps of `body` over currents `[T, ...]` in a kernel.

    `label` identifies the body, because plans are stored by it: equal labels must mean equal bodies.

    Raises:
        Unsupported: if the plain loop has to run.
    """
    currents, others = divided(neuron, currents)
    found = found_for(neuron, body, label, currents, state, dt)
    if choice().mode == "auto" and slower(found, currents):
        raise Unsupported("the plain loop is faster", expected=True)
    return run(found, neuron, currents, state, others)


def divided(neuron: Any, currents: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the currents of the first input, and of the others."""
    if not neuron.inputs:
        return currents, ()
    neuron.driven(currents[0])
    first, *others = currents.unbind(-1)
    return first, tuple(others)


def found_for(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Plan:
    """Return the plan for a sequence; raise Unsupported if no kernel can run it."""
    admit(currents, state)
    found = planned(neuron, body, label, currents.dtype, state, dt)
    if (context := current_pass()) is not None:
        context.used = context.used or found.used
    return found


def admit(currents: Tensor, state: Any) -> None:
    """Raise Unsupported for currents, states or contexts that the kernels do not support."""
    if why := refusal(currents.device, choice().mode):
        raise Unsupported(why)
    context = current_pass()
    if context is not None and context.spike is not None and not context.smooth:
        raise Unsupported("another function computes the spikes of this pass", expected=True)
    if forward_ad._current_level >= 0 or _transforms("Jvp"):
        raise Unsupported("forward-mode differentiation", expected=True)
    if _transforms("Grad") > 1:
        raise Unsupported("gradients of gradients of torch.func", expected=True)
    if torch._C._get_tracing_state() is not None or torch.is_autocast_enabled(currents.device.type):
        raise Unsupported("torch.jit and autocast see the steps", expected=True)
    if currents.dtype not in DTYPES:
        raise Unsupported(f"currents have dtype {currents.dtype}")
    if currents.ndim == 0 or len(currents) == 0 or not hasattr(state, "_asdict"):
        raise Unsupported("not a sequence with at least one step", expected=True)
    alike = currents.shape[1:], currents.dtype, currents.device
    for name, value in state._asdict().items():
        if name == "key" or value is None:
            continue
        if not isinstance(value, Tensor) or (value.shape, value.dtype, value.device) != alike:
            raise Unsupported(f"state.{name} differs from the currents in shape, dtype or device", expected=True)


def tiny(currents: Tensor, times: float = 1.0) -> bool:
    """Return whether the plain loop, of so many times its usual length, is faster than a kernel with compilation."""
    cells = currents[0].numel() if len(currents) else 0
    return times * len(currents) * max(cells, FEW) < TINY


def _transforms(kind: str) -> int:
    """Return how many transforms of torch.func of a kind there are around."""
    stack = _functorch.get_interpreter_stack() or []
    return sum(each.key() == getattr(_functorch.TransformType, kind) for each in stack)


def slower(found: Plan, currents: Tensor) -> bool:
    """Return whether the plain loop is faster than a kernel that is compiled: for single operations, and few steps."""
    steps = len(currents)
    if found.structure.operations < 2:
        return steps < MANY
    return steps < SOME and currents.numel() < LARGE


def earned(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> bool:
    """Return whether the calls of this process have earned a kernel for a short sequence of few cells."""
    if len(currents) < SOME:
        return False
    work = len(currents) * max(currents[0].numel(), FEW)
    if not history.counted(type(neuron), work):
        return False
    try:
        currents, _ = divided(neuron, currents)
        admit(currents, state)
        key = key_of(neuron, label, currents.dtype, state, dt)
        total, plan = history.counted_plan(key, work), known(key)
        if plan is None and total < history.CASUAL:
            return False
        found = plan if isinstance(plan, Plan) else planned(neuron, body, label, currents.dtype, state, dt)
    except Unsupported:
        return False
    if total * found.structure.operations >= history.EARNED:
        return True
    return history.ready(found.structure.key, currents.dtype, history.differentiated(currents, state))


def run(found: Plan, neuron: Any, currents: Tensor, state: Any, others: Sequence[Tensor] = ()) -> Result:
    """Flatten the cells, call the operator, and restore their shape."""
    from sandbox.kernels.launch import batching, ops, registered, transforms  # noqa: F401  # batching registers itself

    key = registered.register(found.structure, currents.device)
    x, states, params, draws = row = operands(found, neuron, currents, state, others)
    every = stride_of_memory(found.structure, x) if row.differentiated else 0
    transformed = _functorch.maybe_current_level() is not None
    if transformed and torch.is_grad_enabled() and any(map(outside, (x, *states, *params, *draws))):
        raise Unsupported("a gradient is wanted from outside of a transform of torch.func", expected=True)
    operator = transforms.transformed if transformed else ops.run
    results = operator(x, states, params, draws, found.constants, key, every)
    history.ran(type(neuron), found.structure.key, x.dtype, row.differentiated)
    return returned(found, results, currents, state)


class Operands(NamedTuple):
    """The inputs of a kernel: `x`, currents of other inputs, draws `[T, M]`; states `[M]`; parameters `[M]` or `()`."""

    x: Tensor
    states: list[Tensor]
    params: list[Tensor]
    draws: list[Tensor]

    @property
    def differentiated(self) -> bool:
        """Whether autograd needs a gradient of one of them."""
        every = (self.x, *self.states, *self.params, *self.draws)
        return torch.is_grad_enabled() and any(t.requires_grad for t in every)


def outside(x: Tensor) -> bool:
    """Return whether a gradient is wanted for what a transform of torch.func made `x` of."""
    while _functorch.is_functorch_wrapped_tensor(x):
        x = _functorch.get_unwrapped(x)
    return x.requires_grad


def operands(found: Plan, neuron: Any, currents: Tensor, state: Any, others: Sequence[Tensor] = ()) -> Operands:
    """Return currents and states with flattened cells, and the values that torch computes beforehand."""
    steps, shape, count = len(currents), currents.shape[1:], found.structure.params
    before = found.beforehand(neuron, partial(drawn, state, currents)) if found.boundary else []
    params = [_spread(value, currents) for value in before[:count]]
    draws = [_flat(value) for value in others]
    draws += [_flat(value.to(currents.dtype).expand(steps, *shape)) for value in before[count:]]
    return Operands(_flat(currents), [getattr(state, name).reshape(-1) for name in found.states], params, draws)


def returned(found: Plan, results: Sequence[Tensor], currents: Tensor, state: Any) -> Result:
    """Return the outputs and the last state of a kernel, in the shape of the cells."""
    count = len(found.structure.outputs)
    outputs = tuple(out.reshape(currents.shape) for out in results[:count])
    return outputs, ended(found, results[count:], currents, state)


def ended(found: Plan, last: Sequence[Tensor], currents: Tensor, state: Any) -> Any:
    """Return the last state, from its variables `[M]`."""
    ends = {name: end.reshape(currents.shape[1:]) for name, end in zip(found.states, last, strict=False)}
    if getattr(state, "key", None) is not None:
        ends["key"] = state.key + wrapped(len(currents) * GOLDEN)
    return state._replace(**ends)


def stride_of_memory(structure: Structure, x: Tensor) -> int:
    """Return the number of steps between two states that are kept, so that they fit the memory of `using`."""
    cheap = x.device.type == "cpu" and not structure.is_costly
    bound = min(choice().memory, CACHE) if cheap else choice().memory
    if x.numel() * x.element_size() * len(structure.read_back) <= bound:
        return 1
    return max(2, math.isqrt(len(x)))


def wrapped(value: int) -> int:
    """Return an integer with the overflow of int64."""
    return (value + 2**63) % 2**64 - 2**63


def _flat(x: Tensor) -> Tensor:
    """Reshape `[T, ...]` to `[T, M]`; an input that is constant in time (stride 0) is not copied.

    One that requires a gradient has one for each step, all the same, so it is not reduced to its first row.
    """
    if len(x) > 1 and x.stride(0) == 0 and not x.requires_grad:
        return x[:1].reshape(1, -1).expand(len(x), -1)
    return x.reshape(len(x), -1) if x.numel() else x.reshape(len(x), x[0].numel())


def _spread(value: Tensor, currents: Tensor) -> Tensor:
    """Return a parameter as one number `()`, or as one for each cell `[M]`."""
    value, shape = value.to(currents.dtype), currents.shape[1:]
    if value.device != currents.device:
        raise Unsupported(f"a parameter is on {value.device}", expected=True)
    if value.numel() == 1:
        return value.reshape(())
    if torch.broadcast_shapes(value.shape, shape) != shape:
        raise Unsupported(f"a parameter of shape {tuple(value.shape)} for cells of shape {tuple(shape)}", expected=True)
    return value.expand(shape).reshape(-1)


def drawn(state: Any, currents: Tensor, stream: int, dtype: torch.dtype) -> Tensor:
    """Return the numbers that the plain loop would draw, step by step: `[T, ...]`."""
    like = currents[0].detach().to(dtype)
    steps = torch.arange(len(currents), dtype=torch.int64, device=like.device) * GOLDEN
    keys = (state.key + steps).reshape(-1, *[1] * like.ndim)
    return torch.cat([uniform(some, like, stream) for some in keys.split(max(1, CHUNK // max(1, like.numel())))])
