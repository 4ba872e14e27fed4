"""Every step of a network drawn to its own mean, or to a teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rules.contract import Batch, Run, lengths_of
from rules.fields import check_fields
from rules.objectives.distillation.teachers import answered
from rules.objectives.labels import labels
from rules.objectives.readout import MeanCrossEntropy
from rules.steps import counted, mean, wide


@dataclass(frozen=True)
class SelfEnsemble(MeanCrossEntropy):
    """Cross-entropy of the mean output, and every step drawn to a teacher.

        (1 - lam) CE(mean_t o[t], y) + lam tau^2 mean_{t,b} KL(softmax(teacher / tau) || softmax(o[t] / tau))

    A network of spikes is an ensemble over time: each step is a pass of one binary network whose noise is what the
    membranes kept (`BPTT(window=1)` cuts the gradient through it). Without a teacher its own mean output teaches every
    step, and no gradient passes through that mean. A teacher is any module that takes the same input; it is run in
    evaluation mode, nothing trains it, and its work is counted; it answers `[T, B, classes]`, a `Run` or `[B,
    classes]`. In sequences of different length the steps that count are drawn, and where classes have weights, both
    means are weighted by those of the samples.

    Args:
        lam: weight of the teacher, 0 to 1, 0.5 by default.
        temperature: tau, above 0; 1 by default.
        teacher: a module; None for the mean output. Its output is averaged over time.

    Raises:
        ValueError: for a weight outside 0 to 1, a temperature that is not positive, and, when called, for a teacher of
            other classes.

    >>> run = Run(torch.tensor([[[2.0, 0.0]], [[0.0, 0.0]]]))
    >>> batch = Batch(torch.zeros(2, 1, 1), torch.tensor([0]))
    >>> round(float(SelfEnsemble(lam=0.0)(run, batch)), 4), round(float(SelfEnsemble(lam=1.0)(run, batch)), 4)
    (0.3133, 0.0968)

    Reference: Meng et al. 2025 (arXiv 2508.12609), of which we know the abstract: the loss is our reconstruction.
    """

    lam: float = 0.5
    temperature: float = 1.0
    teacher: nn.Module | None = None

    timing: ClassVar[Literal["sequence", "step"]] = "sequence"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self)
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam={self.lam}: give the weight of the teacher, from 0 to 1")
        if not self.temperature > 0:
            raise ValueError(f"temperature={self.temperature}: give a number above 0")

    def helpers(self) -> tuple[nn.Module, ...]:
        """Return the teacher."""
        return () if self.teacher is None else (self.teacher,)

    def taught(self, run: Run, batch: Batch) -> Tensor:
        """Return the teacher's logits `[B, classes]`, without gradient."""
        if self.teacher is None:
            return mean(run.output, lengths_of(run, batch)).detach()
        taught = answered(self.teacher, run, batch)
        return mean(taught.output, lengths_of(taught, batch))

    def drawn(self, run: Run, batch: Batch) -> Tensor:
        """Return tau^2 times the divergence from the teacher, mean over steps, of each sample `[B]`."""
        tau = self.temperature
        wanted = torch.log_softmax(wide(self.taught(run, batch)) / tau, -1)
        shown = torch.log_softmax(wide(run.output) / tau, -1)
        apart = (wanted.exp() * (wanted - shown)).sum(-1)  # [T, B]
        lengths = lengths_of(run, batch)
        if lengths is None:
            return tau**2 * apart.mean(0)
        there = counted(run.output, lengths)
        return tau**2 * torch.where(there, apart, 0.0).sum(0) / there.sum(0)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        y = labels(run, batch, self.ignore_index)
        fit = F.cross_entropy(self.scores(run, lengths_of(run, batch)), y, **self.options(run))
        return (1 - self.lam) * fit + self.lam * self.averaged(self.drawn(run, batch), y)

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        """Return the loss of every sample alone, `[B]`; None with a teacher, and where `CrossEntropy` has none."""
        fit = MeanCrossEntropy.each(self, run, batch) if self.teacher is None else None
        return None if fit is None else (1 - self.lam) * fit + self.lam * self.drawn(run, batch)

    def reported(self, run: Run, batch: Batch) -> Tensor:
        """Return the cross-entropy alone, which needs no teacher."""
        return MeanCrossEntropy.__call__(self, run, batch)
