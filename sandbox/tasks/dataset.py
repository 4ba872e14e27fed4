"""Data sets: three splits, and what kind of answer they want."""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

import torch

from rules.seeds import seeded
from sandbox.measures import MEASURES
from sandbox.tasks.splits import Samples
from sandbox.tasks.text.tokenizers import Tokenizer

SPLITS = ("train", "validation", "test")
Target = Literal["classes", "values", "labels"]


class Dataset(NamedTuple):
    """Three fixed splits: train on the first, tune on the second, test once on the third.

    Args:
        train: samples to learn from, a `Split`, a `LazySplit`, or `Samples` of one's own.
        validation: samples to tune on.
        test: samples for the final accuracy.
        classes: number of classes; None where answers are not classes.
        sequence: True if samples are sequences, `[n, T, *features]`; False by default.
        target: the kind of answer: "classes", by default, "values" for regression, or "labels" for several labels.
        tokenizer: of a text, whose tokens the samples are; None for anything else.
    """

    train: Samples
    validation: Samples
    test: Samples
    classes: int | None = None
    sequence: bool = False
    target: Target = "classes"
    tokenizer: Tokenizer | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one sample, without time."""
        x, _ = self.example
        return tuple(x.shape[2 if self.sequence else 1 :])

    @property
    def outputs(self) -> int:
        """Number of outputs of a model: one for each class, value or label."""
        if self.classes is not None:
            return self.classes
        _, y = self.example
        return 1 if y.ndim == (2 if self.train.by_step else 1) else y.shape[-1]

    @property
    def measure(self) -> str:
        """What models are selected by: `accuracy` of classes, `r2` of values, `f1` of labels."""
        return MEASURES[self.target]

    @property
    def example(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The first training sample and its answer, `[1, ...]` each."""
        return self.train.take(torch.arange(1), seeded(0, "example"))

    @property
    def checksum(self) -> str:
        """SHA-256 over the bytes of all arrays, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for part in split.parts():
                digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()
