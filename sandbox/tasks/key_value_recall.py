"""Recall of values by their keys: the associative memory that a language model needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rules.fields import check_fields
from rules.objectives.labels import IGNORED
from sandbox.tasks.base import Dataset, Task, at_least_one
from sandbox.tasks.generated import Trial, drawn, require_seed


@dataclass(frozen=True)
class KeyValueRecall(Task):
    """Tokens `[n, length]`: pairs of a key and its value, then keys that ask for their value.

        k1 v1 k2 v2 ... kP vP   q1 a1 q2 a2 ...

    Keys of a sequence differ, values may be the same. Each q is one of the keys, drawn uniformly, and the target at its
    step is the value of that key, which is the next token, as in any text. At all other steps the target is -100, which
    losses and measures leave out. Keys are the tokens below `vocabulary / 2`, values the others. Guessing among the
    values of a sequence is right about once in `pairs`.

    Args:
        pairs: of a key and a value, 8 by default.
        length: of a sequence, an even number above `2 pairs`, 32 by default.
        vocabulary: number of tokens, an even number of at least `2 pairs`, 64 by default.
        train: number of training sequences.
        validation: number of validation sequences.
        test: number of test sequences.
        seed: of the sequences, 0 by default.

    Raises:
        ValueError: for options out of range.

    >>> data = KeyValueRecall(pairs=2, length=6, vocabulary=8).load()
    >>> import torch
    >>> x, y = data.train.take(torch.arange(1), torch.Generator())
    >>> x.tolist(), y.tolist()
    ([[2, 5, 0, 4, 2, 5]], [[-100, -100, -100, -100, 5, -100]])

    Reference: Arora et al. 2023, arXiv 2312.04927, multi-query associative recall; recalled, not read. The sizes and
    the uniform draw of queries are ours.
    """

    pairs: int = 8
    length: int = 32
    vocabulary: int = 64
    train: int = 10_000
    validation: int = 500
    test: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(pairs=self.pairs, train=self.train, validation=self.validation, test=self.test)
        require_seed(self.seed)
        least = 2 * self.pairs
        if self.length <= least or self.length % 2:
            raise ValueError(
                f"length={self.length} with pairs={self.pairs}: give an even number of at least {least + 2}, pairs and "
                "a question with its answer"
            )
        if self.vocabulary < max(least, 4) or self.vocabulary % 2:
            raise ValueError(
                f"vocabulary={self.vocabulary} with pairs={self.pairs}: give an even number of at least "
                f"{max(least, 4)}, so that the keys of a sequence can differ"
            )

    @property
    def memory(self) -> int:
        """Steps from the first key to the last question."""
        return self.length - 1

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Return the sequences, drawn when they are needed; no file is read."""
        return drawn(self.draw, (self.train, self.validation, self.test), self.seed, classes=self.vocabulary)

    def draw(self, dice: np.random.Generator) -> Trial:
        """Draw a sequence, and the answers at its questions."""
        half = self.vocabulary // 2
        keys = dice.permutation(half)[: self.pairs]
        values = dice.integers(half, self.vocabulary, size=self.pairs)
        asked = dice.integers(self.pairs, size=self.length // 2 - self.pairs)
        order = np.concatenate([np.arange(self.pairs), asked])
        x = np.stack([keys[order], values[order]], axis=1).reshape(-1)  # [length]
        y = np.full(self.length, IGNORED)
        y[2 * self.pairs :: 2] = values[asked]
        return x, y
