"""The loss of each sample of a run, computed on that sample alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rules.contract import Batch, Objective, Run

AXES = {"y": 0, "targets": 1, "lengths": 0}  # of samples, in the answers of a batch


def losses_alone(objective: Objective, run: Run, batch: Batch) -> Tensor:
    """Return the objective `[S]` of each of the S samples, on a run and a batch of this sample alone.

    Samples of equal label, or all samples where answers are not labels, are computed at once by `torch.func.vmap`, or
    one by one if the objective does not allow it.

    >>> from rules.objectives.readout import MeanCrossEntropy
    >>> run = Run(torch.tensor([[[0.0, 0.0], [0.0, 0.0], [9.0, -9.0]]]))
    >>> losses_alone(MeanCrossEntropy(), run, Batch(torch.zeros(1, 3, 1), torch.tensor([0, 1, 0]))).round(decimals=3)
    tensor([0.6930, 0.6930, 0.0000])
    """
    samples = run.output.shape[1]
    inputs, form = tree_flatten(batch.x)
    signals = [run.output, *(signal for trace in run.traces for signal in trace[1:])]  # [T, S, ...] each
    answers = {name: part for name in AXES if (part := getattr(batch, name)) is not None}
    # Objectives read the values of labels to check them, which vmap does not allow: equal labels go together, outside.
    classes = list(answers) == ["y"] and answers["y"].dtype == torch.int64 and answers["y"].ndim == 1
    inner = {} if classes else answers
    tensors = [*inputs, *signals, *inner.values()]
    axes = [sample_axis(leaf, samples) for leaf in inputs] + [1] * len(signals) + [AXES[name] for name in inner]

    def one(*alone: Tensor, y: Tensor | None) -> Tensor:
        parts = [part.unsqueeze(axis) for part, axis in zip(alone, axes, strict=True)]
        output, *rest = parts[len(inputs) : len(inputs) + len(signals)]
        traces = tuple(
            trace._replace(pre=rest[3 * n], u=rest[3 * n + 1], post=rest[3 * n + 2])
            for n, trace in enumerate(run.traces)
        )
        asked = {"y": y} | dict(zip(inner, parts[len(inputs) + len(signals) :], strict=True))
        return objective(Run(output, None, traces), Batch(tree_unflatten(parts[: len(inputs)], form), **asked))

    def together(rows: Tensor, y: Tensor | None) -> Tensor:
        many = torch.func.vmap(lambda *alone: one(*alone, y=y), in_dims=tuple(axes))
        found: Tensor = many(*(part.index_select(axis, rows) for part, axis in zip(tensors, axes, strict=True)))
        return found

    losses = torch.empty(samples, dtype=run.output.dtype, device=run.output.device)
    everyone = torch.arange(samples, device=run.output.device)
    for rows in alike(answers["y"]) if classes else [everyone]:
        y = answers["y"][rows[:1]] if classes else None
        try:
            losses[rows] = together(rows, y)
        except RuntimeError:  # raised by vmap for an operation that it does not support
            each = [one(*(p.select(a, r) for p, a in zip(tensors, axes, strict=True)), y=y) for r in rows.tolist()]
            losses[rows] = torch.stack(each).to(losses)
    return losses


def alike(y: Tensor) -> Iterator[Tensor]:
    """Yield the numbers of the samples, those of equal label together."""
    return ((y == label).nonzero()[:, 0] for label in torch.unique(y))


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
