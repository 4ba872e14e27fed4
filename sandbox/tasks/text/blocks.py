"""A text as samples: blocks of tokens, each with the token that follows every one of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rules.objectives.labels import IGNORED
from sandbox.tasks.splits import Samples


class Blocks(Samples):
    """Blocks of `context` tokens `x[t]` with targets `y[t] = x[t + 1]`, from tokens in memory.

    Consecutive blocks do not overlap, and every token but the first is a target once: number n begins at token
    `n context`, and behind the last target the last block is filled with token 0 and the target -100, which losses and
    measures leave out. At random, a block begins anywhere that leaves room for all of its targets, drawn anew whenever
    it is taken; an epoch has as many blocks as there are consecutive ones.

    Args:
        tokens: `[N]` int64, at least `context + 1`.
        context: tokens of a block.
        random: whether blocks begin at random; False by default.
        source: what the tokens depend on beside themselves, for the checksum.

    >>> x, y = Blocks(torch.arange(6), 3).take(torch.arange(2), torch.Generator())
    >>> x.tolist(), y.tolist()
    ([[0, 1, 2], [3, 4, 0]], [[1, 2, 3], [4, 5, -100]])
    """

    by_step = True

    def __init__(self, tokens: Tensor, context: int, random: bool = False, source: str = "") -> None:
        self.tokens, self.context, self.random, self.source = tokens, context, random, source

    def __len__(self) -> int:
        return -(-(len(self.tokens) - 1) // self.context)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return x and y `[len(rows), context]` of blocks; at random they begin where `rng` says."""
        if self.random:
            begin = torch.randint(len(self.tokens) - self.context, (len(rows),), generator=rng)
        else:
            begin = rows * self.context
        places = begin[:, None] + torch.arange(self.context)  # [n, context]
        inside = places < len(self.tokens) - 1
        x = torch.where(inside, self.tokens[places.clamp(max=len(self.tokens) - 1)], 0)
        y = torch.where(inside, self.tokens[(places + 1).clamp(max=len(self.tokens) - 1)], IGNORED)
        return x, y

    def parts(self) -> Iterator[Tensor]:
        """Yield the tokens, how they are cut, and their source."""
        yield self.tokens
        yield torch.tensor([self.context, self.random])
        yield torch.tensor(list(self.source.encode()), dtype=torch.uint8)
