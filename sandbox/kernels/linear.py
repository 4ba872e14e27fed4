"""Neurons that are linear in one state, with all steps at once, if no kernel runs: v[t] = a v[t-1] + b(x[t]).

The traced graph shows whether a step has this form, with an `a` that is constant in time. The neuron's own step
computes everything else, called once on the whole sequence. Torch can differentiate it twice or more, on any device.

On a CPU a kernel is faster than this, and for thousands of cells so is the loop: a leaky integrator is one operation
per step, which is hard to beat.

Reference: Blelloch 1990, Prefix sums and their applications (CMU-CS-90-190), section 1.4; the doubling is that of
Hillis & Steele 1986, Data parallel algorithms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sandbox.kernels.plans import planned
from sandbox.kernels.sequence import Result
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.plan import Plan
from sandbox.kernels.trace.step import Body
from sandbox.kernels.unsupported import Unsupported
from sandbox.machine.compiled import absent

Value = Any  # a number, or a learned parameter that broadcasts against the cells
BLOCK = 32  # steps that one product covers
CELLS = 2**12  # on a CPU; for more, a loop with one pass through memory per step is faster


class Line(NamedTuple):
    """A node as a function of the state: its slope, and its value if that is constant in time, else None."""

    slope: Value = 0.0
    value: Value = None


def attempt(neuron: Any, body: Body, label: Any, currents: Tensor, state: Any, dt: float) -> Result | None:
    """Run all steps at once; return None if the step is not linear, or if another loop is faster."""
    if not worth_it(currents) or currents.dtype not in (torch.float32, torch.float64):
        return None
    if torch._C._get_tracing_state() is not None or torch.is_autocast_enabled(currents.device.type):
        return None
    try:
        found = planned(neuron, body, label, currents.dtype, state, dt)
        a = factor(found, neuron)
    except Unsupported:
        return None
    return at_once(neuron, body, found.states[0], a, currents, state, dt)


def worth_it(currents: Tensor) -> bool:
    """Return whether there is no kernel, and starting an operation takes longer than its arithmetic."""
    if len(currents) < BLOCK:
        return False
    return currents.device.type != "cpu" or (absent() is not None and currents[0].numel() <= CELLS)


def at_once(neuron: Any, body: Body, name: str, a: Value, currents: Tensor, state: Any, dt: float) -> Result:
    """Return what the loop over `body` returns, for a step whose state `name` has the slope `a`."""
    start = getattr(state, name)
    _, silent = body(neuron, currents, state._replace(**{name: torch.zeros_like(currents)}), dt)
    slope = torch.as_tensor(a, dtype=currents.dtype, device=currents.device)
    v = recurrence(slope, getattr(silent, name), start)
    before = torch.cat([start[None], v[:-1]])
    shown, _ = body(neuron, currents, state._replace(**{name: before}), dt)
    return shown, state._replace(**{name: v[-1]})


def recurrence(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """Return v with `v[t] = a v[t-1] + b[t]`, for b `[T, ...]`, `v[-1] = start` `[...]` and an `a` broadcast to it.

    >>> recurrence(torch.tensor(0.5), torch.ones(3), torch.tensor(2.0))
    tensor([2., 2., 2.])
    """
    if a.numel() > 1:
        return _doubled(a, torch.cat([(b[0] + a * start)[None], b[1:]]))
    return _by_blocks(a.reshape(()), b.reshape(len(b), -1), start.reshape(-1)).reshape(b.shape)


def _by_blocks(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """Solve each block of steps by one product, and the values passed between blocks recursively; b is [T, M]."""
    width = min(BLOCK, len(b))
    i = torch.arange(width, device=b.device)
    weights = (a ** (i[:, None] - i).clamp(min=0).to(b)).tril()  # [to, from]
    fading = (a ** (i + 1).to(b))[:, None]
    if len(b) <= BLOCK:
        return weights @ b + fading * start
    count = -(-len(b) // BLOCK)
    filled = torch.cat([b, b.new_zeros(count * BLOCK - len(b), b.shape[1])]).reshape(count, BLOCK, -1)
    within = weights @ filled
    ends = _by_blocks(a**BLOCK, within[:, -1], start)
    handed = torch.cat([start[None], ends[:-1]])[:, None]
    return (within + fading * handed).reshape(count * BLOCK, -1)[: len(b)]


def _doubled(a: Tensor, b: Tensor) -> Tensor:
    """Sum over 2, 4, 8 ... steps, for cells that have their own `a` each."""
    reach = 1
    while reach < len(b):
        b = torch.cat([b[:reach], b[reach:] + a * b[:-reach]])
        a, reach = a * a, 2 * reach
    return b


def factor(found: Plan, neuron: Any) -> Value:
    """Return the `a` of a plan; raise Unsupported for a step that is not linear in a single state."""
    structure = found.structure
    if structure.states != 1 or structure.spikes or structure.draws:
        raise Unsupported("the step has several states, spikes or random draws", expected=True)
    params = found.beforehand(neuron, lambda stream, dtype: torch.empty(0)) if found.boundary else []
    lines: list[Line] = []
    for place in range(structure.ends[0] + 1):
        lines.append(_line(structure.graph, place, lines, params))
    slope = lines[structure.ends[0]].slope
    if slope is None:
        raise Unsupported("the step is not linear in its state", expected=True)
    return slope


def _line(graph: Graph, place: int, lines: list[Line], params: list[Tensor]) -> Line:
    node = graph.nodes[place]
    if node.kind in ("constant", "literal"):
        return Line(value=float(node.what))
    if node.kind == "input":
        return Line(value=params[int(node.what[1:])]) if node.what[0] == "p" else Line(float(node.what == "s0"))
    args = [lines[arg] for arg in node.args]
    if all(_still(arg.slope) for arg in args):
        return Line(value=_value(node.kind, [arg.value for arg in args]))
    return Line(_slope(node.kind, args))


def _still(slope: Value) -> bool:
    return isinstance(slope, float) and slope == 0.0


def _value(kind: str, known: list[Value]) -> Value:
    """Return the value of a node that does not depend on the state, for the few kinds that occur in a factor."""
    if any(value is None for value in known):
        return None
    a, b = (*known, None)[:2]
    match kind:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "div":
            return a / b
        case "neg":
            return -a
    return None


def _slope(kind: str, args: list[Line]) -> Value:
    """Return the slope of a node by the rules of differentiation; None if it depends on the state or on time."""
    if any(arg.slope is None for arg in args):
        return None
    a, b, c = (*args, Line(), Line())[:3]
    match kind:
        case "add":
            return a.slope + b.slope
        case "sub":
            return a.slope - b.slope
        case "neg":
            return -a.slope
        case "mul":
            return _times(a, b)
        case "div":
            return a.slope / b.value if _still(b.slope) and b.value is not None else None
        case "fma":  # a b + c
            product = _times(a, b)
            return None if product is None else product + c.slope
        case "lerp" | "blend" if _still(c.slope) and c.value is not None:  # a + c (b - a)
            return a.slope * (1 - c.value) + b.slope * c.value
    return None


def _times(a: Line, b: Line) -> Value:
    for one, other in ((a, b), (b, a)):
        if _still(other.slope) and (_still(one.slope) or other.value is not None):
            return 0.0 if _still(one.slope) else one.slope * other.value
    return None
