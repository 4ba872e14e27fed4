"""What one cell cannot show: steps that couple cells, read a shape, or draw without a key.

A step is recorded twice, on one cell and on several unequal ones. In a step that treats each cell by itself, both
recordings are the same operations, on the same values, with the same numbers.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from sandbox.kernels.trace.record import DRAW, Ref, Row
from sandbox.kernels.trace.step import ONE, Recorded
from sandbox.kernels.unsupported import Unsupported
from sandbox.neurons import dice

SEVERAL = (2, 3)
PROPERTIES = ("shape", "ndim", "nbytes")
METHODS = ("size", "numel", "nelement", "dim", "ndimension", "stride", "__len__")
SIZES: dict[Any, str] = {
    **{getattr(Tensor, name).__get__: name for name in PROPERTIES},
    **{getattr(Tensor, name): f"{name}()" for name in METHODS},
    torch.numel: "numel()",
}
DICE = frozenset(f.__code__ for f in dice.DRAWS.values())  # they draw one number for each cell, in any shape
DRAWING = frozenset(
    {
        *("bernoulli", "bernoulli_", "binomial", "cauchy_", "dropout", "exponential_", "geometric_", "log_normal_"),
        *("multinomial", "normal", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"),
        *("randn_like", "random_", "randperm", "uniform_"),
    }
)  # functions and methods of torch; others are found by their tag as they are recorded, after they have drawn once
READING = frozenset({"numpy", "tolist", "data_ptr", "untyped_storage", "__dlpack__"})  # torch does not record them
CLOCKS = frozenset({time.time, time.time_ns, time.perf_counter, time.monotonic, time.process_time})


@contextmanager
def undrawn() -> Iterator[None]:
    """Raise Unsupported before a generator of torch or Python draws, a clock is read, or torch loses sight of numbers.

    Nothing is drawn, so the plain loop finds every generator as it was. NumPy's functions cannot be watched; its global
    generator is set back.
    """

    def watch(frame: Any, event: str, function: Any) -> None:
        if event != "c_call":
            return
        if isinstance(getattr(function, "__self__", None), random.Random):
            raise Unsupported(f"the step draws random numbers by {function.__name__}() of Python; {DRAW}")
        if function.__name__ in DRAWING and str(function.__module__ or type(function.__self__)).count("torch"):
            raise Unsupported(f"the step draws random numbers by {function.__name__}() of torch; {DRAW}")
        if function.__name__ in READING and isinstance(getattr(function, "__self__", None), Tensor):
            raise Unsupported(
                f"the step takes numbers out of a tensor by {function.__name__}(); use operations of torch"
            )
        if function in CLOCKS:
            raise Unsupported(f"the step reads a clock, {function.__name__}()")

    before, kept = sys.getprofile(), np.random.get_state()  # noqa: NPY002  # what a step may have called
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)
    if str(kept) != str(np.random.get_state()):  # noqa: NPY002
        np.random.set_state(kept)  # noqa: NPY002
        raise Unsupported(f"the step draws random numbers by numpy.random; {DRAW}")


class Sizes(TorchFunctionMode):
    """Raises Unsupported where a step reads the shape of its cells."""

    def _check(self, what: str, frame: FrameType) -> None:
        if frame.f_code not in DICE:
            raise Unsupported(
                f"the step reads {what} of its cells, and kernels run any number of cells; "
                "make constants by torch.zeros_like(current) or torch.full_like(current, value)"
            )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in SIZES and args and isinstance(args[0], Tensor) and args[0].shape[-len(SEVERAL) :] == SEVERAL:
            self._check(SIZES[func], sys._getframe(1))
        return func(*args, **(kwargs or {}))


def check_alike(
    one: Recorded, record: Callable[[tuple[int, ...], AbstractContextManager[Any]], Recorded], given: set[int]
) -> None:
    """Raise Unsupported unless a step treats each cell as it treats `one`.

    Args:
        one: the recording of a single cell.
        record: records the step again, of cells of a shape, inside of a context.
        given: places of parameters and draws.
    """
    try:
        several = record(SEVERAL, Sizes())
    except Unsupported:
        raise
    except Exception as error:
        raise Unsupported(f"the step fails on cells of another shape, {SEVERAL}: {error}") from error
    why = _difference(one, several, given)
    if why is not None:
        again = _difference(one, record(ONE, nullcontext()), given, ONE)
        raise Unsupported(why if again is None else f"the step is another one at each call: {again}")


def _difference(one: Recorded, several: Recorded, given: set[int], shape: tuple[int, ...] = SEVERAL) -> str | None:
    """Return in what two recordings differ; None if they are the same step."""
    rows, others = ({row.out: row for row in each.tape.rows} for each in (one, several))
    mine, theirs = ([each.tape.ref(value) for value in (*each.outputs, *each.ends)] for each in (one, several))
    pairs: list[tuple[int, int]] = []
    if not _matched(mine, theirs, pairs):
        return "it returns a value made from the shape of the cells, or from more than one of them"
    seen: dict[int, int] = {}
    while pairs:
        a, b = pairs.pop()
        if a in seen:  # and so are the values that it is made of, however many paths lead to it
            if seen[a] != b:
                return "it uses one value where it uses several for several cells"
            continue
        seen[a] = b
        row, other = rows.get(a), others.get(b)
        if a in given or row is None:
            first, second = one.tape.values[a], several.tape.values[b]
            if first.flatten()[0] != second.flatten()[0]:  # the first cells are alike, and have the same draws
                return "it reads other cells, or draws other numbers"
        elif other is None:
            return f"aten.{name_of(row)} is a value that it is given for several cells"
        elif (why := _row(one, several, row, other, shape, pairs)) is not None:
            return why
    return None


def _row(
    one: Recorded, several: Recorded, row: Row, other: Row, shape: tuple[int, ...], pairs: list[tuple[int, int]]
) -> str | None:
    """Return in what an operation differs from that of several cells; None if it does the same for each of them.

    The values that both read are added to the pairs.
    """
    if row.function != other.function:
        return f"it calls aten.{name_of(row)} for one cell, and aten.{name_of(other)} for several"
    reads, theirs_reads = (
        tree_leaves((each.args, each.kwargs), is_leaf=lambda x: isinstance(x, Ref)) for each in (row, other)
    )
    if not _matched(reads, theirs_reads, pairs):
        return f"aten.{name_of(row)} reads a number made from the shape of the cells, or from more than one of them"
    mine, theirs = one.tape.values[row.out].shape, several.tape.values[other.out].shape
    if theirs != (mine[:-1] + shape if mine[-1:] == ONE else mine):
        return f"aten.{name_of(row)} does not act on each cell by itself"
    return None


def _matched(mine: Sequence[Any], theirs: Sequence[Any], pairs: list[tuple[int, int]]) -> bool:
    """Return whether numbers are the same for every cell; values of the tapes are added to the pairs."""
    if len(mine) != len(theirs):
        return False
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(a, Ref) and isinstance(b, Ref):
            pairs.append((a.place, b.place))
        elif not _same(a, b):
            return False
    return True


def _same(a: Any, b: Any) -> bool:
    """Return whether two arguments are the same value, or the same number for every cell."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and (a.numel() == 1 or a.shape == b.shape) and bool(_equal(a, b).all())
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (a != a and b != b)
    return type(a) is type(b) and bool(a == b)


def _equal(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | ((a != a) & (b != b))


def name_of(row: Row) -> str:
    """Return the name of an operation."""
    return row.function if isinstance(row.function, str) else str(row.function.overloadpacket.__name__)
