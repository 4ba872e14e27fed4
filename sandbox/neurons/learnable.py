"""Learnable parameters of a neuron: marked in its fields, and parametrised so that they stay within their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from rules.synapses import Changes, Constants
from sandbox.neurons.cell import Cell


class Learnable(float):
    """Initial value of a parameter to be learned; a plain float to all other code, the mean of those of many cells."""

    shape: tuple[int, ...] = ()
    each: Tensor | None = None  # the initial value of each cell, where they differ

    def __repr__(self) -> str:
        return f"learnable({float(self)}{f', {self.shape}' if self.shape else ''})"


def learnable(initial: float | Sequence[float] | Tensor, shape: tuple[int, ...] = ()) -> Learnable:
    """Mark a field of a neuron as learnable.

    Args:
        initial: the initial value, in the unit of the field; or one for each cell.
        shape: of the parameter: () for one value per population, the default, or one value for each cell of `shape`;
            that of `initial` where this has a value for each cell.

    Raises:
        ValueError: for an initial value that is not finite, or whose shape is another than `shape`.

    >>> from sandbox import LIF
    >>> LIF(tau_mem=learnable(10.0)).tau_mem, learnable([5.0, 15.0])
    (learnable(10.0), learnable(10.0, (2,)))

    Reference: Fang et al. 2021, parametric LIF (arXiv 2007.05785); the way the bound is kept is ours.
    """
    if isinstance(initial, Learnable) and initial.each is not None and not shape:
        return initial
    if isinstance(initial, float | int) or not (each := torch.as_tensor(initial).detach().clone()).ndim:
        marked = Learnable(float(initial))  # type: ignore[arg-type]  # a tensor of one number
        marked.shape = tuple(shape)
        return marked
    each = each if each.is_floating_point() else each.to(torch.get_default_dtype())
    if not each.numel() or not torch.isfinite(each).all() or (shape and tuple(shape) != tuple(each.shape)):
        raise ValueError(
            f"learnable({initial!r:.60}, {tuple(shape)}): give a finite number, or one for each cell of the shape"
        )
    marked = Learnable(each.double().mean())
    marked.shape, marked.each = tuple(each.shape), each
    return marked


class Learned(nn.Module):
    """The learned parameters of a cell: numbers marked as `learnable`, and the tensors that it draws itself.

    Each number is stored as an unconstrained `raw` that starts at zero:

        bounded from below    value = bound + (initial - bound) exp(raw)
        free                  value = initial + |initial| raw       (|initial| = 1 where it is 0)

    The bounds are those of the cell's `above`: time constants and resistances stay above 0, a threshold stays above its
    reset. Tensors, such as the filter of a parallel neuron (`Cell.drawn`), are stored as they are, in `values`. Calling
    the module returns the cell with the present values in its fields.

    Args:
        neuron: a cell, some of whose fields are marked with `learnable` or hold tensors that it draws.
        generator: random generator of the tensors; None for torch's global one.
        channels: number of channels of the layer; None if that is not known.

    Raises:
        ValueError: for an initial value that is not above its bound.

    >>> from sandbox import LIF
    >>> cells = Learned(LIF(tau_mem=learnable(10.0)))
    >>> [name for name, _ in cells.named_parameters()], float(cells().tau_mem)
    (['raw.tau_mem'], 10.0)
    """

    def __init__(self, neuron: Cell, generator: torch.Generator | None = None, channels: int | None = None) -> None:
        super().__init__()
        self.neuron = neuron
        marked = learnables(neuron)
        for name, value in marked.items():
            bound = neuron.above.get(name)
            low = getattr(neuron, bound) if isinstance(bound, str) else bound
            lowest = value if value.each is None else value.each.min()
            if low is not None and not lowest > low:
                raise ValueError(f"{name}={value!r} must start above {bound}{f' = {low}' * isinstance(bound, str)}")
            if value.each is not None:
                self.register_buffer(f"initial_{name}", value.each.to(torch.get_default_dtype()), persistent=False)
        self.raw = Changes({name: nn.Parameter(torch.zeros(v.shape)) for name, v in marked.items()})
        drawn = neuron.drawn(generator, channels)
        given = {name: torch.as_tensor(value) for name in drawn if (value := getattr(neuron, name)) is not None}
        drawn.update({name: value.detach().clone() for name, value in given.items()})
        self.values = Constants({name: nn.Parameter(value) for name, value in drawn.items()})

    def forward(self) -> Cell:
        """Return the cell with the present values."""
        now: Cell = replace(self.neuron, **{name: self._value(name) for name in self.raw}, **self.values)
        return now

    def at_limits(self) -> dict[str, str]:
        """Return the learned numbers that have reached an end of their range (`Cell.within`), in words."""
        kind, found = type(self.neuron).__name__, {}
        for name in [name for name in self.neuron.within if name in self.raw]:
            low, high = self.neuron.within[name]
            value = self._value(name).detach()
            furthest = float(value.flatten()[value.abs().argmax()])
            if not low < furthest < high:
                found[f"raw.{name}"] = f"{name} of {kind} is {furthest:.4g}, and is clipped to {low:g}..{high:g}"
        return found

    def _value(self, name: str) -> Any:
        initial = self._initial(name)
        if name not in self.raw:
            return initial
        bound = self.neuron.above.get(name)
        if bound is None:
            scale = (
                torch.where(initial == 0, 1.0, initial.abs()) if isinstance(initial, Tensor) else abs(initial) or 1.0
            )
            return initial + scale * self.raw[name]
        low = self._value(bound) if isinstance(bound, str) else bound
        start = self._initial(bound) if isinstance(bound, str) else bound
        return low + (initial - start) * torch.exp(self.raw[name])

    def _initial(self, name: str) -> Any:
        """Return the initial value of a field, a tensor where it differs by cell."""
        found = self._buffers.get(f"initial_{name}")
        return float(getattr(self.neuron, name)) if found is None else found


def learns(neuron: Cell) -> bool:
    """Return whether a cell has learned parameters."""
    return bool(learnables(neuron)) or bool(neuron.shared)


def learnables(neuron: Cell) -> dict[str, Learnable]:
    """Return the fields marked as learnable, by name."""
    values = {f.name: getattr(neuron, f.name) for f in fields(neuron)}
    return {name: value for name, value in values.items() if isinstance(value, Learnable)}
