"""Objectives for answers that are numbers: mean squared error, Huber's loss, and cross-entropy of several labels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run, require_steps, steps_of
from rules.errors import unknown
from rules.fields import check_fields
from rules.measures import Measure, MultiLabel, Regression
from rules.objectives.labels import LABELS
from rules.steps import counted, last, mean, rows, wide, wide_dtype

PLACES = {"mean": mean, "last": last}


@dataclass(frozen=True)
class Fitted(Objective):
    """Base class of losses that compare every output with a number; members say what one comparison costs.

    The loss is the mean over samples, outputs, and steps if steps are compared. Padded steps do not count.

    Args:
        at: which output is compared with `batch.y`: the "mean" over steps, the "last" step, or every "step".
            `batch.targets`, where a batch has them, are compared at every step.

    Raises:
        ValueError: for another place; when called, for answers that are missing or do not fit the output.
    """

    at: Literal["mean", "last", "step"] = "mean"

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)
        if self.at not in (*PLACES, "step"):
            raise unknown("at", self.at, (*PLACES, "step"))

    @abstractmethod
    def cost(self, output: Tensor, wanted: Tensor) -> Tensor:
        """Return the cost of each entry, unreduced."""

    @property
    def timing(self) -> Literal["sequence", "step"]:  # type: ignore[override]
        return "step" if self.at == "step" else "sequence"

    def shares(self, batch: Batch) -> Callable[[Run, Batch], Tensor]:
        if batch.lengths is None:
            return super().shares(batch)
        require_steps(self)
        steps = batch.lengths.sum()
        return lambda run, part: self.costs(run, part).sum() / (steps * run.output.shape[2])

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        """Return the output that is compared with y, `[B, k]`; the mean over steps where every step is."""
        return PLACES.get(self.at, mean)(run.output, lengths)

    def answers(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the outputs that are compared and what they should be, `[n, k]` each."""
        found, wanted = self.compared(run, batch)
        return (found, wanted) if found.ndim == 2 else (rows(found, batch.lengths), rows(wanted, batch.lengths))

    def compared(self, run: Run, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return outputs and wanted values, `[B, k]` each; `[T, B, k]` where every step is compared."""
        steps, samples, width = run.output.shape
        if batch.targets is not None:
            return wide(run.output), self.fit(batch.targets, (steps, samples, width), run.output)
        if batch.y is None:
            raise ValueError("this objective needs y or targets: let the loader yield (x, y) or rules.Batch(x, y)")
        wanted = self.fit(batch.y, (samples, width), run.output)
        if self.at == "step":
            return wide(run.output), wanted.expand_as(run.output)
        return self.scores(run, batch.lengths), wanted

    def fit(self, wanted: Tensor, shape: tuple[int, ...], output: Tensor) -> Tensor:
        """Return the wanted values in a shape and in the dtype of the comparison, float32 at least."""
        if wanted.shape == shape[:-1] and shape[-1] == 1:
            wanted = wanted[..., None]
        if wanted.shape != shape:
            raise ValueError(
                f"y or targets of shape {tuple(wanted.shape)} do not fit the output {tuple(output.shape)}: give "
                f"{list(shape)}, one number for each output"
                + (f", or one output to the model: nn.Linear(..., 1) for {list(shape[:-1])}" if shape[-1] > 1 else "")
                + self.otherwise(wanted)
            )
        return wanted.to(wide_dtype(output))

    def otherwise(self, wanted: Tensor) -> str:
        """Return further advice on answers that do not fit, such as class numbers."""
        classes = not (wanted.is_floating_point() or wanted.dtype == torch.bool)
        return '; for class numbers use rules.make("bptt", objective="ce_mean")' if classes else ""

    def amount(self, batch: Batch) -> float:
        """Return the number of samples, or, where every step is compared, of steps that count."""
        if self.at != "step" and batch.targets is None:
            return super().amount(batch)
        if batch.lengths is not None:
            return float(batch.lengths.clamp(max=steps_of(batch.x)).sum())
        return super().amount(batch) * steps_of(batch.x)

    def measure(self) -> Measure:
        """Return a measure of R2 and RMSE."""
        return Regression()

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        each = self.costs(run, batch)
        if batch.lengths is None or each.ndim == 2:
            return each.mean()
        return each.sum() / (counted(each, batch.lengths).sum() * each.shape[-1])

    def costs(self, run: Run, batch: Batch) -> Tensor:
        """Return the cost of each entry, 0 in steps that do not count; `[B, k]`, or `[T, B, k]` of every step."""
        found, wanted = self.compared(run, batch)
        each = self.cost(found, wanted)
        if batch.lengths is None or found.ndim == 2:
            return each
        return torch.where(counted(found, batch.lengths)[..., None], each, 0.0)


@dataclass(frozen=True)
class MeanSquaredError(Fitted):
    """`mean (o - y)^2`, for regression; see `Fitted` for `at`.

    >>> run = Run(torch.tensor([[[1.0]], [[3.0]]]))  # [T=2, B=1, 1]
    >>> batch = Batch(torch.zeros(2, 1, 1), torch.tensor([1.0]))
    >>> float(MeanSquaredError()(run, batch)), float(MeanSquaredError(at="last")(run, batch))
    (1.0, 4.0)

    Reference: `torch.nn.functional.mse_loss`.
    """

    def cost(self, output: Tensor, wanted: Tensor) -> Tensor:
        return F.mse_loss(output, wanted, reduction="none")


@dataclass(frozen=True)
class Huber(Fitted):
    """Huber's loss, for regression with outliers: squared below `delta`, linear above; see `Fitted` for `at`.

        (o - y)^2 / 2 where |o - y| < delta,    delta (|o - y| - delta / 2) elsewhere

    Args:
        delta: error at which the loss becomes linear, in the unit of y, 1 by default.

    Raises:
        ValueError: for a delta that is not above 0.

    >>> batch = Batch(torch.zeros(1, 1, 1), torch.tensor([3.0]))
    >>> float(Huber(delta=1.0)(Run(torch.zeros(1, 1, 1)), batch))
    2.5

    Reference: Huber 1964 (doi 10.1214/aoms/1177703732); `torch.nn.functional.huber_loss`.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.delta > 0:
            raise ValueError(f"delta={self.delta}: give an error above 0, in the unit of y")

    def cost(self, output: Tensor, wanted: Tensor) -> Tensor:
        return F.huber_loss(output, wanted, reduction="none", delta=self.delta)


@dataclass(frozen=True)
class MultiLabelCrossEntropy(Fitted):
    """`-mean [y log sigma(o) + (1 - y) log(1 - sigma(o))]`, for several labels of a sample; see `Fitted` for `at`.

    Outputs are logits, one for each label; y holds 0 or 1, or probabilities, `[B, labels]`.

    Raises:
        ValueError: when called, for class numbers, and for answers outside 0..1.

    >>> batch = Batch(torch.zeros(1, 1, 1), torch.tensor([[1.0, 0.0]]))
    >>> round(float(MultiLabelCrossEntropy()(Run(torch.zeros(1, 1, 2)), batch)), 4)  # ln 2
    0.6931

    Reference: `torch.nn.functional.binary_cross_entropy_with_logits`.
    """

    def cost(self, output: Tensor, wanted: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(output, wanted, reduction="none")

    def fit(self, wanted: Tensor, shape: tuple[int, ...], output: Tensor) -> Tensor:
        found = super().fit(wanted, shape, output)
        low, high = (float(bound) for bound in torch.aminmax(found))
        if low < 0 or high > 1:
            raise ValueError(
                f"answers run from {low:g} to {high:g}, and each label is there or not: give 0 or 1, y.float(); for "
                'numbers use rules.make("bptt", objective="mse")'
            )
        return found

    def otherwise(self, wanted: Tensor) -> str:
        return (
            '; for one class a sample use "ce_mean", or "bce_probabilities" where outputs are the probabilities of bits'
        )

    def measure(self) -> Measure:
        """Return a measure of F1 and exact matches."""
        return MultiLabel()
