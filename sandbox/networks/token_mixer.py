"""Tokens that hear of all others through their mean: the membrane potential-aware token mixer (MPTM)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rules.contract import Run
from rules.errors import unknown
from rules.forward import fold
from sandbox.networks.network import Part, renamed, through
from sandbox.networks.population import Population
from sandbox.networks.segments import divided, driving

POOLS = {3: 2, 1: 1}  # width of the pool of tokens, and its stride


def guided(spikes: Tensor, fused: Tensor) -> Tensor:
    """Return spikes `[..., N]` weighed by their guidance: the first half by `fused`, the second by their own mean.

    Of an odd number of tokens the first half is the smaller one.

    Args:
        spikes: `[T, B, D, N]`.
        fused: `[T, B, D]`, mean over the tokens of all segments.

    >>> guided(torch.tensor([[[[1.0, 0.0, 1.0]]]]), torch.tensor([[[0.25]]])).tolist()
    [[[[0.25, 0.0, 0.6666666865348816]]]]
    """
    first = spikes.shape[-1] // 2
    own = spikes.mean(-1, keepdim=True)
    return torch.cat([spikes[..., :first] * fused[..., None], spikes[..., first:] * own], -1)


def pooled(count: int, pool: int) -> int:
    """Return how many tokens become of so many in a mixer, which puts pooled ones behind them.

    >>> pooled(128, 3), pooled(9, 3), pooled(12, 1)
    (192, 14, 24)
    """
    return count + -(-count // POOLS[pool])


class TokenMixer(Part):
    """Fusion of segments of tokens, `[T, B, D, N]`: each token hears of all segments, and there are more of them after.

        g = mean over tokens of mixer(x)                          [T, B, D], of all segments together
        s = SN(x),    y = s r + x                                 of each segment
        r = g for the first half of its tokens, the mean of its s for the second

    Behind the tokens y of a segment come those of x, pooled: half as many, or as many with a pool of 1.

    Args:
        mixer: parts that keep the shape and end with neurons (`sandbox.networks.channel_mixer`).
        cells: the neurons of each segment, by its name.
        lengths: of the segments.
        pool: 3 for the largest of three tokens, at every second; 1 for all tokens.

    Raises:
        ValueError: for another pool, and in a call for another number of tokens.

    Reference: Wang et al. 2025 (arXiv 2508.05164), from the authors' code.
    """

    def __init__(
        self, mixer: Sequence[nn.Module], cells: Mapping[str, Population], lengths: Sequence[int], pool: int = 3
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise unknown("pool", str(pool), [str(each) for each in POOLS])
        self.mixer = nn.ModuleList(mixer)
        self.cells = nn.ModuleDict(cells)
        self.lengths = tuple(lengths)
        self.pool = nn.MaxPool1d(pool, POOLS[pool], pool // 2)

    def run(self, x: Tensor, carry: Any = None, record: bool = False, lengths: Tensor | None = None) -> Run:
        """Run a sequence from a carry, which has an entry for the mixer and one for each segment."""
        start, *starts = [None] * (len(self.cells) + 1) if carry is None else carry
        run = through(self.mixer, x, start, record, lengths)
        fused = run.output.mean(-1)
        found, ends = [], []
        for cells, part, begin in zip(self.cells.values(), divided(x, self.lengths), starts, strict=True):
            spikes, end, _ = cells(part, begin)
            found += [guided(spikes, fused) + part, fold(self.pool, part)]
            ends.append(end)
        return Run(torch.cat(found, -1), (run.carry, *ends), renamed("mixer", driving(run)))

    def extra_repr(self) -> str:
        return f"lengths={self.lengths}"
