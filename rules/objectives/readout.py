"""Objectives on the output: its mean, its count, every step, its maximum, its last step.

`o[t]` is the output `[T, B, classes]` of a run: spikes, membranes or logits. Each objective's `scores` are the evidence
that its loss uses, so that accuracy and loss refer to the same quantity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run, lengths_of, steps_of
from rules.fields import check_fields
from rules.objectives.labels import (
    IGNORED,
    LABELS,
    labels,
    labels_by_step,
    per_step,
    require_some,
    require_whole_sequences,
    wanted,
)
from rules.steps import counted, largest, last, rows, total, whole, wide, wide_dtype


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Base class of cross-entropies of the scores, `mean_b CE(scores[b], y[b])`; members say what the scores are.

    In sequences of different length, only the steps that count make the scores.

    Args:
        weight: of each class; the mean over samples is weighted by that of their class. None for equal weights.
        ignore_index: a class whose samples, or steps, are left out; -100 by default.
        label_smoothing: share of the target that is spread over all classes, 0 by default. A loss that is reported has
            it, too.

    Raises:
        ValueError: for smoothing outside 0 to 1 and, when called, for labels that are missing or do not fit the output,
            and for weights that are not one for each class.

    Reference: `torch.nn.functional.cross_entropy`, which defines the options.
    """

    weight: tuple[float, ...] | None = field(default=None, kw_only=True)
    ignore_index: int = field(default=IGNORED, kw_only=True)
    label_smoothing: float = field(default=0.0, kw_only=True)

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 <= self.label_smoothing <= 1:
            raise ValueError(f"label_smoothing={self.label_smoothing}: give a share, from 0 to 1")
        if self.weight is not None:  # a list, as in a configuration file
            object.__setattr__(self, "weight", tuple(self.weight))
            if not self.weight or min(self.weight) < 0:
                raise ValueError(f"weight={self.weight}: give a number of at least 0 for each class, or None")

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores and classes of all samples, or steps, that are not left out."""
        scores, y = super().answers(run, batch)
        return scores[y != self.ignore_index], y[y != self.ignore_index]

    def amount(self, batch: Batch) -> float:
        """Return the number of samples that are not left out, each with the weight of its class."""
        return super().amount(batch) if batch.y is None else self.kept(batch.y)

    def kept(self, y: Tensor) -> float:
        """Return the number of labels that are not left out, each with the weight of its class."""
        found = y[y != self.ignore_index]
        if self.weight is None:
            return float(len(found))
        return float(torch.tensor(self.weight, dtype=torch.float64, device=y.device)[found].sum())

    def averaged(self, losses: Tensor, y: Tensor) -> Tensor:
        """Return the mean of losses `[B]` over the samples that are not left out, weighted by that of their class."""
        kept = y != self.ignore_index
        if self.weight is None:
            return losses[kept].mean()
        weight = torch.tensor(self.weight, dtype=losses.dtype, device=y.device)[y[kept]]
        return (weight * losses[kept]).sum() / weight.sum()

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        y = labels(run, batch, self.ignore_index)
        return F.cross_entropy(self.scores(run, lengths_of(run, batch)), y, **self.options(run))

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        """Return the cross-entropy of every sample alone, `[B]`; None if classes have weights or some are left out."""
        y = labels(run, batch, self.ignore_index)
        if self.weight is not None or bool((y == self.ignore_index).any()):
            return None
        return F.cross_entropy(self.scores(run, lengths_of(run, batch)), y, reduction="none", **self.options(run))

    def by_step(self, run: Run, batch: Batch) -> Tensor:
        """Return the mean over all steps that count of the cross-entropy of each."""
        y = labels_by_step(run, batch, self.ignore_index)
        return per_step(F.cross_entropy, wide(run.output), y, **self.options(run))

    def amount_by_step(self, batch: Batch) -> float:
        """Return the number of steps that count in all samples, each with the weight of its class."""
        y = batch.y if batch.targets is None else batch.targets
        if y is None:
            return super().amount(batch)
        y = y.expand(steps_of(batch.x), y.shape[-1])
        return self.kept(rows(y, batch.lengths))

    def each_by_step(self, run: Run, batch: Batch) -> Tensor | None:
        """Return `by_step` of every sample alone, `[B]`; None if classes have weights or a sample has no step."""
        if self.weight is not None:
            return None
        y = labels_by_step(run, batch, self.ignore_index)
        steps = (y != self.ignore_index).sum(0)
        if not bool(steps.all()):
            return None
        losses = per_step(F.cross_entropy, wide(run.output), y, reduction="none", **self.options(run))
        return losses.view(y.shape).sum(0) / steps

    def shares_by_step(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        """Return what `Objective.shares` wants, for `by_step`: the divisor is that of the whole batch."""

        def share(run: Run, part: Batch) -> Tensor:
            y = labels_by_step(run, part, self.ignore_index, some=False)
            fit = per_step(F.cross_entropy, wide(run.output), y, reduction="sum", **self.options(run))
            return fit / self.weighed(batch, run)

        return share

    def weighed(self, batch: Batch, run: Run) -> Tensor:
        """Return the number of steps and samples that count, each with the weight of its class; ValueError for none."""
        steps = steps_of(batch.x)
        given = batch.targets if batch.targets is not None else labels(run, batch, self.ignore_index)
        y = given.expand(steps, run.output.shape[1])
        if batch.lengths is not None:
            y = torch.where(counted(y, batch.lengths), y, self.ignore_index)
        kept, weight = require_some(y, self.ignore_index)[y != self.ignore_index], self.options(run).get("weight")
        return wide(torch.ones_like(kept, dtype=run.output.dtype)).sum() if weight is None else weight[kept].sum()

    def by_sample(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return one decision for each sample, where a batch has both y and targets.

            scores[b] = mean of o[t, b] over the steps t with targets[t, b] != ignore_index

        They are compared with y. Samples without such a step, or whose y is left out, do not count. A batch with
        targets alone has a decision at each step that is not left out, one with y alone the mean output.
        """
        if batch.y is None or batch.targets is None:
            return CrossEntropy.answers(self, run, batch)
        asked = batch.targets != self.ignore_index
        if batch.lengths is not None:
            asked = asked & counted(run.output, batch.lengths)
        total = torch.where(asked[..., None], wide(run.output), 0.0).sum(0)
        kept = asked.any(0) & (batch.y != self.ignore_index)
        return total[kept] / asked.sum(0)[kept, None], batch.y[kept]

    def options(self, run: Run) -> dict[str, Any]:
        """Return the options for `torch.nn.functional.cross_entropy`."""
        found = {"ignore_index": self.ignore_index, "label_smoothing": self.label_smoothing}
        if self.weight is None:
            return found
        if len(self.weight) != run.output.shape[2]:
            raise ValueError(
                f"weight has {len(self.weight)} numbers, and the output {run.output.shape[2]} classes: give one for "
                f"each class, as in weight={(1.0,) * run.output.shape[2]}"
            )
        weight = torch.tensor(self.weight, dtype=wide_dtype(run.output), device=run.output.device)
        return {**found, "weight": weight}


