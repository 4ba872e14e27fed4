"""Rewards of a step and sample: given, or whether a class was right."""

from __future__ import annotations

import torch
from torch import Tensor

from rules.contract import Batch, Run
from rules.objectives.labels import IGNORED, labels_by_step
from rules.steps import counted


def require_rewards(batch: Batch, x: Tensor) -> None:
    """Raise ValueError for a batch without rewards or classes, or with those of other steps or samples than `x`."""
    y, shape = (batch.y if batch.targets is None else batch.targets), tuple(x.shape[:2])
    given = batch.targets is not None and batch.targets.ndim == 2
    if y is None or (not given and (y.is_floating_point() or y.ndim != 1)):
        seen = "none" if y is None else f"{y.dtype} {tuple(y.shape)}"
        raise ValueError(
            "a reward is one number for each step and sample from targets, [T, B], or a class from y; "
            f"this batch has {seen}: let the loader yield rules.Batch(x, y, targets=reward)"
        )
    if given and tuple(y.shape) != shape:
        raise ValueError(
            f"targets have shape {tuple(y.shape)}, and x has {shape[0]} steps of {shape[1]} samples: give one reward, "
            f"or one class, for each, as in rules.Batch(x, y, targets=targets[: len(x)])"
        )


def told(part: Batch, output: Tensor) -> Tensor:
    """Return whether a reward is told, for each step and sample `[T, B]`: not where the class is -100, nor behind ends.

    >>> x = torch.zeros(2, 1, 1)
    >>> told(Batch(x, targets=torch.tensor([[0], [-100]])), torch.zeros(2, 1, 2)).tolist()
    [[True], [False]]
    """
    if part.targets is None or not part.targets.is_floating_point():
        return labels_by_step(Run(output), part, IGNORED, some=False) != IGNORED
    everywhere = torch.ones(output.shape[:2], dtype=torch.bool, device=output.device)
    return everywhere if part.lengths is None else counted(output, part.lengths)


def rewards(part: Batch, output: Tensor) -> Tensor:
    """Return the rewards of some consecutive steps, `[T, B]`, given their output `[T, B, classes]`.

    They are `targets` if those have fractions. Of classes the reward is 1 where the largest output is that of the
    class, less 1 / classes; among equal outputs it is shared, so that silence is neither right nor wrong. It is 0 where
    the class is -100, so that nothing is asked, and behind the end of a sample.

    Raises:
        ValueError: for classes that the output does not have.

    >>> x = torch.zeros(2, 1, 1)
    >>> rewards(Batch(x, targets=torch.tensor([[0], [-100]])), torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])).tolist()
    [[0.5], [0.0]]
    >>> rewards(Batch(x, targets=torch.tensor([[0], [1]])), torch.zeros(2, 1, 2)).tolist()
    [[0.0], [0.0]]
    """
    if part.targets is None or not part.targets.is_floating_point():
        y = labels_by_step(Run(output), part, IGNORED, some=False)
        largest = output == output.amax(2, keepdim=True)
        right = largest.gather(2, y.clamp(min=0)[..., None])[..., 0] / largest.sum(2)
        return torch.where(y == IGNORED, 0.0, right.to(output.dtype) - 1 / output.shape[2])  # not less their mean
    return torch.where(told(part, output), part.targets, 0.0)
