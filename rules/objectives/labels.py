"""Class labels of samples and of steps, checked against the output."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.contract import Batch, Run, lengths_of
from rules.processes import divided
from rules.steps import counted

LABELS = frozenset({"labels"})
IGNORED = -100  # the class that a loss leaves out, as in torch


def labels(run: Run, batch: Batch, ignore: int | None = None, some: bool = True) -> Tensor:
    """Return the class of each sample, `[B]`, checked against the output.

    Args:
        run: of the model.
        batch: its y holds the labels.
        ignore: a number that marks samples to leave out; None for none.
        some: whether at least one must not be left out, True by default.

    Raises:
        TypeError: for labels that are not int64.
        ValueError: for labels that are missing, out of range, all left out, or not one for each sample.
    """
    y = batch.y
    if y is None and batch.targets is not None:
        raise ValueError(
            f"the batch has an answer for each step, {tuple(batch.targets.shape)}, and this objective wants one for "
            'each sample: use rules.make("bptt", objective="ce_rate") for classes, "mse", "huber" or "bce" for numbers'
        )
    if y is None:
        raise ValueError("this objective needs labels: let the loader yield (x, y) or rules.Batch(x, y)")
    samples, classes = run.output.shape[1:]
    if y.ndim == 2 and y.shape == (samples, classes) and classes > 1:
        raise ValueError(
            f"labels have shape {tuple(y.shape)}, one number for each class: for one-hot labels pass y.argmax(1), for "
            'several labels of a sample use rules.make("bptt", objective="bce"), for numbers "mse"; wanted one class '
            f"for each of {samples} samples"
        )
    return _whole(y, (samples,), f"one number for each of {samples} samples", classes, ignore, some)


def require_whole_sequences(batch: Batch, objective: Any) -> None:
    """Raise ValueError for sequences of different length, in an objective that reads every step of the output."""
    if batch.lengths is not None:
        raise ValueError(
            f"{type(objective).__name__} reads every step, and these sequences have different lengths: use an "
            'objective that leaves padding out, such as rules.make("bptt", objective="ce_mean"), or give whole ones: '
            "batch._replace(lengths=None)"
        )


def labels_by_step(run: Run, batch: Batch, ignore: int, some: bool = True) -> Tensor:
    """Return the class at each step, `[T, B]`: the batch's targets, or else its y at every step.

    Steps that do not count have the class `ignore`.
    """
    steps, samples, classes = run.output.shape
    if batch.targets is None:
        found = labels(run, batch, ignore, some).expand(steps, samples)
    else:
        wanted = f"one number for each of {steps} steps and {samples} samples"
        found = _whole(batch.targets, (steps, samples), wanted, classes, ignore, some)
    lengths = lengths_of(run, batch)
    if lengths is None:
        return found
    found = torch.where(counted(run.output, lengths), found, ignore)
    return require_some(found, ignore) if some else found


def require_some(y: Tensor, ignore: int) -> Tensor:
    """Return labels; raise ValueError if all of them are `ignore`."""
    if bool((y == ignore).all()):
        if divided() is not None:
            raise ValueError(
                f"every label of this process's part of the batch is {ignore}, which is left out, and a team divides "
                "a batch by samples: give larger batches, fewer processes, or a batch whose every part has some label"
            )
        raise ValueError(
            f"every label of the batch is {ignore}, which is left out: there is nothing to learn from; give "
            "batches with some label, or another ignore_index"
        )
    return y


def per_step(loss: Any, output: Tensor, y: Tensor, **options: Any) -> Tensor:
    """Return `(1/T) sum_t loss(o[t], y[t])` for labels `[T, B]`; those that are left out do not count."""
    value: Tensor = loss(output.flatten(0, 1), y.flatten(), **options)
    return value


def wanted(like: Tensor, y: Tensor, on: float, off: float) -> Tensor:
    """Return targets `[B, classes]`: `on` in the column of each sample's class, `off` elsewhere."""
    return torch.full_like(like, off).scatter(1, y[:, None], on)


def _whole(y: Tensor, shape: tuple[int, ...], words: str, classes: int, ignore: int | None, some: bool) -> Tensor:
    """Return labels that are int64, of this shape, and below the number of classes."""
    if y.dtype != torch.int64:
        raise TypeError(
            f"labels have dtype {y.dtype}; wanted class numbers as int64: use y.long(), or for numbers "
            'rules.make("bptt", objective="mse")'
        )
    if y.shape != shape:
        raise ValueError(
            f"labels have shape {tuple(y.shape)}; wanted {words}"
            + (": use y.squeeze(1)" if y.shape == (*shape, 1) else "")
        )
    low, high = (int(bound) for bound in torch.aminmax(y))
    if ignore is not None and low <= ignore <= high:
        kept = (require_some(y, ignore) if some else y)[y != ignore]
        if not len(kept):
            return y
        low, high = (int(bound) for bound in torch.aminmax(kept))
    if low < 0 or high >= classes:
        raise ValueError(f"labels run from {low} to {high}, but the output has {classes} classes: 0 to {classes - 1}")
    return y