@dataclass(frozen=True)
class MeanCrossEntropy(CrossEntropy):
    """`CE(mean_t o[t], y)`, the standard of direct training.

    >>> run = Run(torch.zeros(5, 2, 4))
    >>> round(float(MeanCrossEntropy()(run, Batch(torch.zeros(5, 2, 1), torch.tensor([0, 3])))), 4)  # ln 4
    1.3863
    """


@dataclass(frozen=True)
class SumCrossEntropy(CrossEntropy):
    """`CE(sum_t o[t], y)`: T times sharper than the mean; snnTorch's `ce_count_loss` on spikes (code).

    >>> run = Run(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]))
    >>> round(float(SumCrossEntropy()(run, Batch(torch.zeros(2, 1, 1), torch.tensor([0])))), 4)  # ln(1 + exp(-2))
    0.1269
    """

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return total(run.output, lengths)


@dataclass(frozen=True)
class RateCrossEntropy(CrossEntropy):
    """`(1/T) sum_t CE(o[t], y)`: cross-entropy at every step; snnTorch's `ce_rate_loss` on spikes (code).

    >>> run = Run(torch.tensor([[[0.0, 0.0]], [[1.0, 0.0]]]))
    >>> round(float(RateCrossEntropy()(run, Batch(torch.zeros(2, 1, 1), torch.tensor([0])))), 4)
    0.5032
    """

    timing: ClassVar[Literal["sequence", "step"]] = "step"

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the classes at each step where the batch has targets alone; see `by_sample` where it has y too."""
        return self.by_sample(run, batch)

    def amount(self, batch: Batch) -> float:
        return self.amount_by_step(batch)

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        return self.shares_by_step(batch)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        return self.by_step(run, batch)

    def each(self, run: Run, batch: Batch) -> Tensor | None:
        return self.each_by_step(run, batch)


@dataclass(frozen=True)
class TET(CrossEntropy):
    """Temporal efficient training: `(1 - lam) (1/T) sum_t CE(o[t], y) + lam mean((o - phi)^2)`.

    The mean of the second term runs over steps, samples and classes.

    Args:
        lam: weight of the second term, 0 to 1, 1e-3 by default.
        phi: target of the output in the second term, 1 by default.

    Raises:
        ValueError: for lam outside 0..1.

    >>> run = Run(torch.zeros(5, 2, 4))
    >>> round(float(TET(lam=0.5)(run, Batch(torch.zeros(5, 2, 1), torch.tensor([0, 3])))), 4)  # (ln 4 + 1) / 2
    1.1931

    Reference: Deng et al. 2022 (openreview _XNtisL32jv); the defaults are those of its code for the event-camera data.
    """

    lam: float = 1e-3
    phi: float = 1.0

    timing: ClassVar[Literal["sequence", "step"]] = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.lam <= 1:
            raise ValueError(f"lam={self.lam}: give a weight between 0 and 1")

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the classes at each step where the batch has targets alone; see `by_sample` where it has y too."""
        return self.by_sample(run, batch)

    def amount(self, batch: Batch) -> float:
        return self.amount_by_step(batch)

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        fit, steps = self.shares_by_step(batch), steps_of(batch.x)

        def share(run: Run, part: Batch) -> Tensor:
            away = (wide(run.output) - self.phi).square()
            if batch.lengths is None:
                pull = away.mean() * (len(away) / steps)
            else:
                pull = rows(away, part.lengths).sum() / (batch.lengths.sum() * away.shape[2])
            return (1 - self.lam) * fit(run, part) + self.lam * pull

        return share

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        fit = self.by_step(run, batch)
        away = (wide(run.output) - self.phi).square()
        pull = away.mean() if batch.lengths is None else rows(away, batch.lengths).mean()
        return (1 - self.lam) * fit + self.lam * pull


