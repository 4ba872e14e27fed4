"""Inputs as questions to a model want them: what counts samples, what is time, and the same with other numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.contract import Batch
from rules.forward import map_tensors
from rules.steps import counted

FEWEST = 4  # answers that are the next input, by which a batch is known to ask for it


def next_is_asked(batch: Batch) -> bool:
    """Return whether the answer at each step is the input of the next one; answers that are left out do not count.

    >>> next_is_asked(Batch(torch.arange(6)[:, None], targets=torch.arange(1, 7)[:, None]))
    True
    """
    x, asked = batch.x, batch.targets
    if not isinstance(x, Tensor) or asked is None or x.shape != asked.shape or x.dtype != asked.dtype:
        return False
    kept = torch.ones_like(asked, dtype=torch.bool) if asked.is_floating_point() else asked >= 0
    if batch.lengths is not None:
        kept = kept & counted(asked, batch.lengths)
    return int(kept[:-1].sum()) >= FEWEST and torch.equal(asked[:-1][kept[:-1]], x[1:][kept[:-1]])


def axes_of_samples(x: Any, samples: int) -> tuple[int, ...]:
    """Return the axes of an input that may count samples: 1, behind time, first."""
    leaf = leaves(x)[0]
    behind = leaf.ndim > 1 and leaf.shape[1] == samples
    return tuple(axis for axis, fits in ((1, behind), (0, len(leaf) == samples)) if fits)


def sequences(x: Any) -> bool:
    """Return whether an input may hold sequences of features, `[.., .., features]`, or of tokens."""
    leaf = leaves(x)[0]
    return leaf.ndim == (3 if leaf.is_floating_point() else 2)


def lengthiest(x: Any) -> int:
    """Return the number of rows of the longest input."""
    return max(len(leaf) for leaf in leaves(x))


def leaves(x: Any) -> list[Tensor]:
    """Return the tensors of an input that have axes."""
    found: list[Tensor] = []
    map_tensors(lambda leaf: found.append(leaf) or leaf if leaf.ndim else leaf, x)  # type: ignore[func-returns-value]
    return found


def altered(x: Any, axis: int, rows: slice, size: int) -> Any:
    """Return an input with other numbers in some rows of an axis of this size; of its range, for whole numbers."""

    def change(leaf: Tensor) -> Tensor:
        if leaf.ndim <= axis or leaf.shape[axis] != size:
            return leaf
        new = leaf.clone()
        part = new.movedim(axis, 0)[rows]
        if leaf.dtype == torch.bool:
            part.copy_(~part)
        else:
            part.copy_(1 - part if leaf.is_floating_point() else leaf.max() + leaf.min() - part)
        return new

    return map_tensors(change, x)
