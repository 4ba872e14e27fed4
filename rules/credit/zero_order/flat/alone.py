"""The loss of each sample of a run, computed on that sample alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rules.contract import Batch, Objective, Run


def losses_alone(objective: Objective, run: Run, batch: Batch) -> Tensor:
    """Return the objective `[S]` of each of the S samples, on a run and a batch of this sample alone.

    Samples of equal label are computed at once by `torch.func.vmap`, or one by one if the objective does not allow it.

    >>> from rules.objectives.readout import MeanCrossEntropy
    >>> run = Run(torch.tensor([[[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]]]))
    >>> losses_alone(MeanCrossEntropy(), run, Batch(torch.zeros(1, 3, 1), torch.tensor([0, 1, 0]))).round(decimals=3)
    tensor([0.6930, 0.6930, 0.0000])
    """
    samples = run.output.shape[1]
    axis = sample_axis(batch.x, samples)
    signals = [run.output, *(signal for trace in run.traces for signal in trace[1:])]  # [T, S, ...] each

    def one(x: Tensor, *signals: Tensor, y: Tensor | None) -> Tensor:
        output, *rest = (signal.unsqueeze(1) for signal in signals)
        traces = tuple(
            trace._replace(pre=rest[3 * n], u=rest[3 * n + 1], post=rest[3 * n + 2])
            for n, trace in enumerate(run.traces)
        )
        return objective(Run(output, None, traces), Batch(x.unsqueeze(axis), y))

    def together(rows: Tensor, y: Tensor | None) -> Tensor:
        many = torch.func.vmap(lambda x, *signals: one(x, *signals, y=y), in_dims=(axis, *[1] * len(signals)))
        found: Tensor = many(batch.x.index_select(axis, rows), *(signal.index_select(1, rows) for signal in signals))
        return found

    losses = torch.empty(samples, dtype=run.output.dtype, device=run.output.device)
    for rows in alike(batch.y, samples):
        y = None if batch.y is None else batch.y[rows[:1]]
        try:
            losses[rows] = together(rows, y)
        except RuntimeError:  # raised by vmap for an operation that it does not support
            each = [one(batch.x.select(axis, r), *(s.select(1, r) for s in signals), y=y) for r in rows.tolist()]
            losses[rows] = torch.stack(each).to(losses)
    return losses


def alike(y: Tensor | None, samples: int) -> Iterator[Tensor]:
    """Yield the numbers of the samples, those of equal label together."""
    if y is None:
        yield torch.arange(samples)
    elif y.ndim == 1:
        yield from ((y == label).nonzero()[:, 0] for label in torch.unique(y))
    else:
        yield from torch.arange(samples)[:, None]


def sample_axis(x: Tensor, samples: int) -> int:
    """Return the axis of the samples in an input: 1 behind a time axis, otherwise 0.

    Whole numbers with two axes are tokens, `[T, B]`.
    """
    timed = x.ndim > 2 or (x.ndim == 2 and not x.is_floating_point())
    return 1 if timed and x.shape[1] == samples else 0


def require_mean(objective: Objective, together: float, alone: Tensor) -> None:
    """Raise ValueError for an objective that is not the mean of its values for single samples.

    The tolerance is the square root of the precision, well above the rounding errors of a sum of losses.
    """
    mean, scale = float(alone.mean()), float(alone.abs().mean())
    if abs(mean - together) > torch.finfo(alone.dtype).eps ** 0.5 * max(scale, abs(together)):
        raise ValueError(
            f"{objective} is not a mean over samples: alone they have {mean:.6g} on average, together {together:.6g}; "
            "NodePerturbation needs a loss of each sample: use SPSA, or an objective that does not compare samples"
        )
