"""Exact steps of linear equations that follow one another, such as a synapse and the membrane behind it.

Brian2 asks SymPy for the matrix exponential of every linear system, which takes up to half a minute. Where the
variables can be put into an order in which each depends on earlier ones alone, the exponential is a sum over paths,

    (exp(M t))_ij = Σ M_ik M_kl ... M_mj f[M_ii, M_kk, ..., M_jj],  f(x) = exp(x t),

with divided differences f[...] of the exponential. Reference: Higham 2008, Functions of Matrices, theorem 4.11
(doi 10.1137/1.9780898717778; reconstructed).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any


def step(names: Sequence[str], matrix: Any, constants: Any) -> str | None:
    """Return Brian2's statements for a step of `dx/dt = matrix x + constants`; None if this is not a case for it.

    >>> import sympy
    >>> a, b = sympy.symbols("a b", real=True)
    >>> print(step(["g", "v"], sympy.Matrix([[-a, 0], [1, -b]]), sympy.Matrix([0, 0])))
    _g = g*exp(-a*dt)
    _v = dt*g*exprel(-dt*abs(a - b))*exp(dt*(-a/2 - b/2 + abs(a - b)/2)) + v*exp(-b*dt)
    g = _g
    v = _v
    """
    import sympy  # type: ignore[import-untyped]
    from brian2.parsing.sympytools import sympy_to_str

    order = sorted_by_dependence(matrix)
    if order is None or len(order) < 2 or any(matrix[i, i].is_zero for i in order):
        return None
    dt = sympy.Symbol("dt", real=True, positive=True)
    fixed: dict[int, Any] = {}  # the fixed point, negated
    for i in order:
        total = constants[i] - sum(matrix[i, j] * fixed[j] for j in fixed)
        fixed[i] = sympy.cancel(total / matrix[i, i])  # where a factor of both, such as that of refractory cells, ends
    lines = []
    for i, name in enumerate(names):
        gains = {j: _gain(i, j, matrix, dt) for j in order}
        variables = {j: sympy.Symbol(names[j], real=True) for j in order}
        moved = [gains[j] * variables[j] for j in order]
        offset = sympy.Add(*(gains[j] * fixed[j] for j in order)) - fixed[i]
        lines.append(f"_{name} = {sympy_to_str(sympy.Add(*moved, offset))}")
    return "\n".join([*lines, *(f"{name} = _{name}" for name in names)])


def sorted_by_dependence(matrix: Any) -> list[int] | None:
    """Return the rows in an order in which each depends on itself and earlier ones; None if there is none.

    >>> import sympy
    >>> sorted_by_dependence(sympy.Matrix([[1, 1], [0, 1]])), sorted_by_dependence(sympy.Matrix([[1, 1], [1, 1]]))
    ([1, 0], None)
    """
    waiting, order = list(range(matrix.rows)), []
    while waiting:
        free = [i for i in waiting if all(matrix[i, j].is_zero for j in waiting if j != i)]
        if not free:
            return None
        order += free
        waiting = [i for i in waiting if i not in free]
    return order


def _gain(i: int, j: int, matrix: Any, dt: Any) -> Any:
    """Return entry `i, j` of the exponential."""
    import sympy

    terms = []
    for path in _paths(i, j, matrix):
        weight = sympy.Mul(*(matrix[a, b] for a, b in zip(path, path[1:], strict=False)))
        terms.append(weight * _difference(tuple(sorted((matrix[k, k] for k in path), key=str)), dt))
    return sympy.Add(*terms)


def _paths(i: int, j: int, matrix: Any) -> Iterator[tuple[int, ...]]:
    """Yield the ways from a variable to one that it depends on, each a sequence of rows."""
    if i == j:
        yield (i,)
        return
    for k in range(matrix.rows):
        if k != i and not matrix[i, k].is_zero:
            yield from ((i, *rest) for rest in _paths(k, j, matrix))


@lru_cache(maxsize=1024)
def _difference(rates: tuple[Any, ...], dt: Any) -> Any:
    """Return the divided difference of `exp(rate dt)` over rates, of which equal ones stand side by side.

    Of two rates, `dt exp(larger dt) exprel(-|difference| dt)` has its limit where their values are equal, too; of
    more, `divided` has.
    """
    import sympy

    if len(rates) == 2 and rates[0] != rates[1]:
        apart = sympy.Abs(rates[0] - rates[1])
        larger = (rates[0] + rates[1] + apart) / 2
        return dt * sympy.exp(larger * dt) * sympy.Function("exprel")(-apart * dt)
    count = len(rates) - 1
    if rates[0] == rates[-1]:
        return dt**count / sympy.factorial(count) * sympy.exp(rates[0] * dt)
    return dt**count * sympy.Function("divided")(*(rate * dt for rate in rates))


def exact(equations: Any, variables: Mapping[str, Any], method_options: Any = None) -> str:
    """Return what Brian2's method "exact" returns, by this step where it is one for it; raises as Brian2 does."""
    from brian2.stateupdaters.base import UnsupportedEquationsException
    from brian2.stateupdaters.exact import get_linear_system, is_constant_over_dt

    try:
        names, matrix, constants = get_linear_system(equations, variables)
        moment = variables["dt"].get_value()[0]
        steady = all(is_constant_over_dt(entry, variables, moment) for entry in (*matrix, *constants))
        found = step(names, matrix, constants) if steady and not equations.is_stochastic else None
    except UnsupportedEquationsException:
        found = None
    return found or by_brian2(equations, variables, method_options)


def by_brian2(equations: Any, variables: Mapping[str, Any], method_options: Any = None) -> str:
    """Return what Brian2's method "exact" returns, with other names while it solves; raises as Brian2 does.

    Brian2 takes its solution's variables for what SymPy calls so: `E` for Euler's number, and `beta` for a function.
    """
    from brian2.stateupdaters.exact import linear

    taken = {*equations.identifiers, *equations.names, *variables}
    other: dict[str, str] = {}
    for name in misread(equations.diff_eq_names):
        other[name] = f"{name}_0"
        while other[name] in taken or misread([other[name]]):
            other[name] += "0"
    renamed = {new: variables[name] for name, new in other.items() if name in variables}
    code = str(linear(equations.substitute(**other) if other else equations, {**variables, **renamed}, method_options))
    for name, new in other.items():
        code = re.sub(rf"\b(_?){new}\b", rf"\1{name}", code)
    return code


def misread(names: Iterable[str]) -> list[str]:
    """Return the names that mean something to SymPy.

    >>> misread(["v", "E", "trace"])
    ['E', 'trace']
    """
    import sympy

    return [name for name in names if hasattr(sympy, name)]
