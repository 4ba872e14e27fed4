"""The loss of each sample of a run, computed on that sample alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from rules.contract import Batch, Objective, Run
from rules.credit.zero_order.products import owner

AXES = {"y": 0, "targets": 1, "lengths": 0}  # of samples, in the answers of a batch


def losses_alone(objective: Objective, run: Run, batch: Batch, copies: int = 1) -> Tensor:
    """Return the objective `[copies, S]` of each of the S samples, on a run and a batch of this sample alone.

    Where the objective has no faster way (`Objective.each`), samples of equal label, or all samples where answers are
    not labels, are computed at once by `torch.func.vmap`, or one by one if the objective does not allow it.

    Args:
        objective: the loss.
        run: of the batch, or of copies of it one after the other along the batch axis.
        batch: S samples.
        copies: how many copies of the batch the run has; 1 by default.

    >>> from rules.objectives.readout import MeanCrossEntropy
    >>> run = Run(torch.tensor([[[0.0, 0.0], [0.0, 0.0], [2.0, 0.0]]]))
    >>> losses_alone(MeanCrossEntropy(), run, Batch(torch.zeros(1, 3, 1), torch.tensor([0, 1, 0]))).round(decimals=3)
    tensor([[0.6930, 0.6930, 0.1270]])
    """
    samples = run.output.shape[1] // copies
    if owner(type(objective), "each") is owner(type(objective), "__call__"):
        known = objective.each(run, several(batch, copies))
        if known is not None:
            return known.to(run.output.dtype).view(copies, samples)
    inputs, form = tree_flatten(batch.x)
    told = {name: part for name, part in run.internals.items() if isinstance(part, Tensor)}
    signals = [
        signal.reshape(len(signal), copies, samples, *signal.shape[2:])
        for signal in (run.output, *(signal for trace in run.traces for signal in trace[1:]), *told.values())
    ]
    answers = {name: part for name in AXES if (part := getattr(batch, name)) is not None}
    # Objectives read the values of labels to check them, which vmap does not allow: equal labels go together, outside.
    classes = list(answers) == ["y"] and answers["y"].dtype == torch.int64 and answers["y"].ndim == 1
    inner = {} if classes else answers
    given = [*inputs, *inner.values()]  # the same for all copies
    axes = [sample_axis(leaf, samples) for leaf in inputs] + [AXES[name] for name in inner]

    def one(parts: list[Tensor], shown: list[Tensor], y: Tensor | None) -> Tensor:
        parts = [part.unsqueeze(axis) for part, axis in zip(parts, axes, strict=True)]
        output, *rest = (signal.unsqueeze(1) for signal in shown)
        traces = tuple(
            trace._replace(pre=rest[3 * n], u=rest[3 * n + 1], post=rest[3 * n + 2])
            for n, trace in enumerate(run.traces)
        )
        asked = {"y": y} | dict(zip(inner, parts[len(inputs) :], strict=True))
        internals = {**run.internals, **dict(zip(told, rest[3 * len(traces) :], strict=True))}
        return objective(
            Run(output, None, traces, internals), Batch(tree_unflatten(parts[: len(inputs)], form), **asked)
        )

    def together(rows: Tensor, y: Tensor | None) -> Tensor:
        each = torch.func.vmap(lambda parts, shown: one(parts, shown, y), in_dims=(axes, 1))
        every = torch.func.vmap(each, in_dims=(None, 1))
        found: Tensor = every(
            [chosen(part, axis, rows) for part, axis in zip(given, axes, strict=True)],
            [signal.index_select(2, rows) for signal in signals],
        )
        return found

    def singly(rows: Tensor, y: Tensor | None) -> Tensor:
        parts = {row: [part.select(a, row) for part, a in zip(given, axes, strict=True)] for row in rows.tolist()}
        return torch.stack(
            [
                torch.stack([one(parts[row], [signal[:, copy, row] for signal in signals], y) for row in parts])
                for copy in range(copies)
            ]
        )

    losses = torch.empty(copies, samples, dtype=run.output.dtype, device=run.output.device)
    everyone = torch.arange(samples, device=run.output.device)
    for rows in alike(answers["y"]) if classes else [everyone]:
        y = answers["y"][rows[:1]] if classes else None
        try:
            losses[:, rows] = together(rows, y)
        except RuntimeError:  # raised by vmap for an operation that it does not support
            losses[:, rows] = singly(rows, y).to(losses)
    return losses


def several(batch: Batch, copies: int) -> Batch:
    """Return the answers of copies of a batch, with the input of one."""
    if copies == 1:
        return batch
    parts = {name: getattr(batch, name) for name in AXES}
    return Batch(
        batch.x, **{n: None if part is None else torch.cat([part] * copies, AXES[n]) for n, part in parts.items()}
    )


def chosen(part: Tensor, axis: int, rows: Tensor) -> Tensor:
    """Return some samples of a tensor; one that is constant in time stays a view of one step."""
    if axis == 1 and len(part) > 1 and part.stride(0) == 0:
        return part[:1].index_select(axis, rows).expand(len(part), *[-1] * (part.ndim - 1))
    return part.index_select(axis, rows)


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
    """Raise ValueError for an objective that is not the mean of its values for single samples, or has none for some.

    The tolerance is the square root of the precision, well above the rounding errors of a sum of losses.
    """
    if math.isfinite(together) and not bool((finite := alone.isfinite()).all()):
        raise ValueError(
            f"{objective} is {together:.6g} for the batch, and {float(alone[~finite][0])} for sample "
            f"{int((~finite).nonzero()[0])} alone; NodePerturbation needs a loss of each sample: divide by a count "
            "that may be 0 as in total / count.clamp(min=1), or use SPSA"
        )
    mean, scale = float(alone.mean()), float(alone.abs().mean())
    if abs(mean - together) > torch.finfo(alone.dtype).eps ** 0.5 * max(scale, abs(together)):
        raise ValueError(
            f"{objective} is not a mean over samples: alone they have {mean:.6g} on average, together {together:.6g}; "
            "NodePerturbation needs a loss of each sample: use SPSA, or an objective that does not compare samples"
        )
