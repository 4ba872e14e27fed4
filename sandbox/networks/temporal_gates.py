"""Spiking attention in linear time: gates from sums of queries and keys, over a window and over the whole sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.errors import unknown
from sandbox.networks.along_time import masked
from sandbox.networks.attention import of_sources
from sandbox.networks.network import renamed, through
from sandbox.networks.parts import Whole
from sandbox.networks.population import Population

View = Literal["local", "global", "value"]
VIEWS: tuple[View, ...] = ("local", "global", "value")


def windowed(x: Tensor, half: int) -> Tensor:
    """Return the sums over the `half` steps before and behind each step of `[T, ...]`, itself included.

    Sums of spikes are whole numbers, so that differences of running sums are exact.

    >>> windowed(torch.tensor([1.0, 0.0, 1.0, 1.0]), 1).tolist()
    [1.0, 2.0, 2.0, 2.0]
    """
    running = torch.cat([torch.zeros_like(x[:1]), x.cumsum(0)])
    step = torch.arange(len(x), device=x.device)
    return running[(step + half + 1).clamp(max=len(x))] - running[(step - half).clamp(min=0)]


class TemporalGates(Whole):
    """Multi-view spiking temporal-aware self-attention (MSTASA), `[T, B, D]`, in time and memory linear in T.

        local    g[t] = SN((sum of q + k over steps within the window) / sqrt(d (2 w + 1))),    g[t] v[t]
        global   g = SN((sum of q + k over all steps) / sqrt(d T)),    g v[t], one gate for all steps
        value    SN(convolution over time of the heads of v)

        y = P2(P1(local + global) + value)

    The neurons of the local gates and of the value run along time, and that of the global gate has one step. Steps
    behind the end of a sequence add nothing, and T is the number of those that count. It is not causal.

    Args:
        sources: parts that make "query", "key" and "value".
        heads: number of heads, which divide D.
        cells: neurons of the local gate, the global gate and the value.
        projections: the parts P1 and P2.
        reach: w, steps on both sides of the window.
        kernel: steps, and channels of a head, that the convolution of the value weighs; both odd.
        views: which views are used. Without "local" and "global" P1 sees zeros, and its offsets may still fire.

    Raises:
        ValueError: for an unknown view, none, or an even kernel.

    Reference: Wang et al. 2026 (arXiv 2511.07883), from the authors' code, which divides by the largest number of steps
    where sequences are padded.
    """

    masks: ClassVar[bool] = True

    def __init__(
        self,
        sources: Mapping[str, Sequence[nn.Module]],
        heads: int,
        cells: tuple[Population, Population, Population],
        projections: tuple[Sequence[nn.Module], Sequence[nn.Module]],
        reach: int = 20,
        kernel: tuple[int, int] = (9, 1),
        views: Sequence[str] = VIEWS,
    ) -> None:
        super().__init__(None)
        if wrong := [view for view in views if view not in VIEWS]:
            raise unknown("view", wrong[0], VIEWS)
        if not views or any(size % 2 == 0 for size in kernel) or reach < 0:
            raise ValueError(
                f"views={tuple(views)}, kernel={kernel}, reach={reach}: give at least one view, odd sizes, and a "
                "number of steps of at least 0"
            )
        self.sources = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in sources.items()})
        self.heads, self.reach, self.views = heads, reach, frozenset(views)
        self.cells = nn.ModuleList(cells)
        self.first, self.second = (nn.ModuleList(parts) for parts in projections)
        self.across = nn.Conv2d(heads, heads, 1, bias=False)
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.along = nn.Conv2d(heads, heads, kernel, padding=padding, groups=heads, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run whole sequences `[T, B, D]`."""
        parts: list[Any] = list(self.sources.values())
        runs = [through(each, x, None, record, lengths) for each in parts]
        told = [of_sources(self.sources, runs)]
        q, k, v = (run.output.unflatten(-1, (self.heads, -1)) for run in runs)  # [T, B, heads, d]
        gates = [cells(sums)[0] for cells, sums in self.gated(masked(q + k, lengths), lengths)]
        open_ = sum((gate * v for gate in gates), torch.zeros_like(v))
        first = through(self.first, open_.flatten(2), None, record, lengths)
        seen = first.output
        if "value" in self.views:
            entering = self.across(masked(v, lengths).permute(1, 2, 0, 3))  # [B, heads, T, d]
            currents = self.along(entering).permute(2, 0, 1, 3)
            spikes, _, u = self.cells[2](currents, None, record)
            seen = seen + spikes.flatten(2)
            if u is not None:
                told.append((Trace("along.weight", entering.permute(2, 0, 1, 3), u, spikes),))
        second = through(self.second, seen, None, record, lengths)
        told += [renamed("first", first.traces), renamed("second", second.traces)]
        return Run(second.output, None, tuple(trace for each in told for trace in each))

    def gated(self, counts: Tensor, lengths: Tensor | None) -> list[tuple[nn.Module, Tensor]]:
        """Return the neurons of each gate, and what drives them, from queries and keys `[T, B, heads, d]`."""
        steps, wide = len(counts), counts.shape[-1]
        found: list[tuple[nn.Module, Tensor]] = []
        if "local" in self.views:
            scale = math.sqrt(wide * (2 * self.reach + 1))
            found.append((self.cells[0], windowed(counts, self.reach) / scale))
        if "global" in self.views:
            total = counts.sum(0, keepdim=True)
            there = total.new_tensor(steps) if lengths is None else lengths.to(total)[None, :, None, None]
            found.append((self.cells[1], total / (wide * there).sqrt()))
        return found

    def extra_repr(self) -> str:
        return f"heads={self.heads}, reach={self.reach}, views={sorted(self.views)}"
