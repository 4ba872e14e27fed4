"""From the rows of a tape to the nodes of a graph: only whitelisted operations are translated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rules.spikes.surrogate import Surrogate
from sandbox.kernels.trace.aten import ATEN, number
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.record import Ref, Row, Tape, alone
from sandbox.kernels.unsupported import Unsupported

OPTIONS = ("alpha", "dtype", "rounding_mode", "value")  # that are no operands
IGNORED = ("layout", "device", "pin_memory", "memory_format", "non_blocking")  # options that do not change values


class Writing:
    """Translates the rows of a tape into a graph, starting from the results.

    Args:
        tape: the recording.
        dtype: of the step.
        spikes: of the tape, by their place.
        others: how many inputs there are beside the first; they come before the draws.
    """

    def __init__(self, tape: Tape, dtype: torch.dtype, spikes: Mapping[int, Surrogate], others: int = 0) -> None:
        self.tape, self.dtype, self.surrogates, self.others = tape, dtype, spikes, others
        self.graph = Graph()
        self.known: dict[int, int] = {}
        self.params: dict[int, int] = {}  # value of the tape -> place in the graph
        self.draws: dict[int, int] = {}
        self.spikes: dict[int, Surrogate] = {}
        self.rows = {row.out: row for row in tape.rows}

    def leaf(self, value: int, name: str) -> int:
        """Add an input of the kernel for a value of the tape; return its place."""
        self.known[value] = self.graph.input(name)
        return self.known[value]

    def result(self, value: Any) -> int:
        """Return the place of a result of the step."""
        ref = self.tape.ref(value)
        if not isinstance(value, Tensor) or value.shape not in ((1,), ()) or value.dtype != self.dtype:
            shown = (
                f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            )
            raise Unsupported(f"a step returns {shown} for a cell of {self.dtype}")
        return number(self.graph, self.operand(ref))

    def operand(self, ref: Any) -> int:
        """Return the place of a value of the tape, or of a number."""
        if isinstance(ref, Ref):
            if ref.place not in self.known:
                self.known[ref.place] = self._made(ref.place)
            return self.known[ref.place]
        if isinstance(ref, Tensor):
            if ref.numel() != 1:
                raise Unsupported(f"a constant tensor of shape {tuple(ref.shape)} in the step")
            ref = ref.item()
        if isinstance(ref, (bool, int, float)):
            return self.graph.constant(float(ref))
        raise Unsupported(f"a {type(ref).__name__} in the step")

    def _made(self, place: int) -> int:
        origins = self.tape.origins[place]
        if "step" not in origins:
            return self._boundary(place, "draw" in origins)
        row = self.rows[place]
        if isinstance(row.function, str):
            u, noise = (self.operand(0.0 if arg is None else arg) for arg in row.args)
            spike = self.graph.add(row.function, u, noise)
            self.spikes[spike] = self.surrogates[place]
            return spike
        return self._written(row)

    def _boundary(self, place: int, varies: bool) -> int:
        kind, known, first = ("d", self.draws, self.others) if varies else ("p", self.params, 0)
        known[place] = self.graph.input(f"{kind}{first + len(known)}")
        if self.tape.values[place].dtype == torch.bool:
            return self.graph.add("ne", known[place], self.graph.literal(0.0))
        return known[place]

    def _written(self, row: Row) -> int:
        name, value = row.function.overloadpacket.__name__, self.tape.values[row.out]
        if name == "sum":
            return self._summed(row)
        if name not in ATEN:
            raise Unsupported(f"aten.{name}")
        if name == "_to_copy" and row.kwargs.get("dtype") not in (None, torch.bool, self.dtype):
            raise Unsupported(f"a conversion to {row.kwargs['dtype']} within a step in {self.dtype}")
        if value.dtype not in (self.dtype, torch.bool):
            raise Unsupported(f"aten.{name} in {value.dtype} within a step in {self.dtype}")
        args, options = row.args, {k: v for k, v in row.kwargs.items() if k not in IGNORED and v is not None}
        if name == "rsub" and len(args) > 2:
            args, options = args[:2], {"alpha": args[2]}
        options = {k: v if k in OPTIONS else self.operand(v) for k, v in options.items()}
        return ATEN[name](self.graph, *(None if arg is None else self.operand(arg) for arg in args), **options)

    def _summed(self, row: Row) -> int:
        """Add the sum of a stack of values of the cell, the terms of a series, starting with the first."""
        source = self.rows.get(row.args[0].place) if isinstance(row.args[0], Ref) else None
        if source is None or source.function.overloadpacket.__name__ not in ("stack", "cat") or row.args[1:] != ([0],):
            raise Unsupported("aten.sum")
        total, *rest = (self.operand(part) for part in source.args[0])
        for term in rest:
            total = self.graph.add("add", total, term)
        return total


def slope(graph: Graph, surrogate: Surrogate, u: int) -> int:
    """Add the nodes of a surrogate's derivative g(u), traced like a step; return the place of the result."""
    tape = Tape()

    def traced() -> tuple[Tensor, Tensor]:
        x = torch.full((1,), 0.1, dtype=torch.float64)
        tape.name(x, "step")
        with tape:
            return x, surrogate.grad(x)

    x, value = alone(traced)
    writing = Writing(tape, torch.float64, {})
    writing.graph = _Literals(graph)
    writing.known[tape.places[id(x)]] = u
    return writing.result(value)


class _Literals(Graph):
    """A graph in which the numbers of a surrogate are literals: they belong to the structure."""

    def __init__(self, graph: Graph) -> None:
        self.nodes, self.places = graph.nodes, graph.places

    def constant(self, value: float) -> int:
        return self.literal(value)
