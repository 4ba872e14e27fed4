"""The closed list of operations in a kernel: the code of each node, and the formula for its derivatives."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """An operation of a kernel.

    Args:
        arity: number of arguments.
        code: its Python in a kernel.
        formula: for SymPy to differentiate; None if `slopes` are given instead.
        slopes: the partial derivative for each argument; None where there is none.

    In both, the arguments are called a, b, c and d, and the node's own value y.
    """

    arity: int
    code: str
    formula: str | None = None
    slopes: tuple[str | None, ...] = ()


SHARED = "where(eq(a, b), 0.5, where({}({}, {}), 0, 1))"  # of two equal values, each has half of the gradient

KINDS: dict[str, Kind] = {
    "add": Kind(2, "{0} + {1}", "a + b"),
    "sub": Kind(2, "{0} - {1}", "a - b"),
    "mul": Kind(2, "{0} * {1}", "a * b"),
    "div": Kind(2, "{0} / {1}", None, ("1 / b", "-y / b")),
    "neg": Kind(1, "-{0}", "-a"),
    "fma": Kind(3, "fma({0}, {1}, {2})", "a * b + c"),  # a b + c, rounded once
    "lerp": Kind(3, "lerp({0}, {1}, {2})", "a + c * (b - a)"),  # c is the weight of b
    "blend": Kind(4, "lerp({0}, {1}, {2})", None, ("d", "c", None, None)),  # c is a number, and d is 1 - c
    "abs": Kind(1, "fabs({0})", None, ("sign(a)",)),
    "sign": Kind(1, "sign({0})", None, (None,)),
    "sqrt": Kind(1, "sqrt({0})", "sqrt(a)"),
    "exp": Kind(1, "exp({0})", "exp(a)"),
    "expm1": Kind(1, "expm1({0})", None, ("y + 1",)),
    "log": Kind(1, "log({0})", "log(a)"),
    "log1p": Kind(1, "log1p({0})", "log(1 + a)"),
    "log10": Kind(1, "log10({0})", "log(a) / log(10)"),
    "sin": Kind(1, "sin({0})", "sin(a)"),
    "cos": Kind(1, "cos({0})", "cos(a)"),
    "tan": Kind(1, "tan({0})", None, ("1 + y**2",)),
    "sinh": Kind(1, "sinh({0})", "sinh(a)"),
    "cosh": Kind(1, "cosh({0})", "cosh(a)"),
    "tanh": Kind(1, "tanh({0})", None, ("1 - y**2",)),
    "asin": Kind(1, "asin({0})", "asin(a)"),
    "acos": Kind(1, "acos({0})", "acos(a)"),
    "atan": Kind(1, "atan({0})", "atan(a)"),
    "sigmoid": Kind(1, "sigmoid({0})", None, ("y * (1 - y)",)),
    "erf": Kind(1, "erf({0})", "erf(a)"),
    "erfc": Kind(1, "erfc({0})", "erfc(a)"),
    "floor": Kind(1, "floor({0})", None, (None,)),
    "ceil": Kind(1, "ceil({0})", None, (None,)),
    "trunc": Kind(1, "trunc({0})", None, (None,)),
    "mod": Kind(2, "mod({0}, {1})", None, ("1", "-floor(a / b)")),  # with the sign of b
    "floordiv": Kind(2, "floordiv({0}, {1})", None, (None, None)),
    "pow": Kind(
        2,
        "power({0}, {1})",
        None,
        (
            "where(eq(b, 0), 0, b * pow(a, b - 1))",
            "where(eq(a, 0), where(ge(b, 0), 0, y * log(a)), y * log(a))",
        ),
    ),
    "raised": Kind(3, "power({0}, {1})", None, ("b * pow(a, c)", None, None)),  # b is a number, and c is b - 1
    "maximum": Kind(2, "maximum({0}, {1})", None, ("where(ge(a, b), 1, 0)", "where(ge(a, b), 0, 1)")),  # of a bound b
    "minimum": Kind(2, "minimum({0}, {1})", None, ("where(le(a, b), 1, 0)", "where(le(a, b), 0, 1)")),
    "larger": Kind(2, "maximum({0}, {1})", None, (SHARED.format("lt", "a", "b"), SHARED.format("lt", "b", "a"))),
    "smaller": Kind(2, "minimum({0}, {1})", None, (SHARED.format("gt", "a", "b"), SHARED.format("gt", "b", "a"))),
    "where": Kind(3, "select({0}, {1}, {2})", None, (None, "where(a, 1, 0)", "where(a, 0, 1)")),
    "stop": Kind(1, "{0}", None, (None,)),  # torch's detach
    "spike": Kind(2, "select({0} - {1} >= zero, one, zero)", None, ("surrogate", None)),  # of u, with noise
    "strict_spike": Kind(2, "select({0} - {1} > zero, one, zero)", None, ("surrogate", None)),
    "lt": Kind(2, "{0} < {1}", None, (None, None)),
    "le": Kind(2, "{0} <= {1}", None, (None, None)),
    "gt": Kind(2, "{0} > {1}", None, (None, None)),
    "ge": Kind(2, "{0} >= {1}", None, (None, None)),
    "eq": Kind(2, "{0} == {1}", None, (None, None)),
    "ne": Kind(2, "{0} != {1}", None, (None, None)),
    "and": Kind(2, "{0} & {1}", None, (None, None)),
    "or": Kind(2, "{0} | {1}", None, (None, None)),
    "not": Kind(1, "not_({0})", None, (None,)),
}
COSTLY = frozenset(
    {
        "exp",
        "expm1",
        "log",
        "log1p",
        "log10",
        "sin",
        "cos",
        "tan",
        "sinh",
        "cosh",
        "tanh",
        "asin",
        "acos",
        "atan",
        "sigmoid",
        "erf",
        "erfc",
        "mod",
        "floordiv",
        "pow",
        "raised",
    }
)  # operations that take longer than reading a number from memory
CONDITIONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})
