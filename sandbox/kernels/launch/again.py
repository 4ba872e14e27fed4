"""The steps of a kernel once more, in torch: for derivatives of derivatives, and for several gradients at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

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
    structure: Structure, tensors: Mapping[str, Tensor], constants: Tensor, errors: Sequence[Tensor | None]
) -> dict[str, Tensor | None]:
    """Return the gradients of the inputs by name, differentiable themselves where gradients are enabled.

    Args:
        structure: of the kernel.
        tensors: its inputs: `x` and draws `[T, M]`, states `[M]`, parameters `[M]` or `()`.
        constants: numbers of the neuron.
        errors: gradients of the outputs `[T, M]` and of the last state `[M]`; None for zero.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        results = ran(structure, tensors, constants)
        pairs = [(r, e) for r, e in zip(results, errors, strict=True) if e is not None and r.requires_grad]
        wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
        found = torch.autograd.grad(
            [r for r, _ in pairs], [*wanted.values()], [e for _, e in pairs], create_graph=again, allow_unused=True
        )
    return dict(zip(wanted, found, strict=True))


def ran(structure: Structure, tensors: Mapping[str, Tensor], constants: Tensor) -> list[Tensor]:
    """Return the outputs `[T, M]` and the last state `[M]`."""
    x, numbers = tensors["x"], dict(zip(structure.graph.constants(), constants.tolist(), strict=True))
    states = [tensors[f"s{i}"] for i in range(structure.states)]
    fixed = {f"p{i}": tensors[f"p{i}"] for i in range(structure.params)}
    order = structure.graph.reach([*structure.outputs, *structure.ends])
    rows = []
    for t in range(len(x)):
        given = fixed | {f"s{i}": state for i, state in enumerate(states)} | {"x": x[t]}
        given |= {f"d{i}": tensors[f"d{i}"][t] for i in range(structure.draws)}
        values = _step(structure.graph, order, given, numbers, dict(structure.spikes), x)
        rows.append([_whole(values[place], x) for place in structure.outputs])
        states = [_whole(values[place], x) for place in structure.ends]
    return [*(torch.stack(column) for column in zip(*rows, strict=True)), *states]


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
