"""One batch over many processes: gathering rows with their gradient, and sums, over `torch.distributed`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol

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


class Group(Protocol):
    """The processes that learn together, `rules.team.Team`."""

    group: Any  # of torch.distributed; None for that of all processes
    size: int
    rank: int

    def check(self) -> None:
        """Wait for the others; raise if one of them has failed."""


class Division(NamedTuple):
    """How the processes of a group divide one step: its samples, or what a rule draws for all of them."""

    team: Group
    start: int = 0  # the first sample of this process
    held: int = 0  # the samples of this process; 0 if every process has the whole batch
    total: int = 0  # the samples of the batch


_open: list[Division | None] = []  # the innermost is last; None: this process works alone


@contextmanager
def within(division: Division | None) -> Iterator[None]:
    """Let everything in this context be exchanged in one group only; None for no exchange at all.

    >>> with within(None):
    ...     processes()
    1
    """
    _open.append(division)
    try:
        yield
    finally:
        _open.pop()


def processes() -> int:
    """Return the number of processes; 1 outside `torch.distributed`."""
    if _open:
        return 1 if _open[-1] is None else _open[-1].team.size
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number."""
    if _open:
        return 0 if _open[-1] is None else _open[-1].team.rank
    return dist.get_rank() if processes() > 1 else 0


def in_team() -> bool:
    """Return whether it has been said how a step is divided, or that this process works alone."""
    return bool(_open)


def divided() -> Division | None:
    """Return how the samples of this step are divided; None if this process has them all, or nobody said how."""
    found = _open[-1] if _open else None
    return found if found is not None and 0 < found.held < found.total else None


def _group() -> Any:
    """Return the group in which to exchange, after its processes have said that none has failed."""
    if not _open or _open[-1] is None:
        return None
    _open[-1].team.check()
    return _open[-1].team.group


def summed(x: Tensor) -> Tensor:
    """Return the sum of x over all processes, without gradient."""
    if processes() > 1:
        x = x.detach().clone()
        dist.all_reduce(Traffic.count(x), group=_group())
    return x


def gathered(x: Tensor, axis: int = 0) -> Tensor:
    """Return x of all processes, concatenated along an axis, with gradient.

    Raises ValueError if the sizes differ between processes that do not divide the samples of one batch.
    """
    sizes = [torch.zeros(1, dtype=torch.int64, device=x.device) for _ in range(processes())]
    dist.all_gather(sizes, Traffic.count(torch.tensor([x.shape[axis]], device=x.device)), group=_group())
    found = [int(size) for size in sizes]
    if len(set(found)) > 1 and divided() is None:
        raise ValueError(
            f"the processes have batches of {found} samples; a gathered loss needs equal sizes: drop the "
            "last, smaller batch of the loader"
        )
    joined: Tensor = _Gather.apply(x, axis, found)  # type: ignore[no-untyped-call]
    return joined


class _Gather(torch.autograd.Function):
    """Concatenation over processes; backward, the sum of all processes' errors for this one's rows.

    Where shares differ, gradients are later weighted by the samples of each, so that each error is first weighted by
    those of the process that sends it, and divided by those of the one that receives it.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, axis: int, sizes: list[int]) -> Tensor:
        ctx.axis, ctx.sizes, ctx.division = axis, sizes, _open[-1] if _open else None
        widest = list(x.shape)
        widest[axis] = max(sizes)
        sent = x.contiguous()
        if x.shape[axis] < max(sizes):
            sent = x.new_zeros(widest)
            sent.narrow(axis, 0, x.shape[axis]).copy_(x)
        parts = [torch.empty_like(sent, memory_format=torch.contiguous_format) for _ in sizes]
        dist.all_gather(parts, Traffic.count(sent), group=_group())
        return torch.cat([part.narrow(axis, 0, size) for part, size in zip(parts, sizes, strict=True)], axis)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None, None]:
        error, mine = error.contiguous().clone(), ctx.sizes[here(ctx)]
        uneven = len(set(ctx.sizes)) > 1
        if uneven:
            error *= mine
        with within(ctx.division) if ctx.division is not None else nullcontext():
            dist.all_reduce(Traffic.count(error), group=_group())
        found = error.narrow(ctx.axis, sum(ctx.sizes[: here(ctx)]), mine)
        return found / mine if uneven else found, None, None


def here(ctx: Any) -> int:
    """Return the number of the process that ran a function forward; autograd may run backward in another thread."""
    return rank() if ctx.division is None else int(ctx.division.team.rank)
