"""Distillation from many time steps to few: a network at many steps teaches one that has fewer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rules.contract import Batch, Run, lengths_of
from rules.fields import check_fields
from rules.objectives.distillation.teachers import answered
from rules.objectives.labels import labels
from rules.objectives.readout import CrossEntropy
from rules.steps import total, wide


@dataclass(frozen=True)
class CurriculumDistillation(CrossEntropy):
    """Knowledge distillation of a curriculum over time steps (KDCL): time-summed probabilities, drawn to a teacher's.

        p(o) = sum_t softmax(o[t])
        CE(p(o), y) + share tau^2 KL(softmax(p(teacher) / tau) || softmax(p(o) / tau))

    `p` takes the place of logits, so that a second softmax is applied to it, as the authors do. In sequences of
    different length the steps that count are summed, and where classes have weights, both means are weighted. Teacher
    and network may have different numbers of steps, as where each sees the same events in bins of its own
    (`sandbox.networks.rebinned`). The teacher is run in evaluation mode on the same batch, as it was before
    augmentation, nothing trains it, and its work is counted.

    Args:
        teacher: a module; None for the cross-entropy alone, as in the first stage of a curriculum.
        share: weight of the divergence, at least 0; 0.5 by default.
        temperature: tau, above 0; 1 by default.

    Raises:
        ValueError: for a share below 0, a temperature that is not positive, and, when called, for a teacher of other
            classes.

    >>> run = Run(torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]]))
    >>> loss = CurriculumDistillation()
    >>> [round(float(p), 4) for p in loss.scores(run)[0]]
    [1.3808, 0.6192]
    >>> round(float(loss(run, Batch(torch.zeros(2, 1, 1), torch.tensor([0])))), 4)
    0.3832

    Reference: Wang et al. 2024 (arXiv 2412.12858), from the authors' code.
    """

    teacher: nn.Module | None = None
    share: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        if not self.share >= 0:
            raise ValueError(f"share={self.share}: give the weight of the divergence from the teacher, at least 0")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: give a number above 0")

    def helpers(self) -> tuple[nn.Module, ...]:
        """Return the teacher."""
        return () if self.teacher is None else (self.teacher,)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return the probabilities summed over time, `[B, classes]`."""
        return total(torch.softmax(wide(run.output), -1), lengths)

    def drawn(self, run: Run, batch: Batch) -> Tensor:
        """Return tau^2 times the divergence from the teacher, of each sample `[B]`; 0 without a teacher."""
        if self.teacher is None:
            return torch.zeros_like(run.output[0, :, 0])
        tau = self.temperature
        taught = answered(self.teacher, run, batch)
        wanted = torch.log_softmax(self.scores(taught, lengths_of(taught, batch)) / tau, -1)
        shown = torch.log_softmax(self.scores(run, lengths_of(run, batch)) / tau, -1)
        return tau**2 * (wanted.exp() * (wanted - shown)).sum(-1)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        fit = CrossEntropy.__call__(self, run, batch)
        if self.teacher is None or self.share == 0:
            return fit
        y = labels(run, batch, self.ignore_index)
        return fit + self.share * self.averaged(self.drawn(run, batch), y)

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        """Return the loss of every sample alone, `[B]`; None with a teacher, and where `CrossEntropy` has none."""
        return CrossEntropy.each(self, run, batch) if self.teacher is None else None

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the cross-entropy alone, which needs no teacher."""
        return CrossEntropy.__call__(self, run, batch)
