"""Formulas checked against NumPy, SymPy-free Python and torch; right-hand sides against the published equations."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import scipy.special
import torch

from sandbox.reference.compiler.formula import parse, right_hand_sides
from sandbox.reference.compiler.functions import FUNCTIONS

NUMPY = {
    **{name: getattr(np, name) for name in FUNCTIONS if hasattr(np, name) and name != "int"},
    "exprel": scipy.special.exprel,
    "int": np.trunc,
    "timestep": lambda t, dt: np.floor((t + 1e-3 * dt) / dt),
}
POINTS = np.array([-2.5, -1.0, -0.3, 0.0, 1e-9, 0.4, 0.5, 1.0, 2.5, 800.0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_numpys_on_floats_and_on_tensors(name):
    """Also outside of their domain and where they overflow; 1e-13 is the last digits of two libraries."""
    arity = FUNCTIONS[name].arity
    f = parse(f"{name}({', '.join('xyz'[:arity])})")
    others = {"y": 0.25, "z": 0.75}
    with np.errstate(all="ignore"):
        want = NUMPY[name](POINTS, *list(others.values())[: arity - 1])
    plain = [f({"x": float(x), **others}) for x in POINTS]
    tensor = f({"x": torch.from_numpy(POINTS), **others})
    np.testing.assert_allclose(plain, want, rtol=1e-13)
    np.testing.assert_allclose(tensor.numpy(), want, rtol=1e-13)


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c",
        "a - b - c",
        "a / b / c",
        "-a ** 2",
        "a ** -b",
        "a // b",
        "-a % b",
        "a % -b",
        "(a < b) and (b <= c)",
        "a > b or not c >= b",
        "a == b",
        "a != b",
        "+a",
        "not a < b",
        "2 * (a + b) ** 3 - 1e-3",
        "True",
    ],
)
def test_operators_are_pythons(text):
    values = {"a": 1.75, "b": 0.5, "c": 3.0}
    want = eval(text, {}, values)  # the texts of this list alone
    assert parse(text)(values) == want
    got = parse(text)({name: torch.tensor([value], dtype=torch.float64) for name, value in values.items()})
    assert float(torch.as_tensor(got)) == pytest.approx(float(want), rel=1e-15)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("1 / x", math.inf),
        ("-1 / x", -math.inf),
        ("x / x", math.nan),
        ("log(x)", -math.inf),
        ("exp(1 / x)", math.inf),
        ("(x - 1) ** 0.5", math.nan),
        ("x % x", math.nan),
        ("1 // x", math.inf),
    ],
)
def test_singularities_are_numpys(text, want):
    assert parse(text)({"x": 0.0}) == pytest.approx(want, nan_ok=True)
    assert float(parse(text)({"x": torch.zeros(1)})) == pytest.approx(want, nan_ok=True)


def test_exprel_is_accurate_near_zero():
    """Where (exp(x) - 1) / x in floats has lost eight digits."""
    assert parse("exprel(x)")({"x": 1e-9}) == pytest.approx(1 + 0.5e-9, rel=1e-15)


def test_names_and_constants():
    f = parse("exp(a) + b * mV", {"mV": 1e-3})
    assert f.names == {"a", "b"}
    assert f({"a": 0.0, "b": 2.0}) == 1.002
    assert pickle.loads(pickle.dumps(parse("a + 1")))({"a": 1.0}) == 2.0
    sides = pickle.loads(pickle.dumps(right_hand_sides("dv/dt = -v / (20*ms) : volt")))
    assert sides["v"]({"v": 1.0}) == -0.05
    with pytest.raises(ValueError, match=r"unknown name in 'exp\(a\) \+ b \* mV': 'a'; .*valid: b"):
        f({"b": 1.0})


def test_gradients_flow():
    x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: parse("exprel(x) * sin(x) + clip(x, 0, 1) ** 3")({"x": x}), (x,))


def test_right_hand_sides_are_in_house_units():
    """Milliseconds and millivolts: 20*ms is 20, and a time-step-free rate is per ms; noise stays a name."""
    sides = right_hand_sides("""
        dv/dt = (ge * (E - v) + drive) / (20*ms) + 2*mV*xi/ms**.5 : volt   # a comment
        drive = 1*nA * 10*Mohm
            + 0*mV : volt (constant over dt)
        dge/dt = -ge / tau : 1
        E : volt (constant)
    """)
    assert set(sides) == {"v", "ge"}
    assert sides["ge"]({"ge": 3.0, "tau": 6.0}) == -0.5
    assert sides["v"]({"ge": 1.0, "E": 5.0, "v": 1.0, "xi": 0.5, "drive": 10.0}) == pytest.approx(14 / 20 + 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a <", "'a <' is not an expression"),
        ("", "is not an expression"),
        ("a < b < c", "chains comparisons; write 'a < b and b < c'"),
        ("a.b", "'a.b' in 'a.b' is not allowed"),
        ("foo(a)", "unknown function in 'foo\\(a\\)'"),
        ("exp(a, b)", "exp takes 1 plain argument$"),
        ("exp(x=a)", "exp takes 1 plain argument$"),
        ("_a + 1", "'_a' in '_a \\+ 1' is not a valid name of a variable"),
        ("1e999", "too large"),
        ("9 ** 9 ** 9", "too steep"),
        ("(a + b) ** 1000", "too steep: exponents multiply to at most 32"),
        ("((a + b) ** 20) ** 20", "too steep"),
        ("rand()", "draws a random number"),
        ("(" * 300 + "a" + ")" * 300, r"is not an expression|nested"),
        ("-" * 3000 + "a", "nested"),
        ("a" + "+a" * 2000, "nested more than 100 levels"),
        ("a" * 6000, "has 6000 characters, above 5000"),
        ("'a'", "not allowed"),
        ("a if b else c", "not allowed"),
        ("1j", "not allowed"),
        (None, "None is a NoneType; wanted text"),
    ],
)
def test_what_is_no_formula(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)
