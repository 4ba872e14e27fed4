"""Copying: repeat symbols after a gap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rules.fields import check_fields
from rules.objectives.labels import IGNORED
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import Trial, drawn, require_seed


@dataclass(frozen=True)
class Copying(Task):
    """Tokens `[n, 2 length + gap]`: symbols, a gap of blanks, a sign to begin, and as many steps to repeat the symbols.

        s1 ... sK   blank ... blank go   blank ... blank

    The gap has `gap - 1` blanks and the sign. The target at the K steps behind it is the symbol of the same number, at
    all other steps -100, which losses and measures leave out. Symbols are the tokens from 0, the blank is token
    `symbols`, the sign `symbols + 1`. Without memory one answer in `symbols` is right.

    Args:
        length: symbols of a sequence, K, 10 by default.
        gap: steps between the last symbol and the first answer, 20 by default.
        symbols: kinds of symbols, 8 by default.
        train: number of training sequences.
        validation: number of validation sequences.
        test: number of test sequences.
        seed: of the sequences, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> data = Copying(length=2, gap=2, symbols=4).load()
    >>> import torch
    >>> x, y = data.train.take(torch.arange(1), torch.Generator())
    >>> x.tolist(), y.tolist()
    ([[3, 2, 4, 5, 4, 4]], [[-100, -100, -100, -100, 3, 2]])

    Reference: Arjovsky, Shah & Bengio 2016, arXiv 1511.06464, with a gap of 100 to 2000; recalled, not read. There the
    blanks are answers, too.
    """

    length: int = 10
    gap: int = 20
    symbols: int = 8
    train: int = 10_000
    validation: int = 500
    test: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(length=self.length, gap=self.gap, train=self.train, validation=self.validation, test=self.test)
        require_seed(self.seed)
        if self.symbols < 2:
            raise ValueError(f"symbols={self.symbols}: give at least 2, or there is nothing to remember")

    @property
    def memory(self) -> int:
        """Steps from a symbol to its answer."""
        return self.length + self.gap + 1

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the sequences, drawn when they are needed; no file is read."""
        return drawn(self.draw, (self.train, self.validation, self.test), self.seed, classes=self.symbols + 2)

    def draw(self, dice: np.random.Generator) -> Trial:
        """Draw a sequence, and its answers."""
        shown = dice.integers(self.symbols, size=self.length)
        x = np.full(2 * self.length + self.gap, self.symbols)
        x[: self.length] = shown
        x[self.length + self.gap - 1] = self.symbols + 1
        y = np.full(len(x), IGNORED)
        y[-self.length :] = shown
        return x, y
