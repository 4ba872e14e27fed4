"""Spikes as pairs of step and cell, packed so that a long recording of many cells fits into memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.machine.compiled import absent
from sandbox.synapses.events import kernels

WORD = 64  # cells
LONG = 2**16  # bits from which a compiled search is faster, its import apart


@dataclass(frozen=True)
class Packed:
    """The spikes of some steps: the places of those that are set, or a bit for each, whichever takes less memory."""

    begin: int  # first step
    steps: int
    count: int  # of spikes
    data: Any  # NumPy array: int32 (int64 if it must be) places in `[steps, cells]`, or bits in bytes `[steps, bytes]`
    bits: bool

    def places(self, cells: int) -> Any:
        """Return the places of the spikes in `[steps, cells]`, in their order."""
        return unpacked(self.data, cells) if self.bits else self.data


def packed(words: Any, cells: int, begin: int) -> Packed:
    """Pack the spikes of some steps, of which the first is `begin`.

    Args:
        words: NumPy array of bits, uint64 `[steps, cells / 64]`, as `words_of` returns.
        cells: in a step.
        begin: number of the first step.
    """
    width = -(-cells // 8)  # bytes of a step
    found = places(words, cells, len(words) * width // 4)
    if found is not None:
        return Packed(begin, len(words), len(found), found, bits=False)
    data = np.ascontiguousarray(words.view(np.uint8)[:, :width])
    return Packed(begin, len(words), len(unpacked(data, cells)), data, bits=True)


def places(words: Any, cells: int, most: int) -> Any:
    """Return the places of the ones among bits `[steps, cells]`, in their order; None if there are more than `most`.

    >>> places(np.array([[4], [1]], np.uint64), 3, most=2).tolist()
    [2, 3]
    """
    narrow = np.int32 if len(words) * cells < 2**31 else np.int64
    if WORD * words.size < LONG or absent():
        found = unpacked(words.view(np.uint8), cells).astype(narrow)
        return found if len(found) <= most else None
    room = np.empty(most, narrow)
    count = kernels().places(words, cells, room)
    return room[:count].copy() if count <= most else None


def words_of(marks: Any) -> Any:
    """Return bytes 0 or 1 `[steps, cells]` as bits, 64 cells a word, the first one the lowest: uint64.

    >>> words_of(np.array([[1, 0, 1]], np.uint8))
    array([[5]], dtype=uint64)
    """
    steps, cells = marks.shape
    words = np.zeros((steps, -(-cells // WORD)), np.uint64)
    words.view(np.uint8)[:, : -(-cells // 8)] = np.packbits(marks, axis=1, bitorder="little")
    return words


def unpacked(data: Any, cells: int) -> Any:
    """Return the places of the ones in `[steps, cells]` among bits in bytes `[steps, ...]`, as int64."""
    return np.flatnonzero(np.unpackbits(data, axis=1, count=cells, bitorder="little").view(np.bool_))


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Spikes of cells `[*shape]` over a number of steps, as pairs.

    `step` and `cell` have one entry for each spike, in the order of steps, and of cells within a step; `cell` counts
    the cells of a step as if they stood in one row, so that `cell = row * columns + column` for cells in two
    dimensions. In memory a spike takes four bytes, or an eighth of a byte for each cell and step where that is less;
    the pairs, of 16 bytes, are computed when they are asked for.

    Args:
        parts: packed spikes, one after the other.
        steps: in total.
        shape: of the cells.
        dt: time step [ms].

    >>> found = Events.of(torch.tensor([[0.0, 1.0], [1.0, 1.0]]), dt=0.5)
    >>> found.step.tolist(), found.cell.tolist(), found.t.tolist()
    ([0, 1, 1], [1, 0, 1], [0.5, 1.0, 1.0])
    """

    parts: tuple[Packed, ...]
    steps: int
    shape: torch.Size
    dt: float = 1.0

    def __repr__(self) -> str:
        return f"Events({len(self):,} spikes, {self.steps:,} steps of {self.dt:g} ms, cells {tuple(self.shape)})"

    @classmethod
    def of(cls, spikes: Tensor, dt: float = 1.0) -> Events:
        """Return the events in spikes `[T, ...]` of ones and zeros; raise ValueError for other values."""
        return cls((recorded(spikes, 0),), len(spikes), spikes.shape[1:], dt)

    @classmethod
    def of_pairs(cls, step: Tensor, cell: Tensor, steps: int, shape: torch.Size, dt: float = 1.0) -> Events:
        """Return the events of pairs in any order, `cell` counted as the class says."""
        cells = math.prod(shape)
        flat = (step.long() * cells + cell).numpy()
        narrow = np.int32 if steps * cells < 2**31 else np.int64
        return cls((Packed(0, steps, flat.size, np.sort(flat).astype(narrow), bits=False),), steps, shape, dt)

    @cached_property
    def cells(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    @cached_property
    def _places(self) -> Tensor:
        every = [part.begin * self.cells + part.places(self.cells).astype(np.int64) for part in self.parts]
        return torch.from_numpy(np.concatenate(every)) if every else torch.zeros(0, dtype=torch.int64)

    @property
    def step(self) -> Tensor:
        """The step of each spike, from 0, `[spikes]` int64."""
        return self._places // max(1, self.cells)

    @property
    def cell(self) -> Tensor:
        """The cell of each spike, `[spikes]` int64."""
        return self._places % max(1, self.cells)

    @property
    def index(self) -> tuple[Tensor, ...]:
        """The cell of each spike by its axes: for cells `[B, n]`, the sample and the cell, `[spikes]` int64 each."""
        return torch.unravel_index(self.cell, self.shape)

    @property
    def t(self) -> Tensor:
        """The time of each spike, at the end of its step [ms], `[spikes]` float64."""
        return (self.step + 1).to(torch.float64) * self.dt

    def __len__(self) -> int:
        """Return the number of spikes."""
        return sum(part.count for part in self.parts)

    def counts(self) -> Tensor:
        """Return the number of spikes of each cell, `[*shape]` int64."""
        found = np.zeros(self.cells, np.int64)
        for part in self.parts:
            found += np.bincount(part.places(self.cells) % max(1, self.cells), minlength=self.cells)
        return torch.from_numpy(found).view(self.shape)

    def dense(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return ones and zeros `[T, *shape]`."""
        found = torch.zeros(self.steps * self.cells, dtype=dtype)
        for part in self.parts:
            found[part.begin * self.cells + torch.from_numpy(part.places(self.cells)).long()] = 1
        return found.view(self.steps, *self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the packed spikes take."""
        return sum(int(part.data.nbytes) for part in self.parts)


def recorded(spikes: Tensor, begin: int) -> Packed:
    """Pack spikes `[T, ...]`, of which the first step is `begin`; raise ValueError for values other than 0 and 1."""
    set_ = spikes == 1
    if not torch.equal(set_, spikes != 0):
        odd = float(spikes[(spikes != 0) & ~set_].reshape(-1)[0])
        raise ValueError(f"an output is {odd:g}, and events are spikes of 0 or 1: record variables instead")
    cells = math.prod(spikes.shape[1:])
    return packed(words_of(set_.reshape(len(spikes), cells).view(torch.uint8).cpu().numpy()), cells, begin)
