"""A step with every kind of node, to check back ends against torch."""

from __future__ import annotations

import torch

from rules.spikes.surrogate import Surrogate
from sandbox.kernels.launch import batching, ops, registered  # noqa: F401
from sandbox.kernels.trace.aten import number
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.kinds import CONDITIONS, KINDS
from sandbox.kernels.trace.structure import Structure

TORCH = {
    "fma": lambda a, b, c: (a.double() * b.double() + c.double()).to(a),
    "blend": lambda a, b, c, d: torch.lerp(a, b, c),
    "raised": lambda a, b, c: torch.pow(a, b),
    "larger": torch.maximum,
    "smaller": torch.minimum,
    "mod": torch.remainder,
    "floordiv": torch.floor_divide,
    "stop": lambda a: a,
    "spike": lambda a, b: (a - b >= 0).to(a),
    "strict_spike": lambda a, b: (a - b > 0).to(a),
    "and": torch.logical_and,
    "or": torch.logical_or,
    "not": torch.logical_not,
}  # where torch has another name


def all_kinds():
    """The structure, of the input and two states, and the kind of each of its outputs."""
    graph = Graph()
    values = [graph.input(name) for name in ("x", "s0", "s1")]
    truths = [graph.add("lt", values[0], values[1]), graph.add("ne", values[1], graph.literal(0.3))]
    outputs = {}
    for kind, entry in KINDS.items():
        place = graph.add(kind, *_given(kind, values, truths)[: entry.arity])
        outputs[kind] = number(graph, place) if kind in CONDITIONS else place
    spikes = tuple((outputs[kind], Surrogate("triangle")) for kind in ("spike", "strict_spike"))
    return Structure(graph, 2, 0, 0, tuple(outputs.values()), tuple(values[1:]), spikes), list(outputs)


def _given(kind, values, truths):
    if kind == "where":
        return [truths[0], *values[1:]]
    return truths if kind in ("and", "or", "not") else [*values, values[0]]


def hold_to_torch(dtype, rtol):
    """Every kind in the present mode, on numbers that are not finite too."""
    odd = torch.tensor([0.0, -0.0, 1.0, -1.0, 0.5, torch.inf, -torch.inf, torch.nan], dtype=dtype)
    numbers = torch.randn(80, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    grid = torch.meshgrid(torch.cat([odd, numbers]), torch.cat([odd, numbers[:8]]), indexing="ij")
    a, b = (axis.reshape(-1) for axis in grid)
    c = a.flip(0)
    structure, kinds = all_kinds()
    key = registered.register(structure, a.device)
    found = ops.run(a[None], [b, c], [], [], torch.zeros(0), key, 0)
    for kind, ours in zip(kinds, found, strict=False):
        given = _given(kind, [a, b, c], [a < b, b != 0.3])[: KINDS[kind].arity]
        want = TORCH.get(kind, getattr(torch, kind, None))(*given).to(dtype)
        torch.testing.assert_close(
            ours[0], want, rtol=rtol, atol=rtol, equal_nan=True, msg=lambda m, kind=kind: f"{kind}: {m}"
        )
