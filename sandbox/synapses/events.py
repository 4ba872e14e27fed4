"""A sparse matrix as a list of events, and its products with a dense matrix."""

from __future__ import annotations

from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sandbox.machine.memory import empty
from sandbox.machine.threads import share_out


class Events(NamedTuple):
    """A sparse matrix `[N, K]`: row n has `value` in columns `at`, from `start[n]` to `start[n + 1]`, and else zero."""

    start: Tensor  # [N + 1]
    at: Tensor  # [events]
    value: Tensor  # [events]


def kernels() -> ModuleType:
    """Import the compiled loops, and with them numba, when first needed."""
    from sandbox.synapses import kernels as compiled

    return compiled


def active(x: Tensor) -> Events:
    """Return the events of a matrix `[N, K]`; NaN counts as an event.

    >>> active(torch.tensor([[0.0, 1.0], [0.0, 0.0], [0.5, 2.0]])).at
    tensor([1, 0, 1], dtype=torch.int32)
    """
    array = numpy(x)
    pieces = share_out(lambda first, last: _scanned(array[first:last]), len(array))
    ends = np.cumsum([0, *(len(at) for _, at, _ in pieces)])
    starts = [np.zeros(1, np.int64), *(piece[0][1:] + end for piece, end in zip(pieces, ends[:-1], strict=True))]
    parts = (starts, *([piece[k] for piece in pieces] for k in (1, 2)))
    return Events(*(torch.from_numpy(part[0] if len(part) == 1 else np.concatenate(part)) for part in parts))


def _scanned(x: Any) -> tuple[Any, Any, Any]:
    start = np.empty(len(x) + 1, np.int64)
    # np.empty and not np.zeros, so that memory is touched only as far as it is filled
    at, value = np.empty(x.size + 1, np.int32), np.empty(x.size + 1, x.dtype)
    count = kernels().scan(_bits(x), x, start, at, value)
    return start, at[:count].copy(), value[:count].copy()


def _bits(x: Any) -> Any:
    """View numbers as integers, of which only the bits of 0.0 are zero; -0.0 and NaN count as events."""
    return x.view(np.uint32 if x.itemsize == 4 else np.uint64)


def rows(events: Events, source: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `bias + x @ source` for the events of x `[N, K]`, a source `[K, O]` and a bias `[O]`.

    >>> rows(active(torch.tensor([[0.0, 2.0]])), torch.tensor([[1.0], [3.0]]))
    tensor([[6.]])
    """
    out = empty((len(events.start) - 1, source.shape[1]), source)
    base = source.new_zeros(source.shape[1]) if bias is None else bias
    given = (*map(numpy, events), numpy(source), numpy(base), out.numpy())
    share_out(lambda first, last: kernels().rows(*given, first, last), len(out))
    return out


def heard(x: Tensor, source: Tensor, bias: Tensor | None, current: Tensor, out: Tensor) -> int:
    """Write `current + (bias + x @ source)` for x `[N, K]` and a source `[K, O]`; return the number of events in x.

    >>> out = torch.empty(1, 1)
    >>> heard(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0], [3.0]]), None, torch.ones(1, 1), out)
    1
    >>> out
    tensor([[7.]])
    """
    spikes, base = numpy(x), source.new_zeros(source.shape[1]) if bias is None else bias
    given = (_bits(spikes), spikes, *map(numpy, (source, base, current)), out.numpy())
    return sum(share_out(lambda first, last: kernels().heard(*given, first, last), len(x)))


def columns(events: Events, source: Tensor, width: int) -> Tensor:
    """Return `x.T @ source` for the events of x `[N, width]` and a source `[N, O]`.

    >>> columns(active(torch.tensor([[0.0, 2.0], [0.0, 1.0]])), torch.tensor([[1.0], [3.0]]), 2)
    tensor([[0.],
            [5.]])
    """
    out = source.new_empty(width, source.shape[1])
    given = (*map(numpy, events), numpy(source), out.numpy())
    share_out(lambda first, last: kernels().columns(*given, first, last), width)
    return out


def numpy(x: Tensor) -> Any:
    """Return the array behind a tensor; a copy if the tensor is not contiguous."""
    return x.detach().contiguous().numpy()
