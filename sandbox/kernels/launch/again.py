"""The steps of a kernel once more, in torch: for derivatives of derivatives, and for several gradients at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.spikes.surrogate import Spike, Surrogate
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.structure import Structure

NAMES: dict[str, Callable[..., Any]] = {
    "mod": torch.remainder,
    "floordiv": torch.floor_divide,
    "raised": lambda a, b, c: torch.pow(a, b),
    "blend": lambda a, b, c, d: torch.lerp(a, b, c),
    "fma": lambda a, b, c: a * b + c,
    "maximum": lambda a, b: torch.clamp(a, min=b),
    "minimum": lambda a, b: torch.clamp(a, max=b),
    "larger": torch.maximum,
    "smaller": torch.minimum,
    "stop": torch.detach,
    "and": torch.logical_and,
    "or": torch.logical_or,
    "not": torch.logical_not,
}  # where torch has another name, or computes something else under the same
SCALARS = {"blend": 2, "raised": 1}  # kinds whose arguments from here on stay numbers in float64


def gradients(
    structure: Structure,
    tensors: Mapping[str, Tensor],
    constants: Tensor,
    errors: Sequence[Tensor | None],
    totals: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor | None]:
    """Return the gradients of the inputs by name, differentiable themselves where gradients are enabled.

    Args:
        structure: of the kernel.
        tensors: its inputs: `x` and draws `[T, M]`, states `[M]`, parameters `[M]` or `()`; of recurrent cells also
            `last` `[..., N]`, and of each input a weight `weight0` `[N, N]` and, if there is one, a bias `bias0` `[N]`.
        constants: numbers of the neuron.
        errors: gradients of the outputs `[T, M]` and of the last state `[M]`; None for zero.
        totals: of recurrent cells, the currents with the recurrent input `[T, M]`, by the name of the input, whose own
            values are not read.
    """
    return differentiated(lambda: ran(structure, tensors, constants, totals or {}), tensors, errors)


def differentiated(
    again: Callable[[], Sequence[Tensor]], tensors: Mapping[str, Tensor], errors: Sequence[Tensor | None]
) -> dict[str, Tensor | None]:
    """Return the gradients of what `again` returns for tensors by name; they can be differentiated if gradients can."""
    twice = torch.is_grad_enabled()
    with torch.enable_grad():
        results = again()
        pairs = [(r, e) for r, e in zip(results, errors, strict=True) if e is not None and r.requires_grad]
        wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        found = torch.autograd.grad(
            [r for r, _ in pairs], [*wanted.values()], [e for _, e in pairs], create_graph=twice, allow_unused=True
        )
    return dict(zip(wanted, found, strict=True))


def ran(
    structure: Structure, tensors: Mapping[str, Tensor], constants: Tensor, totals: Mapping[str, Tensor]
) -> list[Tensor]:
    """Return the outputs `[T, M]` and the last state `[M]`."""
    x, numbers = tensors["x"], dict(zip(structure.graph.constants(), constants.tolist(), strict=True))
    states = [tensors[f"s{i}"] for i in range(structure.states)]
    fixed = {f"p{i}": tensors[f"p{i}"] for i in range(structure.params)}
    order = structure.graph.reach([*structure.outputs, *structure.ends])
    rows: list[list[Tensor]] = []
    for t in range(len(x)):
        given = fixed | {f"s{i}": state for i, state in enumerate(states)} | {"x": x[t]}
        given |= {f"d{i}": tensors[f"d{i}"][t] for i in range(structure.draws)}
        for i, (name, total) in enumerate(totals.items()):
            heard = rows[-1][0] if rows else tensors["last"]
            given[name] = _fed(total[t], given[name], heard, tensors[f"weight{i}"], tensors.get(f"bias{i}"))
        values = _step(structure.graph, order, given, numbers, dict(structure.spikes), x)
        rows.append([_whole(values[place], x) for place in structure.outputs])
        states = [_whole(values[place], x) for place in structure.ends]
    return [*(torch.stack(column) for column in zip(*rows, strict=True)), *states]


def _fed(total: Tensor, x: Tensor, heard: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return a current with the recurrent input, whose value is known and whose derivatives are those of the sum."""
    recurrent = F.linear(heard.reshape(-1, len(weight)), weight, bias)
    known: Tensor = Known.apply(total, x, recurrent.reshape(-1))  # type: ignore[no-untyped-call]
    return known


class Known(torch.autograd.Function):
    """A sum of two tensors that has been computed already."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return total.clone()

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[None, Tensor, Tensor]:
        return None, error, error


class Place(torch.autograd.Function):
    """A tensor without its values: its place in a graph, in the memory of one number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.new_zeros(()).expand(x.shape)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        return error


def place(x: Tensor) -> Tensor:
    """Return `x` without its values, for gradients with respect to it in a later pass."""
    with torch.enable_grad():
        found: Tensor = Place.apply(x)  # type: ignore[no-untyped-call]
    return found


def unchanged(first: Sequence[tuple[Tensor, int]]) -> list[Tensor]:
    """Return first states by their versions; raise RuntimeError if one was changed in place since."""
    if any(state._version != version for state, version in first):
        raise RuntimeError("a first state was changed in place before its second derivative: pass state.v.clone()")
    return [state for state, _ in first]


def _step(
    graph: Graph,
    order: Sequence[int],
    given: Mapping[str, Tensor],
    numbers: Mapping[Any, float],
    spikes: Mapping[int, Surrogate],
    like: Tensor,
) -> dict[int, Any]:
    """Return the value of each node."""
    values: dict[int, Any] = {}
    for place in order:
        node = graph.nodes[place]
        args = [values[arg] for arg in node.args]
        if node.kind == "input":
            values[place] = given[node.what]
        elif node.kind in ("constant", "literal"):
            values[place] = numbers[node.what] if node.kind == "constant" else float(node.what)
        elif node.kind in ("spike", "strict_spike"):
            u, noise = (_tensor(arg, like) for arg in args)
            values[place] = Spike.apply(u, node.kind == "strict_spike", spikes[place].grad, noise)  # type: ignore[no-untyped-call]
        else:
            kept = SCALARS.get(node.kind, len(args))
            args = [*(_tensor(arg, like) for arg in args[:kept]), *args[kept:]]
            values[place] = function_of(node.kind)(*args)
    return values


def function_of(kind: str) -> Callable[..., Any]:
    """Return the function of torch for a kind of node."""
    found: Callable[..., Any] = NAMES[kind] if kind in NAMES else getattr(torch, kind)
    return found


def _tensor(value: Any, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((), value, dtype=like.dtype, device=like.device)


def _whole(value: Any, x: Tensor) -> Tensor:
    """Return a value of all cells `[M]`."""
    return _tensor(value, x).expand(x.shape[1:])
