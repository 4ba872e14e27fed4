"""What one cell cannot show: steps that couple cells, read a shape, or draw without a key.

A step is recorded twice, on one cell and on several unequal ones. In a step that treats each cell by itself, both
recordings are the same operations, on the same values, with the same numbers.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from sandbox.kernels.trace.record import DRAW, Ref, Row, refs
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
GENERATORS = (random.Random, np.random.Generator, np.random.RandomState)
DRAWING = frozenset(
    {
        *("bernoulli", "bernoulli_", "binomial", "cauchy_", "dropout", "exponential_", "geometric_", "log_normal_"),
        *("multinomial", "normal", "normal_", "poisson", "rand", "rand_like", "randint", "randint_like", "randn"),
        *("randn_like", "random_", "randperm", "uniform_"),
    }
)  # functions and methods of torch; others are found by their tag as they are recorded, after they have drawn once
CLOCKS = frozenset({time.time, time.time_ns, time.perf_counter, time.monotonic, time.process_time})


@contextmanager
def undrawn() -> Iterator[None]:
    """Raise Unsupported before a generator of torch, Python or NumPy draws, or a clock is read, on this thread.

    Nothing is drawn, so the plain loop finds every generator as it was.
    """

    def watch(frame: Any, event: str, function: Any) -> None:
        if event != "c_call":
            return
        if isinstance(getattr(function, "__self__", None), GENERATORS):
            kind = "Python" if isinstance(function.__self__, random.Random) else "NumPy"
            raise Unsupported(f"the step draws random numbers by {function.__name__}() of {kind}; {DRAW}")
        if function.__name__ in DRAWING and str(function.__module__ or type(function.__self__)).count("torch"):
            raise Unsupported(f"the step draws random numbers by {function.__name__}() of torch; {DRAW}")
        if function in CLOCKS:
            raise Unsupported(f"the step reads a clock, {function.__name__}()")

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(before)


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
    several = record(SEVERAL, Sizes())
    why = _difference(one, several, given)
    if why is not None:
        again = _difference(one, record(ONE, nullcontext()), given, ONE)
        raise Unsupported(why if again is None else f"the step is another one at each call: {again}")


def _difference(one: Recorded, several: Recorded, given: set[int], shape: tuple[int, ...] = SEVERAL) -> str | None:
    """Return in what two recordings differ; None if they are the same step."""
    rows = {row.out: row for row in one.tape.rows}
    others = {row.out: row for row in several.tape.rows}
    results = [(*each.outputs, *each.ends) for each in (one, several)]
    if len(results[0]) != len(results[1]):
        return "it returns another number of values"
    pairs = list(
        zip(
            *([each.tape.ref(value) for value in values] for each, values in zip((one, several), results, strict=True)),
            strict=True,
        )
    )
    seen: set[int] = set()
    while pairs:
        a, b = pairs.pop()
        if not _same(a, b):
            return "it returns a value made from the shape of the cells, or from more than one of them"
        if not isinstance(a, Ref) or a.place in seen:
            continue
        seen.add(a.place)
        if a.place in given or a.place not in rows:
            continue
        row, other = rows[a.place], others.get(a.place)
        why = None if other is None else _row(one, several, row, other, shape)
        if other is None or why is not None:
            return why or f"aten.{name_of(row)} is not there for several cells"
        pairs.extend((ref, ref) for ref in refs(row))
    return None


def _row(one: Recorded, several: Recorded, row: Row, other: Row, shape: tuple[int, ...]) -> str | None:
    """Return in what an operation differs from that of several cells; None if it does the same for each of them."""
    if row.function is not other.function and row.function != other.function:
        return f"it calls aten.{name_of(row)} for one cell, and aten.{name_of(other)} for several"
    leaves = [tree_leaves((each.args, each.kwargs), is_leaf=lambda x: isinstance(x, Ref)) for each in (row, other)]
    if len(leaves[0]) != len(leaves[1]) or not all(map(_same, *leaves)):
        return f"aten.{name_of(row)} reads a number made from the shape of the cells, or from more than one of them"
    mine, theirs = one.tape.values[row.out].shape, several.tape.values[row.out].shape
    if theirs != (mine[:-1] + shape if mine[-1:] == ONE else mine):
        return f"aten.{name_of(row)} does not act on each cell by itself"
    return None


def _same(a: Any, b: Any) -> bool:
    """Return whether two arguments are the same value, or the same number for every cell."""
    if isinstance(a, Ref) or isinstance(b, Ref):
        return bool(a == b)
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
