"""Segments of a signal, such as the tokens of two views, each with parts of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.traces import alone
from sandbox.networks.network import Part, renamed, through


class Segments(Part):
    """Parts for each segment of the last axis of `[T, B, ..., N]`, whose outputs are put one behind the other.

    Args:
        branches: the parts of each segment, by its name.
        lengths: of the segments, whose sum is N.

    Raises:
        ValueError: in a call, for a last axis of another length.

    >>> from sandbox.networks.parts import Stateless
    >>> halves = Segments({"a": [Stateless(nn.Linear(2, 1))], "b": [Stateless(nn.Identity())]}, [2, 3])
    >>> halves(torch.zeros(4, 1, 5)).shape
    torch.Size([4, 1, 4])
    """

    def __init__(self, branches: Mapping[str, Sequence[nn.Module]], lengths: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in branches.items()})
        self.lengths = tuple(lengths)

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run all branches from the carry, which has an entry for each."""
        starts = [None] * len(self.branches) if carry is None else carry
        parts: list[Any] = list(self.branches.values())
        runs = [
            through(each, part, start, record, lengths)
            for each, part, start in zip(parts, divided(x, self.lengths), starts, strict=True)
        ]
        told = [renamed(f"branches.{name}", driving(run)) for name, run in zip(self.branches, runs, strict=True)]
        output = torch.cat([run.output for run in runs], -1)
        return Run(output, tuple(run.carry for run in runs), tuple(trace for each in told for trace in each))

    def extra_repr(self) -> str:
        return f"lengths={self.lengths}"


def divided(x: Tensor, lengths: Sequence[int]) -> Iterable[Tensor]:
    """Return the segments of the last axis; raise ValueError for lengths that do not add up to it."""
    if x.shape[-1] != sum(lengths):
        parts = " + ".join(map(str, lengths))
        raise ValueError(f"a signal of {x.shape[-1]} does not divide into {parts}: build the model for its shape")
    found: Iterable[Tensor] = x.split(list(lengths), -1)
    return found


def driving(run: Run) -> tuple[Trace, ...]:
    """Return the traces of weights that drive neurons; those beyond a segment are not driven by one weight of it."""
    return tuple(trace for trace in run.traces if trace.weight and not alone(trace))
