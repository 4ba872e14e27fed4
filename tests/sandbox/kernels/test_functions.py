"""Elementary functions of a kernel checked against accurate long doubles, and every slope against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sandbox.kernels import using
from sandbox.kernels.trace.adjoint import adjoint
from sandbox.kernels.trace.graph import Graph
from sandbox.kernels.trace.kinds import CONDITIONS, KINDS
from sandbox.kernels.unsupported import Unsupported

from .kinds_at_once import hold_to_torch

numba = pytest.importorskip("numba")
DOMAINS = {
    "log": (0.1, 3),
    "log1p": (-0.5, 3),
    "log10": (0.1, 3),
    "sqrt": (0.1, 3),
    "pow": (0.5, 3),
    "raised": (0.5, 3),
    "asin": (-0.9, 0.9),
    "acos": (-0.9, 0.9),
    "mod": (0.6, 5),
}
ULPS = {"exp": 1.0, "expm1": 3.0, "tanh": 4.0, "sinh": 4.0, "cosh": 3.0, "sigmoid": 3.0}
LONG = {"sigmoid": lambda x: 1 / (1 + np.exp(-x))}


def evaluator(names, real):
    from sandbox.kernels.device.elementary import functions

    namespace = functions(real, True)
    return [numba.njit(error_model="numpy")(_mapped(namespace[name])) for name in names]


def _mapped(f):
    def run(xs):
        out = np.empty_like(xs)
        for i in range(len(xs)):
            out[i] = f(xs[i])
        return out

    return run


@pytest.mark.parametrize("real", [np.float64, pytest.param(np.float32, marks=pytest.mark.slow)])
def test_exponentials_to_the_last_place(real):
    """Against long doubles; the bounds count units in the last place of the result."""
    rng = np.random.default_rng(0)
    wide = 80 if real is np.float32 else 700
    xs = np.concatenate([rng.uniform(-wide, wide, 4000), rng.uniform(-1, 1, 4000), rng.uniform(-1e-3, 1e-3, 1000)])
    xs = xs.astype(real)
    for (name, bound), f in zip(ULPS.items(), evaluator(ULPS, real), strict=True):
        want = LONG.get(name, getattr(np, name, None))(xs.astype(np.longdouble))
        with np.errstate(over="ignore"):
            fits = np.isfinite(want.astype(real)) & (np.abs(want) > np.finfo(real).tiny)
        error = np.abs(f(xs).astype(np.longdouble) - want) / np.spacing(np.abs(want.astype(real)))
        assert float(error[fits].max()) <= bound, name


def test_exponentials_of_the_extremes():
    xs = np.array([0.0, -0.0, 1000.0, -1000.0, np.inf, -np.inf, np.nan])
    exp, expm1, tanh = evaluator(["exp", "expm1", "tanh"], np.float64)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(exp(xs), np.exp(xs))
        np.testing.assert_array_equal(expm1(xs), np.expm1(xs))
    np.testing.assert_array_equal(tanh(xs), np.tanh(xs))


def value(graph, place, inputs):
    """A node by the functions of Python and mpmath: another reading of the table than the kernel's."""
    node = graph.nodes[place]
    if node.kind == "input":
        return inputs[node.what]
    if node.kind in ("literal", "constant"):
        return float(node.what)
    a, b, c, d = ([value(graph, arg, inputs) for arg in node.args] + [None, None, None])[:4]
    plain = {
        "add": lambda: a + b,
        "sub": lambda: a - b,
        "mul": lambda: a * b,
        "div": lambda: a / b,
        "neg": lambda: -a,
        "fma": lambda: a * b + c,
        "lerp": lambda: a + c * (b - a),
        "blend": lambda: d * a + c * b,
        "abs": lambda: abs(a),
        "sign": lambda: math.copysign(1, a) if a else 0.0,
        "pow": lambda: a**b,
        "raised": lambda: a**b,
        "maximum": lambda: max(a, b),
        "minimum": lambda: min(a, b),
        "larger": lambda: max(a, b),
        "smaller": lambda: min(a, b),
        "where": lambda: b if a else c,
        "stop": lambda: a,
        "mod": lambda: a % b,
        "sigmoid": lambda: 1 / (1 + math.exp(-a)),
        "spike": lambda: float(a >= b),
        "strict_spike": lambda: float(a > b),
        "lt": lambda: a < b,
        "le": lambda: a <= b,
        "gt": lambda: a > b,
        "ge": lambda: a >= b,
        "eq": lambda: a == b,
        "ne": lambda: a != b,
        "and": lambda: a and b,
        "or": lambda: a or b,
        "not": lambda: not a,
    }
    return plain[node.kind]() if node.kind in plain else getattr(math, node.kind)(a)


SMOOTH = [
    k
    for k in KINDS
    if k not in CONDITIONS and k not in ("spike", "strict_spike", "stop", "sign", "floor", "floordiv", "ceil", "trunc")
]


@pytest.mark.parametrize("kind", SMOOTH)
def test_every_slope_is_the_finite_difference(kind):
    """Central differences of a step of 1e-6; 1e-6 of the value for their third derivatives and roundings."""
    rng = np.random.default_rng(1)
    low, high = DOMAINS.get(kind, (-2.0, 2.0))
    for _ in range(5):
        graph = Graph()
        names = [f"x{i}" for i in range(KINDS[kind].arity)]
        inputs = [graph.input(name) for name in names]
        at = dict(zip(names, rng.uniform(low, high, len(names)), strict=True))
        args = [graph.add("lt", inputs[1], inputs[2]), *inputs[1:]] if kind == "where" else inputs
        place = graph.add(kind, *args)
        found = adjoint(graph, {place: [graph.literal(1.0)]}, inputs, lambda spike, u: u)
        numbers = {}  # arguments that are never differentiated
        if kind == "blend":
            numbers = {"x2": at["x2"], "x3": 1 - at["x2"]}
        if kind == "raised":
            numbers = {"x1": at["x1"], "x2": at["x1"] - 1}
        at |= numbers
        for name, x in zip(names, inputs, strict=True):
            if name in numbers:
                continue
            above, below = (value(graph, place, at | {name: at[name] + h}) for h in (1e-6, -1e-6))
            want = (above - below) / 2e-6
            assert (value(graph, found[x], at) if x in found else 0.0) == pytest.approx(want, rel=1e-6, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-13), (torch.float32, 5e-6)])
def test_every_kind_of_node_is_what_torch_computes(dtype, rtol):
    """To a few units in the last place."""
    with using("numba"):
        hold_to_torch(dtype, rtol)


def test_only_what_is_in_the_list_becomes_code():
    with pytest.raises(Unsupported, match="__import__ is not an operation of the kernels"):
        Graph().add("__import__", 0)