@dataclass(frozen=True)
class MaxCrossEntropy(CrossEntropy):
    """`CE(max_t o[t], y)`: only the step of the maximum gets a gradient, the first such step if several are equal.

    >>> run = Run(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]]))
    >>> MaxCrossEntropy().scores(run)
    tensor([[3., 1.]])

    Reference: SpyTorch and snnTorch (code).
    """

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return largest(run.output, lengths)


@dataclass(frozen=True)
class LastCrossEntropy(CrossEntropy):
    """`CE(o[T], y)`: the last step decides.

    >>> LastCrossEntropy().scores(Run(torch.tensor([[[3.0, 0.0]], [[0.0, 1.0]]])))
    tensor([[0., 1.]])
    """

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return last(run.output, lengths)


@dataclass(frozen=True)
class CountError(Objective):
    """`MSE(sum_t s[t], target) / T`, targets `floor(T on)` spikes for the class and `floor(T off)` for the others.

    The mean runs over samples and classes.

    Args:
        on: spikes per step for the class of the sample, 1 by default.
        off: spikes per step for the other classes, 0 by default.

    >>> float(CountError()(Run(torch.ones(4, 1, 2)), Batch(torch.zeros(4, 1, 1), torch.tensor([0]))))  # 16 / 2 / 4
    2.0

    Reference: snnTorch `mse_count_loss` (code), whose defaults these are.
    """

    on: float = 1.0
    off: float = 0.0

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return total(run.output, lengths)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        steps = len(run.output)
        counts = self.scores(run)
        target = wanted(counts, labels(run, batch), whole(steps * self.on), whole(steps * self.off))
        return F.mse_loss(counts, target) / steps


@dataclass(frozen=True)
class MembraneError(Objective):
    """`(1/T) sum_t MSE(o[t], on for the class, off for the others)`, the mean over samples and classes.

    Args:
        on: target for the class of the sample, 1 by default.
        off: target for the other classes, 0 by default.

    >>> float(MembraneError()(Run(torch.zeros(4, 1, 2)), Batch(torch.zeros(4, 1, 1), torch.tensor([0]))))
    0.5
    """

    on: float = 1.0
    off: float = 0.0

    needs: ClassVar[frozenset[str]] = LABELS
    timing: ClassVar[Literal["sequence", "step"]] = "step"

    def __post_init__(self) -> None:
        check_fields(self)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        output = wide(run.output)
        target = wanted(output[0], labels(run, batch), self.on, self.off)
        return F.mse_loss(output, target.expand_as(output))


CROSS_ENTROPIES: dict[str, type[CrossEntropy]] = {
    "ce_mean": MeanCrossEntropy,
    "ce_sum": SumCrossEntropy,
    "ce_rate": RateCrossEntropy,
    "tet": TET,
    "ce_max_mem": MaxCrossEntropy,
    "ce_last": LastCrossEntropy,
}
