"""Spiking attention between channels, in blocks of tokens, whose work is linear in the number of tokens (SCSA)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from rules.contract import Run
from rules.synapses import Product
from sandbox.networks.attention import of_sources
from sandbox.networks.kinds import Kind
from sandbox.networks.network import Part, through
from sandbox.networks.parts import Stateless
from sandbox.networks.population import Population
from sandbox.networks.token_convolutions import depthwise


class ChannelAttention(Part):
    """Spiking attention `SN(q (k' v) / sqrt(N / h))` of `[T, B, D, N]`, in `h` blocks of N / h tokens each.

    `k' v` is a product of channels with channels, `[D, D]` for each block, so that the work grows with `N D^2`, and the
    same as `(q k') v`, with scores of tokens with tokens.

    Args:
        sources: parts that make "query", "key" and "value", `[T, B, D, N]`.
        heads: h, number of blocks; with 1 a permutation of the tokens permutes the output.
        cells: the neurons behind attention.

    Raises:
        ValueError: in a call, for tokens that do not divide into so many blocks.

    Reference: Wang et al. 2025 (arXiv 2508.05164). The authors' code reshapes `[D, N]` to `[h, N / h, D]` without
    transposing it, so that channels and tokens are mixed up; here each block is a run of tokens with all channels.
    """

    def __init__(self, sources: Mapping[str, Sequence[nn.Module]], heads: int, cells: Population) -> None:
        super().__init__()
        self.sources = nn.ModuleDict({name: nn.ModuleList(parts) for name, parts in sources.items()})
        self.heads = heads
        self.cells = cells
        self.scores, self.mixed = Product(), Product()

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry, which has an entry for each signal and one for the neurons."""
        require_blocks(x.shape[-1], self.heads)
        *before, start = [None] * (len(self.sources) + 1) if carry is None else carry
        parts: list[Any] = list(self.sources.values())
        runs = [through(each, x, begin, record, lengths) for each, begin in zip(parts, before, strict=True)]
        q, k, v = (run.output.mT.unflatten(2, (self.heads, -1)) for run in runs)  # [T, B, h, N / h, D]
        made: Tensor = self.mixed(q, self.scores(k.mT, v)) / math.sqrt(q.shape[-2])
        spikes, end, _ = self.cells(made.flatten(2, 3).mT, start)
        told = of_sources(self.sources, runs) if record else ()
        return Run(spikes, (*(run.carry for run in runs), end), told)

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


def require_blocks(tokens: int, heads: int) -> None:
    """Raise ValueError for tokens that heads do not divide."""
    if heads < 1 or tokens % heads:
        raise ValueError(
            f"{tokens} tokens, heads={heads}: heads divide the tokens into blocks, so give a number of tokens that is "
            f"a multiple of them, such as {max(1, tokens // max(heads, 1)) * max(heads, 1)}, or heads=1"
        )


def attending(width: int, heads: int, cells: Kind, between: Kind) -> list[nn.Module]:
    """Return attention with its projection, without the residual.

        s = SN(BN(depthwise(SN'(x)))),    q, k, v = SN(BN(depthwise(s))) each
        y = BN(depthwise(attention(q, k, v)))

    Args:
        width: D.
        heads: h.
        cells: the neurons SN.
        between: the neurons SN' in front.
    """
    sources = {name: [cells.spiking(depthwise(width, 3, cells.gain), width)] for name in ("query", "key", "value")}
    return [
        between.fires(width),
        cells.spiking(depthwise(width, 3, cells.gain), width),
        ChannelAttention(sources, heads, cells.population(width)),
        Stateless(depthwise(width, 3)),
    ]
