"""The functions that an equation may call, on numbers and tensors: one table for parser, compiler and solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import add, sub
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sandbox.neurons.exprel import exprel
from sandbox.reference.compiler.divided import divided


class Function(NamedTuple):
    """A function of `arity` arguments: on floats, and on tensors (of which some may be floats)."""

    arity: int
    plain: Callable[..., Any]
    torch: Callable[..., Any]

    def __call__(self, *values: Any) -> Any:
        return (self.torch if any(isinstance(value, Tensor) for value in values) else self.plain)(*values)


POLES: dict[Callable[..., float], float] = {math.log: 0.0, math.log10: 0.0, math.log1p: -1.0}


def ieee(f: Callable[..., float]) -> Callable[..., float]:
    """Make a function behave as in NumPy: infinity for an overflow, NaN outside the domain."""

    def evaluate(*values: float) -> float:
        try:
            return f(*values)
        except OverflowError:
            return math.inf
        except ValueError:
            return -math.inf if values[0] == POLES.get(f) else math.nan

    return evaluate


def divide(a: Any, b: Any) -> Any:
    """Return `a / b`, infinite or NaN where b is zero."""
    try:
        return a / b
    except ZeroDivisionError:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1.0, b)


def power(a: Any, b: Any) -> Any:
    """Return `a ** b`, NaN where it would be complex."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return a**b
    try:
        return math.pow(a, b)
    except OverflowError:
        return -math.inf if a < 0 and b % 2 == 1 else math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan


def remainder(a: Any, b: Any) -> Any:
    """Return `a % b`, with the sign of b, NaN where b is zero."""
    return a % b if isinstance(b, Tensor) or b else (a % b if isinstance(a, Tensor) else math.nan)


def floored(a: Any, b: Any) -> Any:
    """Return `a // b`."""
    return a // b if isinstance(a, Tensor) or isinstance(b, Tensor) or b else divide(a, b)


def truncated(x: Tensor) -> Tensor:
    """Round toward zero; 0 or 1 for a condition."""
    return x.to(torch.get_default_dtype()) if x.dtype == torch.bool else torch.trunc(x)


def clamp(x: Any, low: Any, high: Any) -> Any:
    """Limit `x` to the range from low to high."""
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        first = next(value for value in (x, low, high) if isinstance(value, Tensor))
        x, low, high = (torch.as_tensor(value, dtype=first.dtype, device=first.device) for value in (x, low, high))
    return torch.clamp(x, low, high)


def timestep(t: Any, dt: Any) -> Any:
    """Return the number of whole steps in `t`, as Brian2 counts them."""
    whole = (t + 1e-3 * dt) / dt
    return torch.floor(whole) if isinstance(whole, Tensor) else float(math.floor(whole))


HALVINGS = 48  # of an interval of whole numbers: for means up to 1e14


def counted(mean: Tensor, u: Tensor) -> Tensor:
    """Return the Poisson quantile of numbers uniform in (0, 1): the smallest k whose distribution function reaches u.

    Its derivative is that of its mean. Found by bisection of the incomplete gamma function, P(X <= k) = Q(k + 1, mean).

    >>> counted(torch.tensor([0.0, 2.0, 2.0], dtype=torch.float64), torch.tensor([0.5, 0.5, 0.99], dtype=torch.float64))
    tensor([0., 2., 6.], dtype=torch.float64)
    """
    lam = mean.detach().clamp(min=0).to(torch.float64)
    low, high = torch.full_like(lam, -1.0), torch.floor(lam + 10 * torch.sqrt(lam) + 30)
    for _ in range(HALVINGS):
        middle = torch.floor((low + high) / 2)
        below = (middle < 0) | (torch.special.gammaincc(middle.clamp(min=0) + 1, lam) < u)
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high.to(mean.dtype) + (mean - mean.detach())


FUNCTIONS: dict[str, Function] = {
    "exp": Function(1, ieee(math.exp), torch.exp),
    "log": Function(1, ieee(math.log), torch.log),
    "log10": Function(1, ieee(math.log10), torch.log10),
    "log1p": Function(1, ieee(math.log1p), torch.log1p),
    "expm1": Function(1, ieee(math.expm1), torch.expm1),
    "exprel": Function(1, ieee(exprel), exprel),
    "sqrt": Function(1, ieee(math.sqrt), torch.sqrt),
    "sin": Function(1, ieee(math.sin), torch.sin),
    "cos": Function(1, ieee(math.cos), torch.cos),
    "tan": Function(1, ieee(math.tan), torch.tan),
    "sinh": Function(1, lambda x: math.copysign(ieee(math.sinh)(abs(x)), x), torch.sinh),
    "cosh": Function(1, ieee(math.cosh), torch.cosh),
    "tanh": Function(1, math.tanh, torch.tanh),
    "arcsin": Function(1, ieee(math.asin), torch.asin),
    "arccos": Function(1, ieee(math.acos), torch.acos),
    "arctan": Function(1, math.atan, torch.atan),
    "abs": Function(1, abs, torch.abs),
    "sign": Function(1, lambda x: float((x > 0) - (x < 0)) if x == x else math.nan, torch.sign),
    "floor": Function(1, lambda x: float(math.floor(x)) if math.isfinite(x) else x, torch.floor),
    "ceil": Function(1, lambda x: float(math.ceil(x)) if math.isfinite(x) else x, torch.ceil),
    "int": Function(1, lambda x: float(math.trunc(x)) if math.isfinite(x) else x, truncated),
    "clip": Function(3, lambda x, low, high: min(max(x, low), high), clamp),
    "timestep": Function(2, timestep, timestep),
}
WRITTEN = frozenset({"divided"})  # functions in the code of a step that no text may call, of any number of arguments
# where random numbers are allowed: the draw of each function, and its number of arguments
RANDOM = {"rand": "uniform", "randn": "normal", "poisson": "uniform"}
DRAWING = {"rand": 0, "randn": 0, "poisson": 1}
# what calls that the compiler writes do with plain numbers
PLAIN: dict[str, Callable[..., Any]] = {
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "and": lambda *x: all(x),
    "or": lambda *x: any(x),
    "not": lambda x: not x,
    "indicator": float,
    "pow": power,
    "mod": remainder,
    "floordiv": floored,
    "largest": max,
    "smallest": min,
    "plus": add,
    "minus": sub,
    "difference": sub,
    "over": divide,
    "divided": divided,
    "choose": lambda condition, a, b: a if condition else b,
}
