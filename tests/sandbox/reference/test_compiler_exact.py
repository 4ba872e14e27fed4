"""Exact steps of linear equations beside SciPy's matrix exponential and Brian2's own solution."""

import time

import numpy as np
import pytest
import sympy
import torch
from brian2 import ms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from sandbox.reference import from_brian2, validate
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.formula import parse
from sandbox.reference.compiler.triangular import sorted_by_dependence, step

RATES = st.sampled_from([-2.0, -1.0, -0.5, -0.25, 0.5, 1.5])  # few, so that some are equal


@st.composite
def systems(draw):
    """A matrix whose rows depend on earlier ones in some order, and constants."""
    n = draw(st.integers(2, 5))
    order = draw(st.permutations(range(n)))
    matrix = np.zeros((n, n))
    for at, i in enumerate(order):
        matrix[i, i] = draw(RATES)
        for j in order[:at]:
            matrix[i, j] = draw(st.sampled_from([0.0, 1.0, -0.75, 2.0]))
    return matrix, np.array([draw(st.sampled_from([0.0, 1.0, -3.0])) for _ in range(n)])


@settings(max_examples=150, deadline=None)
@given(systems(), st.sampled_from([0.1, 1.0, 3.0]), st.integers(0, 10**6))
def test_a_step_is_the_matrix_exponential(system, dt, seed):
    matrix, constants = system
    n = len(constants)
    names = [f"x{i}" for i in range(n)]
    code = step(names, sympy.Matrix(matrix), sympy.Matrix(constants))
    x = np.random.default_rng(seed).normal(size=n)
    values = dict(zip(names, x, strict=True)) | {"dt": dt}
    found = [parse(str(each.expression))(values) for each in grammar.statements(code, ours=True).statements[:n]]
    whole = np.zeros((n + 1, n + 1))
    whole[:n, :n], whole[:n, n] = matrix, constants
    expected = (expm(whole * dt) @ np.append(x, 1.0))[:n]
    scale = max(1.0, np.abs(expm(np.abs(whole) * dt) @ np.append(np.abs(x), 1.0)).max())
    assert np.abs(np.array(found) - expected).max() < 1e-11 * scale  # of what is added up; rates differ by 1/4 or more


def test_systems_that_are_not_for_it():
    assert sorted_by_dependence(sympy.Matrix([[-1, 1], [1, -1]])) is None
    assert step(["x", "y"], sympy.Matrix([[-1, 1], [1, -1]]), sympy.Matrix([0, 0])) is None
    assert step(["x"], sympy.Matrix([[-1]]), sympy.Matrix([0])) is None
    assert step(["x", "y"], sympy.Matrix([[0, 0], [1, -1]]), sympy.Matrix([1, 0])) is None  # Brian2 refuses it


CHAIN = """
dv/dt = (a + b - v) / tau_m : 1 (unless refractory)
da/dt = (c - a) / tau_s : 1
dc/dt = -c / tau_s : 1
db/dt = (current/nA - b) / tau_w : 1
"""


def chain():
    times = {"tau_m": "20*ms", "tau_s": "5*ms", "tau_w": "100*ms"}
    return from_brian2(CHAIN, "v > 0.1", "v = 0; c += 0.1", "2*ms", "exact", times)


@pytest.mark.slow
def test_a_chain_of_four_beside_brian2():
    """Brian2 takes half a minute for the closed form of these, in which two rates are equal."""
    report = validate(chain(), duration=60.0, cells=4, tiers=("same_scheme",))
    assert report.passed, report
    assert report.spikes > 20


def test_a_chain_of_four_is_compiled_at_once():
    begun = time.process_time()
    neuron = chain()
    assert time.process_time() - begun < 2.0  # 0.2 s alone; SymPy took 30
    state = neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64))._replace(c=torch.ones(1).double())
    state = neuron.integrate(torch.ones(1).double(), state, 1.0)
    tau, s, w = 20.0, 5.0, 100.0
    matrix = np.array([[-1 / tau, 1 / tau, 0, 1 / tau, 0], [0, -1 / s, 1 / s, 0, 0], [0, 0, -1 / s, 0, 0]])
    matrix = np.vstack([matrix, [0, 0, 0, -1 / w, 1 / w], np.zeros(5)])
    expected = expm(matrix) @ [0, 0, 1, 0, 1]
    for name, value in zip("vacb", expected, strict=False):
        assert float(getattr(state, name)) == pytest.approx(value, rel=1e-12)


PAIR = "dv/dt = (g - v)/tau : 1\ndg/dt = -g/taug : 1"


@pytest.mark.parametrize("apart", [0.0, 1e-7, 1e-5, 1e-3, 0.01, 1.0, -0.01, -3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_rates_may_be_close_or_equal(apart, dtype):
    tau, other = torch.tensor(5.0 + apart, dtype=torch.float64), torch.tensor(5.0, dtype=torch.float64)
    matrix = torch.stack([torch.stack([-1 / tau, 1 / tau]), torch.stack([torch.zeros(()).double(), -1 / other])])
    expected = (torch.matrix_exp(matrix * 10.0) @ torch.tensor([0.0, 10.0]).double())[0]
    neuron = from_brian2(PAIR, method="exact", input=None, namespace={"tau": "7*ms", "taug": "5*ms"})
    for value in (float(tau), torch.tensor([float(tau)], dtype=dtype, requires_grad=True)):
        cell = neuron.with_parameters(tau=value)
        state = cell.initial_state((1,), torch.zeros(1, dtype=dtype))._replace(g=torch.full((1,), 10.0, dtype=dtype))
        for _ in range(100):
            state = cell.integrate(torch.zeros(1, dtype=dtype), state, 0.1)
        assert float(state.v) == pytest.approx(float(expected), rel=300 * torch.finfo(dtype).eps)  # a few in each step
    (found,) = torch.autograd.grad(state.v.sum(), value)
    h = 1e-4
    ends = [expm(np.array([[-1 / t, 1 / t], [0, -0.2]]) * 10) @ [0, 10] for t in (float(tau) - h, float(tau) + h)]
    slope = (ends[1][0] - ends[0][0]) / (2 * h)
    assert float(found) == pytest.approx(slope, abs=2e-3 if dtype == torch.float32 else 1e-6)


def test_three_rates_of_which_two_are_equal_are_refused_wherever_they_are_given():
    text = PAIR + "\ndw/dt = (v - w)/tauw : 1"
    times = {"tau": "7*ms", "taug": "5*ms", "tauw": "9*ms"}
    neuron = from_brian2(text, method="exact", input=None, namespace=times)
    for value in (7.0, torch.tensor([4.0, 7.0])):
        with pytest.raises(ValueError, match="the exact step of w is not a number for these constants.*in a cell"):
            neuron.with_parameters(tauw=value)
    own = text + "\ntauw : second (constant)"
    with pytest.raises(ValueError, match="is not a number"):
        from_brian2(
            own, method="exact", input=None, namespace={"tau": "7*ms", "taug": "5*ms"}, initial={"tauw": [4, 7] * ms}
        )
