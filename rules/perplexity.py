"""Perplexity and bits: how well a model of tokens predicts the next one, sample by sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Run
from rules.measures import Accuracy
from rules.steps import counted, wide

LARGEST = 1e300  # of a perplexity


class Perplexity:
    """How well the next token is predicted: `accuracy`, `perplexity`, and bits for each token, as one number and block.

        nats = -sum log p(target) / n,    perplexity = exp(nats),    bits = nats / ln 2

    over the n steps of all samples whose target is not left out. The output `[T, B, tokens]` of a run holds logits, as
    for a cross-entropy at each step, without smoothing or weights. Sums over batches are in float64.

    Args:
        unit: what a token stands for; the bits are called `bits_per_<unit>`. "token" by default.
        ignore: the target that is left out, -100 by default.

    >>> counted = Perplexity("character")
    >>> counted.see(Run(torch.zeros(2, 1, 4)), Batch(torch.zeros(2, 1, 1), targets=torch.tensor([[1], [-100]])))
    >>> {name: round(value, 6) for name, value in counted.report().items()}  # four equal probabilities
    {'perplexity': 4.0, 'bits_per_character': 2.0}
    """

    def __init__(self, unit: str = "token", ignore: int = -100) -> None:
        self.unit, self.ignore = unit, ignore
        self.accuracy = Accuracy()
        self.nats: list[float] = []  # -sum log p of each sample, in the order of the samples
        self.counts: list[int] = []  # targets of each sample that are not left out

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add answers and what would be right, for the accuracy."""
        self.accuracy.add(answers, truth)

    def see(self, run: Run, batch: Batch) -> None:
        """Add the run of a batch with targets `[T, B]`; raise ValueError without any."""
        if batch.targets is None:
            raise ValueError(
                "perplexity is of tokens that are predicted at each step: give rules.Batch(x, targets=...)"
            )
        output, y = wide(run.output), batch.targets
        if batch.lengths is not None:
            y = torch.where(counted(output, batch.lengths), y, self.ignore)
        each = F.cross_entropy(output.flatten(0, 1), y.flatten(), ignore_index=self.ignore, reduction="none")
        self.nats += each.view(y.shape).double().sum(0).tolist()
        self.counts += (y != self.ignore).sum(0).tolist()

    def report(self) -> dict[str, float]:
        """Return `accuracy`, `perplexity`, infinite where it is beyond float64, and the bits for each token."""
        if not sum(self.counts):
            return {}
        nats = sum(self.nats) / sum(self.counts)
        perplexity = math.exp(nats) if nats < math.log(LARGEST) else math.inf
        return {**self.accuracy.report(), "perplexity": perplexity, f"bits_per_{self.unit}": nats / math.log(2)}
