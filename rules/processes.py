"""One batch over many processes: gathering rows with their gradient, and sums, over `torch.distributed`."""

from __future__ import annotations

from types import TracebackType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributed as dist


class Traffic:
    """A context that counts the bytes that this process sends to the others."""

    _open: ClassVar[list[Traffic]] = []

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> Traffic:
        self._open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.remove(self)

    @classmethod
    def count(cls, x: Tensor) -> Tensor:
        """Count a tensor that is about to be sent, and return it."""
        for traffic in cls._open:
            traffic.bytes += x.nbytes
        return x


def processes() -> int:
    """Return the number of processes; 1 outside `torch.distributed`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number."""
    return dist.get_rank() if processes() > 1 else 0


def summed(x: Tensor) -> Tensor:
    """Return the sum of x over all processes, without gradient."""
    if processes() > 1:
        x = x.detach().clone()
        dist.all_reduce(Traffic.count(x))
    return x


def gathered(x: Tensor, axis: int = 0) -> Tensor:
    """Return x of all processes, concatenated along an axis, with gradient.

    Raises ValueError if the sizes differ between processes.
    """
    sizes = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(processes())]
    dist.all_gather(sizes, Traffic.count(torch.tensor([x.shape[axis]], device=x.device)))
    found = [int(size) for size in sizes]
    if len(set(found)) > 1:
        raise ValueError(
            f"the processes have batches of {found} samples; a gathered loss needs equal sizes: drop the "
            "last, smaller batch of the loader"
        )
    joined: Tensor = _Gather.apply(x, axis)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    """Concatenation over processes; backward, the sum of all processes' errors for this one's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int) -> Tensor:
        ctx.axis = axis
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(processes())]
        dist.all_gather(parts, Traffic.count(x.contiguous()))
        return torch.cat(parts, axis)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None]:
        error = error.contiguous().clone()
        dist.all_reduce(Traffic.count(error))
        size = error.shape[ctx.axis] // processes()
        return error.narrow(ctx.axis, rank() * size, size), None
