"""Other validation sets of the same task: training and validation samples dealt anew for each search.

One validation set of a few hundred samples is a draw, and what it prefers is partly chance. Searches that each look at
another one make that chance visible, as a part of the error of tuning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sandbox.tasks.base import Task, shuffled
from sandbox.tasks.dataset import Dataset
from sandbox.tasks.splits import Samples, Split


def folded(data: Dataset, search: int) -> Dataset:
    """Return the data with the training and validation sets of a search, as large as the task's own.

    The first search has the task's own sets. With `n` training and `v` validation samples there are `n // v` further
    disjoint validation sets, one for each of the next searches, taken from the training samples; the rest is for
    training. Then all samples are dealt anew, from another order. Validation sets have the classes in the proportions
    of what they are taken from, up to rounding, where the class of each sample is known without reading it.

    Samples that are generated or read when they are needed are dealt by their numbers: each trial keeps the stream of
    random numbers that the task draws it from, so that another validation set is another draw from the same source.
    What a task computed from its training samples when it was loaded, such as a scale, stays as it is, and so does what
    a data set of its own does to a sample when it reads it.

    Args:
        data: of the task; its test set is handed on as it is.
        search: its number, from 0.

    Raises:
        ValueError: for a negative number, and for sequences of another length in one of the two sets.

    >>> from sandbox.tasks import Digits
    >>> first, second = (folded(Digits().load(), search) for search in (0, 1))
    >>> len(second.train), len(second.validation), bool((first.validation.x == second.validation.x).all())
    (1200, 200, False)
    """
    if search < 0:
        raise ValueError(f"search={search}: give the number of a search, from 0")
    if search == 0:
        return data
    require_dealable(data)
    order = _order(data, search)
    size = len(data.validation)
    start = search % (len(order) // size) * size
    chosen = order[start : start + size]
    rest = torch.ones(len(order), dtype=torch.bool)
    rest[chosen] = False
    parts = (data.validation, data.train)
    return data._replace(train=_dealt(parts, rest.nonzero()[:, 0]), validation=_dealt(parts, chosen))


def foldable(task: object) -> bool:
    """Return whether the training and validation samples of a task may be exchanged (`Task.exchangeable`)."""
    return not isinstance(task, Task) or task.exchangeable


def require_dealable(data: Dataset) -> None:
    """Raise ValueError for samples that do not fit into one array: sequences of two lengths."""
    shapes = [
        tuple(part.take(torch.arange(1), torch.Generator())[0].shape[1:]) for part in (data.train, data.validation)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"training samples of shape {list(shapes[0])} and validation samples of shape {list(shapes[1])} cannot be "
            "dealt anew: pad the shorter sequences and give their lengths, or tune with one search, --searches 1"
        )


def _order(data: Dataset, search: int) -> Tensor:
    """Return the numbers of all samples, validation first, in the order in which validation sets are cut from them."""
    size = len(data.validation)
    whole = size + len(data.train)
    deal = search // (whole // size)
    classes = _classes(data)
    if deal > 0:
        return _spread(shuffled(whole, deal), classes)
    return torch.cat([torch.arange(size), _spread(size + shuffled(whole - size, 0), classes)])


def _spread(rows: Tensor, classes: Tensor | None) -> Tensor:
    """Return rows in an order in which each stretch has the classes in the proportions of all rows, up to rounding.

    The i-th of m rows of a class comes at (i + 1/2) / m of the way, so that a stretch of any class has its share to
    within one row.
    """
    if classes is None:
        return rows
    place = torch.empty(len(rows), dtype=torch.float64)
    for label in classes[rows].unique():
        mine = (classes[rows] == label).nonzero()[:, 0]
        place[mine] = (torch.arange(len(mine), dtype=torch.float64) + 0.5) / len(mine)
    return rows[place.argsort(stable=True)]


def _classes(data: Dataset) -> Tensor | None:
    """Return the class of each sample, validation first; None where there are none, or only reading would tell."""
    parts = (data.validation, data.train)
    if all(part.labels is not None for part in parts):
        return torch.cat([part.labels for part in parts if part.labels is not None])
    if data.target == "classes" and all(isinstance(part, Split) and part.y.ndim == 1 for part in parts):
        return torch.cat([part.y for part in parts if isinstance(part, Split)])
    return None


def _dealt(parts: Sequence[Samples], rows: Tensor) -> Samples:
    """Return samples of several sets by their numbers in all of them; in memory where the sets are."""
    chosen = Dealt(parts, rows)
    if not all(isinstance(part, Split) for part in parts):
        return chosen
    x, y = chosen.take(torch.arange(len(rows)), torch.Generator())
    return Split(x, y, chosen.lengths, chosen.by_step, chosen.labels)


class Dealt(Samples):
    """Samples of several sets.

    Args:
        sets: of samples, which are numbered one after the other.
        rows: `[n]` int64, the numbers of the samples.
    """

    def __init__(self, sets: Sequence[Samples], rows: Tensor) -> None:
        self.sets, self.rows = tuple(sets), rows
        self.by_step = sets[0].by_step
        if any(part.lengths is not None for part in sets):
            self.lengths = torch.cat([_lengths(part) for part in sets])[rows]
        if all(part.labels is not None for part in sets):
            self.labels = torch.cat([part.labels for part in sets if part.labels is not None])[rows]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the samples with these numbers."""
        wanted, start = self.rows[rows], 0
        pieces, places = [], []
        for part in self.sets:
            mine = ((wanted >= start) & (wanted < start + len(part))).nonzero()[:, 0]
            if len(mine):
                pieces.append(part.take(wanted[mine] - start, rng))
                places.append(mine)
            start += len(part)
        back = torch.cat(places).argsort()
        x, y = (torch.cat(found)[back] for found in zip(*pieces, strict=True))
        return x, y


def _lengths(part: Samples) -> Tensor:
    """Return the lengths of the samples of a set, of all of its steps where it has none."""
    if part.lengths is not None:
        return part.lengths
    steps = part.take(torch.arange(1), torch.Generator())[0].shape[1]
    return torch.full((len(part),), steps)
