"""Checks of what the `load` of a task returned, before anything learns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.batches import as_batch, dense
from rules.errors import unknown
from rules.fields import admit
from rules.objectives.labels import IGNORED
from rules.seeds import seeded
from sandbox.measures import MEASURES
from sandbox.tasks.dataset import SPLITS, Dataset
from sandbox.tasks.splits import Samples, Split

MOST_CLASSES = 10_000_000  # a network has a unit for each
LOOK = 64  # samples of a split that is not in memory


def checked(data: object, task: str, splits: Sequence[str] = SPLITS) -> Dataset:
    """Return what the `load` of a task returned, after a look at these splits.

    Arrays become tensors, and dtypes those of models, as `rules.batches.as_batch` says: float64 becomes float32, uint8
    is divided by 255, labels become int64. Of a split that is not in memory only the first samples are looked at.

    Raises:
        ValueError: naming the task and the split, for anything but three splits of finite samples `[n, ...]` with as
            many answers, of the kind that the data set says.

    Warns: for `[n, a, b]` that are not declared as sequences.
    """
    if not isinstance(data, Dataset):
        raise ValueError(f"task {task!r}: load returned a {type(data).__name__}; let it return sandbox.Dataset")
    if not isinstance(data.target, str) or data.target not in MEASURES:
        raise ValueError(f"task {task!r}: {unknown('target', str(data.target), MEASURES)}")
    data = data._replace(
        classes=admit(f"task {task!r}: classes", data.classes, int | None),
        sequence=admit(f"task {task!r}: sequence", data.sequence, bool),
    )
    problem = _counted(data)
    if problem:
        raise ValueError(f"task {task!r}: {problem}")
    train, validation, test = (
        _usual(data, place, task) if place in splits else getattr(data, place) for place in SPLITS
    )
    data = data._replace(train=train, validation=validation, test=test)
    for place in splits:
        split = getattr(data, place)
        problem = _problem(split, data) or _shape(split, data)
        if problem:
            raise ValueError(f"task {task!r}, {place}: {problem}")
    shape = data.example[0].shape[1:]
    if isinstance(data.train, Split) and _constant(data.train):
        raise ValueError(f"task {task!r}, train: all labels are equal; there is nothing to learn")
    if len(shape) == 2 and not data.sequence:
        warnings.warn(
            f"task {task!r}: samples of shape {list(shape)} are taken as features of one moment; if "
            "the first number counts time steps, return Dataset(..., sequence=True)",
            stacklevel=3,
        )
    return data


def _constant(split: Split) -> bool:
    """Return whether all answers are equal: those of samples, or of steps where each has one."""
    y = split.y.flatten(0, 1) if split.by_step else split.y
    return len(y[y != IGNORED].unique() if y.ndim == 1 else y.unique(dim=0)) < 2


def _usual(data: Dataset, place: str, task: str) -> Samples:
    """Return a split; one in memory as tensors in the dtypes that models take."""
    split = getattr(data, place)
    if not isinstance(split, Samples):
        raise ValueError(f"task {task!r}, {place}: it is a {type(split).__name__}; give a sandbox.Split(x, y)")
    try:
        return _typed(split, data) if isinstance(split, Split) else split
    except (TypeError, ValueError) as error:
        raise ValueError(f"task {task!r}, {place}: {error}") from error


def _typed(split: Split, data: Dataset) -> Split:
    """Return a split in memory as tensors in the dtypes that models take."""
    x, y = as_batch(_numbers_of("x", split.x)).x, _numbers_of("y", split.y)
    x = x.float() if x.is_floating_point() else x
    if data.target == "classes":
        y = y if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool else y.long()
    elif not y.is_complex():
        y = y.float()
    lengths, labels = (
        None if part is None else _counts(part, name)
        for name, part in (("lengths", split.lengths), ("labels", split.labels))
    )
    return Split(x, y, lengths, admit("by_step", split.by_step, bool), labels)


def _numbers_of(name: str, part: Any) -> Tensor:
    """Return an array of a task as a dense tensor without a gradient."""
    if not isinstance(part, (Tensor, np.ndarray)) or isinstance(part, np.ma.MaskedArray):
        remedy = f"{name}.filled(0)" if isinstance(part, np.ma.MaskedArray) else f"torch.tensor({name})"
        raise TypeError(f"{name} is a {type(part).__name__}; give a tensor or a NumPy array, with {remedy}")
    if isinstance(part, np.ndarray) and part.dtype == np.longdouble:
        part = part.astype(np.float64)
    if isinstance(part, np.ndarray) and part.dtype.kind not in "fiubc":
        raise TypeError(f"{name} is an array of {part.dtype}; give numbers, and number what has names")
    found = dense(torch.as_tensor(part), name).detach()
    if found.is_complex():
        raise TypeError(
            f"{name} is {found.dtype}; give real numbers, such as {name}.abs() or torch.view_as_real({name})"
        )
    return found


def _counts(numbers: Any, name: str) -> Tensor:
    """Return the lengths or labels of sequences as int64."""
    try:
        found = dense(torch.as_tensor(numbers), name).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is a {type(numbers).__name__}; give a tensor of whole numbers") from error
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise TypeError(f"{name} are {found.dtype}; give whole numbers, {name}.long()")
    return found.long()


def _counted(data: Dataset) -> str | None:
    """Return what is wrong with the number of classes."""
    if data.target == "classes" and data.classes is not None and not 2 <= data.classes <= MOST_CLASSES:
        return f"classes={data.classes}: give the number of classes, from 2 to {MOST_CLASSES}"
    if data.target == "classes" and data.classes is None:
        return "classes=None: give the number of classes, or Dataset(..., target='values') for regression"
    if data.target != "classes" and data.classes is not None:
        return f"classes={data.classes} with target={data.target!r}: leave classes out, answers say how many there are"
    return None


def _shape(split: Samples, data: Dataset) -> str | None:
    """Return in what the samples of a split differ from those to learn from."""
    x, first = split.take(torch.arange(1), seeded(0, "shape"))[0], data.example[0]
    if x.shape[data.sequence + 1 :] != first.shape[data.sequence + 1 :]:
        return f"samples of shape {list(x.shape[1:])}, and train has {list(first.shape[1:])}"
    return None


def _problem(split: Samples, data: Dataset) -> str | None:
    """Return what is wrong with samples and answers, None for nothing."""
    if isinstance(split, Split):
        x, y = split.x, split.y
    elif len(split):
        x, y = split.take(torch.arange(min(LOOK, len(split))), seeded(0, "checked"))
    else:
        return "it has no samples"
    steps = x.shape[1:2] if split.by_step else x.shape[:0]
    if split.by_step and not data.sequence:
        return "there is an answer for each step, and samples are not sequences: return Dataset(..., sequence=True)"
    fits = y.shape[: 1 + len(steps)] == (len(x), *steps)
    several = y.ndim - len(steps) == 2 and data.target != "classes"
    if not fits or (y.ndim != 1 + len(steps) and not several) or len(x) == 0:
        one = "one label" if data.target == "classes" else "one answer, or one row of them,"
        where = "for each step of each" if split.by_step else "for each"
        one_hot = data.target == "classes" and y.shape == (len(x), data.classes)
        hint = ": for one-hot rows give y.argmax(1)" if one_hot else ""
        return (
            f"x has shape {list(x.shape)} and y {list(y.shape)}; samples come first, and there is {one} {where}{hint}"
        )
    least = 3 if data.sequence else 2
    if x.is_floating_point() and x.ndim < least:
        shown = "[n, T, *features]" if data.sequence else "[n, *features]"
        return f"x has shape {list(x.shape)}; give {shown}, as in x[..., None]"
    if x.numel() == 0:
        return f"x has shape {list(x.shape)}, without any number"
    if split.lengths is not None and not data.sequence:
        return (
            "there are lengths, and samples are not sequences: return Dataset(..., sequence=True), or leave lengths out"
        )
    for name, part in (("x", x), ("y", y)):
        if not part.isfinite().all():
            return f"{name} holds NaN or infinity"
    problem = _lengths(split, x) or _labels(split, data)
    return problem or (_classes(y, data.classes) if data.target == "classes" else _numbers(y, data))


def _lengths(split: Samples, x: Tensor) -> str | None:
    lengths = split.lengths
    if lengths is None:
        return None
    if lengths.shape != (len(split),) or int(lengths.min()) < 1 or int(lengths.max()) > x.shape[1]:
        return (
            f"lengths of shape {list(lengths.shape)} do not fit {len(split)} sequences of {x.shape[1]} steps: give one "
            f"whole number from 1 to {x.shape[1]} for each"
        )
    return None


def _labels(split: Samples, data: Dataset) -> str | None:
    if split.labels is None:
        return None
    if not split.by_step or data.target != "classes":
        return (
            "there are labels beside y, which need a class at each step in y: leave labels out, or return "
            "Split(x, y, by_step=True, labels=labels)"
        )
    if split.labels.shape != (len(split),):
        return f"labels of shape {list(split.labels.shape)} do not fit {len(split)} samples: give one class for each"
    return _classes(split.labels, data.classes)


def _classes(y: Tensor, classes: int | None) -> str | None:
    assert classes is not None
    if y.dtype != torch.int64:
        return f"y is {y.dtype}; give labels as whole numbers, y.long(), or say target='values' for regression"
    known = y[y != IGNORED]
    if not len(known):
        return f"every label is {IGNORED}, which losses leave out: give classes from 0 to {classes - 1}"
    low, high = int(known.min()), int(known.max())
    return None if low >= 0 and high < classes else f"labels run from {low} to {high}, with classes={classes}"


def _numbers(y: Tensor, data: Dataset) -> str | None:
    if data.target == "labels" and not bool(((y == 0) | (y == 1)).all()):
        return "labels are neither 0 nor 1; give y > 0, or say target='values' for regression"
    return None
