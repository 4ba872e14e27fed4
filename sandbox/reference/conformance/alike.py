"""Neurons whose cells differ: repeated for each stimulus, and one of their cells alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.reference.compiler.measured import beginning, hearing
from sandbox.reference.compiler.signals import Signal

MANY = 100  # columns, more than cells in any check of the first of the cells


def tiled(neuron: Neuron, cells: int, times: int) -> Neuron:
    """Return a neuron for so many groups of cells side by side, in each of which they differ as they do.

    Raises:
        ValueError: for constants or initial values of another number of cells.
    """
    for name, value in _differing(neuron).items():
        if tuple(value.shape) != (cells,):
            raise ValueError(
                f"{name} has a value for each of {value.numel()} cells, in shape {tuple(value.shape)}: check so many "
                f"for each stimulus, cells={value.numel()}"
            )
    for name, signal in _columns(neuron).items():
        if signal.values.shape[1] != cells and signal.values.shape[1] < cells * times:
            raise ValueError(
                f"{name}(t, i) has {signal.values.shape[1]} columns, one for each cell: check so many for each "
                f"stimulus, cells={signal.values.shape[1]}"
            )
    whole = _changed(neuron, lambda value: value.repeat(times))
    return _with_columns(whole, lambda values: values.repeat(1, times) if values.shape[1] == cells else values)


def first(neuron: Neuron) -> Neuron:
    """Return the first of the cells, as any of so many cells."""
    alone = _changed(neuron, lambda value: value.flatten()[0])
    return _with_columns(alone, lambda values: values[:, :1].expand(-1, MANY).clone())


def cast(neuron: Neuron, dtype: torch.dtype) -> Neuron:
    """Return a neuron whose constants of each cell have a dtype."""
    return _changed(neuron, lambda value: value.to(dtype))


def _differing(neuron: Neuron) -> dict[str, Tensor]:
    """Return the fields and initial values with a number for each cell, by name."""
    values = {f.name: getattr(neuron, f.name) for f in fields(neuron)} | dict(getattr(neuron, "starts", {}))
    return {name: value for name, value in values.items() if isinstance(value, Tensor) and value.numel() > 1}


def _columns(neuron: Neuron) -> dict[str, Signal]:
    """Return the stored signals that have a column for each cell, `I(t, i)`, by name."""
    text = " ".join(filter(None, (neuron.equations, neuron.threshold, neuron.reset_code, neuron.refractory)))
    read = set(re.findall(r"(\w+)\s*\(\s*t\s*,\s*i\s*\)", text))
    called = getattr(neuron, "called", {})
    return {name: each for name, each in called.items() if name in read and isinstance(each, Signal)}


def _with_columns(neuron: Neuron, change: Callable[[Tensor], Tensor]) -> Neuron:
    found = {name: replace(each, values=change(each.values)) for name, each in _columns(neuron).items()}
    return hearing(neuron, found) if found else neuron


def _changed(neuron: Neuron, change: Callable[[Tensor], Tensor]) -> Neuron:
    found = {name: change(value.detach()) for name, value in _differing(neuron).items()}
    if not found:
        return neuron
    own = {f.name for f in fields(neuron)}
    if not found.keys() <= own:  # of a compiled neuron, whose initial values belong to its class
        starts = {name: value for name, value in found.items() if name not in own}
        neuron = beginning(neuron, starts)
    return replace(neuron, **{name: value for name, value in found.items() if name in own})
