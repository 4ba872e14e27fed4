"""Parts that mix the steps of a sequence: convolutions along time, rotated positions, and attention between steps.

Steps behind the end of a sequence count as zeros wherever steps meet, so that padding changes nothing before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rules.contract import Run, Trace
from rules.steps import counted
from rules.synapses import Product
from sandbox.networks.attention import of_sources
from sandbox.networks.network import through
from sandbox.networks.parts import Whole
from sandbox.networks.population import Population

BASE = 10_000.0  # of the wavelengths of rotated positions


def masked(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return a signal `[T, B, ...]` with zeros behind the end of each sequence.

    >>> masked(torch.ones(3, 2), torch.tensor([3, 1])).T.tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if lengths is None:
        return x
    there = counted(x, lengths)
    return torch.where(there.reshape(*there.shape, *[1] * (x.ndim - 2)), x, 0.0)


class Along(Whole):
    """A convolution along time, `[T, B, C] -> [T, B, outputs]`, padded so that it keeps the number of steps.

    Args:
        inputs: channels that enter.
        outputs: channels that leave.
        kernel: number of steps that it weighs, odd.
        groups: of channels; as many as there are channels for a depthwise convolution.
        bias: whether it has one.

    Raises:
        ValueError: for an even kernel.

    >>> Along(4, 6, kernel=3)(torch.rand(10, 2, 4)).shape
    torch.Size([10, 2, 6])
    """

    masks: ClassVar[bool] = True

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int = 1, bias: bool = True) -> None:
        super().__init__(None)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}: give an odd number of steps, so that each has as many on both sides")
        self.convolution = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run whole sequences `[T, B, C]`."""
        shown = masked(x, lengths)
        output: Tensor = self.convolution(shown.permute(1, 2, 0)).permute(2, 0, 1)
        return Run(output, None, (Trace("convolution.weight", shown, output, output),) if record else ())


def rotated(x: Tensor) -> Tensor:
    """Return signals `[T, ..., d]` with neighbouring channels turned by angles that grow with the step.

    Channels 2 i and 2 i + 1 are turned by `t / 10000^(2 i / d)`, so that products of two steps depend on their distance
    alone.

    Raises:
        ValueError: for an odd number of channels.

    >>> x = rotated(torch.ones(3, 1, 2))
    >>> [round(float(v), 4) for v in x[1, 0]]
    [-0.3012, 1.3818]

    Reference: Su et al. 2021 (arXiv 2104.09864), recalled.
    """
    wide = x.shape[-1]
    if wide % 2:
        raise ValueError(f"{wide} channels of a head: rotated positions turn pairs, so give an even number")
    rates = BASE ** (-torch.arange(0, wide, 2, device=x.device, dtype=torch.float64) / wide)
    angles = torch.arange(len(x), device=x.device, dtype=torch.float64)[:, None] * rates
    shape = (len(x), *[1] * (x.ndim - 2), wide // 2)
    cosine, sine = (found.to(x.dtype).reshape(shape) for found in (angles.cos(), angles.sin()))
    even, odd = x[..., ::2], x[..., 1::2]
    return torch.stack([even * cosine - odd * sine, odd * cosine + even * sine], -1).flatten(-2)


class StepAttention(Whole):
    """Spiking self-attention between steps, `SN(scale (q k') v)`, where queries and keys know their place in time.

    Queries and keys are rotated by their step (`rotated`) and fire again: neurons run along time on the rotated
    signals. Products with steps behind the end of a sequence are zero. Every step sees every other.

    Args:
        sources: parts that make "query", "key" and "value", `[T, B, D]`.
        heads: number of heads, which divide D into even parts.
        again: the neurons behind the rotated queries, and behind the rotated keys.
        cells: the neurons behind attention.

    Reference: Wang et al. 2024 (arXiv 2412.12858), from the authors' code, whose neurons behind the rotation walk over
    samples and heads in place of time, so that a sample depends on its batch. Here they walk over time.
    """

    masks: ClassVar[bool] = True

    def __init__(
        self,
        sources: Mapping[str, Sequence[nn.Module]],
        heads: int,
        again: tuple[Population, Population],
        cells: Population,
    ) -> None:
        super().__init__(None)
        self.sources = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in sources.items()})
        self.heads = heads
        self.again = nn.ModuleList(again)
        self.cells = cells
        self.scores, self.mixed = Product(), Product()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).output

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run whole sequences `[T, B, D]`."""
        parts: list[Any] = list(self.sources.values())
        runs = [through(each, x, None, record, lengths) for each in parts]
        q, k, v = (run.output.unflatten(-1, (self.heads, -1)) for run in runs)  # [T, B, heads, d]
        q, k = (cells(rotated(each))[0] for each, cells in zip((q, k), self.again, strict=True))
        q, k, v = (each.permute(1, 2, 0, 3) for each in (q, masked(k, lengths), v))  # [B, heads, T, d]
        made: Tensor = self.mixed(self.scores(q, k.mT), v)
        spikes, _, _ = self.cells(made.permute(2, 0, 1, 3) / math.sqrt(q.shape[-1]))
        return Run(spikes.flatten(2), None, of_sources(self.sources, runs) if record else ())

    def extra_repr(self) -> str:
        return f"heads={self.heads}"
