"""A recurrent model of characters, to compare others with: nothing in it is spiking."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rules import Run


class Letters(nn.Module):
    """Tokens `[L, B]` to logits `[L, B, tokens]`: an embedding, a GRU, a dense read-out; it goes on from a carry."""

    offers = frozenset({"gradient", "carry"})

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.cells = nn.GRU(width, width)
        self.readout = nn.Linear(width, tokens)

    def forward(self, x: Tensor, carry: Any = None) -> Run:
        hidden, carry = self.cells(self.embedding(x), carry)
        return Run(self.readout(hidden), carry)


def letters(shape: tuple[int, ...], classes: int, *, seed: int, width: int = 128) -> nn.Module:
    """Return the model for so many tokens, with weights drawn from the seed."""
    torch.manual_seed(seed)
    return Letters(classes, width)
