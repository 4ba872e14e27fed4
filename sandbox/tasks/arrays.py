"""Data sets made of arrays, and of what loaders yield."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from rules.batches import as_batch
from rules.errors import unknown
from rules.seeds import seeded
from sandbox.measures import MEASURES
from sandbox.tasks.dataset import Dataset, Target
from sandbox.tasks.splits import Split

Part: TypeAlias = "float | tuple[Any, ...]"  # a share of the samples, their number, or (x, y), perhaps with lengths


def dataset_of(
    x: Any,
    y: Any,
    *,
    test: Part,
    validation: Part,
    lengths: Any,
    classes: int | None,
    target: str | None,
    sequence: bool,
    by_step: bool,
    seed: int,
) -> Dataset:
    """Return the data set of `Task.from_arrays`, which documents the arguments and errors."""
    if y is None:
        raise ValueError(
            "y is None, and what was learned is judged by labels: give -100 for samples without a class, as to rules "
            "that learn without labels, beside some that have one; rules.Trainer takes batches without y"
        )
    ragged = isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.dtype == object)
    whole = _split(x, y, lengths, by_step)
    kind = _target(whole.y, target, by_step, classes)
    order = torch.randperm(len(whole), generator=seeded(seed, "split"))
    parts, start = dict[str, Split](), 0
    for name, part in (("test", test), ("validation", validation)):
        if isinstance(part, (int, float)):
            count = _count(name, part, len(whole))
            parts[name], start = _rows(whole, order[start : start + count]), start + count
        else:
            parts[name] = _split(part[0], part[1], part[2] if len(part) > 2 else None, by_step)
    if start >= len(whole):
        raise ValueError(
            f"test={test} and validation={validation} leave none of {len(whole)} samples to learn from: give smaller "
            "shares"
        )
    train, checking, testing = (
        _typed(part, kind) for part in (_rows(whole, order[start:]), parts["validation"], parts["test"])
    )
    if kind == "classes" and classes is None:
        classes = _classes([split.y for split in (train, checking, testing)])
    return Dataset(train, checking, testing, classes, sequence or ragged, kind)


def read(loader: Iterable[Any], time_first: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return all samples `[n, ...]`, answers `[n, ...]` and lengths that a loader yields.

    Raises ValueError for a loader without samples or answers, and for batches that do not fit together.
    """
    batches = [as_batch(item) for item in loader]
    if not batches:
        raise ValueError(
            "the loader yields nothing: it is empty, or was read once already; give a list or a DataLoader"
        )
    xs, ys, lengths = [], [], []
    for batch in batches:
        y = batch.targets.transpose(0, 1) if batch.targets is not None and time_first else batch.targets
        y = batch.y if batch.y is not None else y
        if y is None or not isinstance(batch.x, Tensor):
            raise ValueError(
                f"the loader yields {'no answers' if y is None else 'several inputs'}, and a task has one input and "
                "one answer: let it yield (x, y)"
            )
        xs.append(batch.x.transpose(0, 1) if time_first else batch.x)
        ys.append(y)
        lengths.append(batch.lengths)
    shapes = sorted({str(list(x.shape[1:])) for x in xs})
    if len(shapes) > 1:
        raise ValueError(
            f"the loader yields samples of shapes {', '.join(shapes)}: pad all to one length, and let it yield "
            "rules.Batch(x, y, lengths=lengths)"
        )
    known = [part for part in lengths if part is not None]
    return torch.cat(xs), torch.cat(ys), torch.cat(known) if len(known) == len(batches) else None


def _split(x: Any, y: Any, lengths: Any, by_step: bool) -> Split:
    """Return arrays as a split; sequences of different length are padded."""
    if isinstance(x, np.ndarray) and x.dtype == object:
        x = list(x)
    if isinstance(x, (list, tuple)):
        sequences = [as_batch(np.asarray(each) if not isinstance(each, Tensor) else each).x for each in x]
        lengths = [len(each) for each in sequences]
        x = pad_sequence(sequences, batch_first=True)
    if isinstance(x, dict):
        raise ValueError(
            "x is a dict, and a task has one input: join the arrays, x=np.concatenate([x1, x2], -1), or train a model "
            "of several inputs with rules.Trainer(model, rule).fit(loader)"
        )
    x, y = as_batch(x).x, torch.as_tensor(y)
    if len(x) != len(y) or not len(x) or (by_step and x.shape[1:2] != y.shape[1:2]):
        wanted = "an answer for each step of each" if by_step else "an answer for each"
        raise ValueError(f"x has shape {list(x.shape)} and y {list(y.shape)}; samples come first, with {wanted}")
    return Split(x, y, None if lengths is None else torch.as_tensor(lengths).long(), by_step)


def _target(y: Tensor, given: str | None, by_step: bool, classes: int | None) -> Target:
    """Return the kind of answer: what is given, or what y looks like."""
    if given is not None:
        if given not in MEASURES:
            raise unknown("target", given, MEASURES)
        return given  # type: ignore[return-value]  # a key of MEASURES
    several = y.ndim > (2 if by_step else 1)
    bits = bool(((y == 0) | (y == 1)).all())
    if several and bits and y.shape[-1] > 1:
        if bool((y.sum(-1) == 1).all()):
            raise ValueError(
                f"every row of y, of shape {list(y.shape)}, has a single 1: for one-hot classes give y.argmax(-1), for "
                "several labels of a sample say target='labels'"
            )
        return "labels"
    whole = not (y.is_floating_point() or y.is_complex())
    if several and whole:
        raise ValueError(
            f"y holds whole numbers of shape {list(y.shape)}: say by_step=True for a class at each step, or "
            "target='values' for several numbers of a sample"
        )
    return "classes" if not several and (whole or classes is not None) else "values"


def _classes(labels: list[Tensor]) -> int:
    """Return the number of classes; raise ValueError for labels that do not count from 0 without wide gaps."""
    found = torch.cat([y.flatten() for y in labels]).unique()
    found = found[found >= 0]  # negative ones may be ignored by the loss
    classes = 1 + int(found.max())
    if int(found.min()) > 0 or classes > 2 * len(found):
        raise ValueError(
            f"labels run from {int(found.min())} to {int(found.max())}, and {len(found)} of them occur: number them "
            f"from 0, y = np.unique(y, return_inverse=True)[1], or say classes={classes}"
        )
    return classes


def _typed(split: Split, kind: Target) -> Split:
    """Return a split in the dtypes of its kind."""
    x = split.x.float() if split.x.is_floating_point() else split.x
    y = split.y.long() if kind == "classes" and not split.y.is_floating_point() else split.y
    return Split(x, y if kind == "classes" else y.float(), split.lengths, split.by_step, split.labels)


def _rows(whole: Split, rows: Tensor) -> Split:
    lengths = None if whole.lengths is None else whole.lengths[rows]
    return Split(whole.x[rows], whole.y[rows], lengths, whole.by_step)


def _count(name: str, share: float, samples: int) -> int:
    count = share if isinstance(share, int) else round(share * samples) if 0 < share < 1 else 0
    if count < 1:
        raise ValueError(
            f"{name}={share} of {samples} samples: give a share between 0 and 1 that has a sample, a number of "
            "samples, or a pair (x, y)"
        )
    return count
