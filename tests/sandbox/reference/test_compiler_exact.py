"""Exact steps of linear equations beside SciPy's matrix exponential and Brian2's own solution."""

import math
import time

import mpmath
import numpy as np
import pytest
import sympy
import torch
from brian2 import Network, NeuronGroup, ms
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from sandbox.reference import from_brian2, validate
from sandbox.reference.compiler import grammar
from sandbox.reference.compiler.divided import divided
from sandbox.reference.compiler.formula import closed
from sandbox.reference.compiler.functions import FUNCTIONS, Function
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
    known = {**FUNCTIONS, "divided": Function(3, divided, divided)}
    statements = grammar.statements(code, ours=True).statements[:n]
    found = [closed(each.expression.tree, {}, known)(values) for each in statements]
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


CHAIN_OF_THREE = PAIR + "\ndw/dt = (v - w)/tauw : 1"


@pytest.mark.parametrize(
    "times", [(5.0, 5.0, 5.0), (5.0, 5.0, 9.0), (9.0, 5.0, 9.0), (5.0, 5.001, 5.00001), (5, 1, 80)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_three_rates_may_be_close_or_equal(times, dtype):
    """Values and derivatives beside torch's matrix exponential."""
    names = ("tau", "taug", "tauw")
    neuron = from_brian2(CHAIN_OF_THREE, method="exact", input=None, namespace=dict.fromkeys(names, "7*ms"))

    def matrix(tau, taug, tauw):
        zero = torch.zeros_like(tau)
        rows = [[-1 / tau, 1 / tau, zero], [zero, -1 / taug, zero], [1 / tauw, zero, -1 / tauw]]
        return torch.stack([torch.stack(row) for row in rows])

    exact = [torch.tensor(float(x), dtype=torch.float64, requires_grad=True) for x in times]
    start = torch.tensor([0.0, 10.0, 0.0], dtype=torch.float64)
    expected = (torch.matrix_exp(matrix(*exact) * 2.0) @ start)[2]
    slopes = torch.autograd.grad(expected, exact)
    learned = [torch.tensor([float(x)], dtype=dtype, requires_grad=True) for x in times]
    for values in (times, learned):
        cell = neuron.with_parameters(**dict(zip(names, values, strict=True)))
        state = cell.initial_state((1,), torch.zeros(1, dtype=dtype))._replace(g=torch.full((1,), 10.0, dtype=dtype))
        state = cell.integrate(torch.zeros(1, dtype=dtype), state, 2.0)
        assert state.w.item() == pytest.approx(
            expected.item(), rel=20 * torch.finfo(dtype).eps
        )  # the rates are rounded
    found = torch.autograd.grad(state.w.sum(), learned)
    near = 1e-10 if dtype == torch.float64 else 2e-5  # of the largest derivative
    assert [x.item() for x in found] == pytest.approx(
        [x.item() for x in slopes], abs=near * max(map(abs, slopes)).item()
    )


def test_a_chain_of_equal_rates_beside_small_steps_of_brian2():
    """Brian2's own closed form divides by zero here, so that its Runge-Kutta steps are the oracle."""
    cell = from_brian2(
        CHAIN_OF_THREE, method="exact", input=None, namespace=dict.fromkeys(("tau", "taug", "tauw"), 5 * ms)
    )
    group = NeuronGroup(
        1, CHAIN_OF_THREE, method="rk4", namespace=dict.fromkeys(("tau", "taug", "tauw"), 5 * ms), dt=0.01 * ms
    )
    group.g = 10
    Network(group).run(4 * ms)
    state = cell.initial_state((1,), torch.zeros(1, dtype=torch.float64))._replace(g=torch.full((1,), 10.0).double())
    for _ in range(4):
        state = cell.integrate(torch.zeros(1).double(), state, 1.0)
    for name in "gvw":
        assert float(getattr(state, name)) == pytest.approx(float(getattr(group, name)[0]), rel=1e-10)  # dt^4 / tau^4


def test_divided_differences_beside_mpmath():
    """The exponential of a bidiagonal matrix with 60 digits, after Opitz; points from equal to far apart."""
    rng = np.random.default_rng(0)
    for trial in range(120):
        n = 2 + trial % 4
        gaps = 10 ** rng.uniform(-9, 1.5, size=n) * rng.integers(0, 2, size=n)
        dtype = (torch.float64, torch.float32)[trial % 2]
        points = torch.tensor(-(10 ** rng.uniform(-4, 1.3)) - gaps, dtype=dtype)
        with mpmath.workdps(60):
            table = mpmath.zeros(n)
            for i, point in enumerate(points.tolist()):
                table[i, i] = mpmath.mpf(point)
                if i + 1 < n:
                    table[i, i + 1] = 1
            expected = float(mpmath.expm(table)[0, n - 1])
        near = 1e-12 if dtype == torch.float64 else 16 * torch.finfo(dtype).eps  # of five; 5 of fewer
        assert divided(*points).item() == pytest.approx(expected, rel=near)
        assert divided(*points.tolist()) == pytest.approx(expected, rel=8 * torch.finfo(torch.float64).eps)


def test_divided_differences_have_the_derivative_of_a_repeated_point():
    """d f[x, y, z] / dx = f[x, x, y, z]."""
    for points in ((-1.0, -1.0, -1.0), (-1.0, -1.0, -4.0), (-0.5, -2.6, -2.4), (-900.0, -1.0, -1.0)):
        x = [torch.tensor(point, dtype=torch.float64, requires_grad=True) for point in points]
        found = torch.autograd.grad(divided(*x), x)
        expected = [divided(point, *points) for point in points]
        assert [float(each) for each in found] == pytest.approx(expected, rel=1e-12)
    assert divided(torch.zeros(2, dtype=torch.float16), 0.0, 0.0).tolist() == [0.5, 0.5]
    assert divided(float("-inf"), 0.0, 1.0) != divided(float("-inf"), 0.0, 1.0)


def test_rates_of_a_pair_that_depend_on_each_other_and_are_equal_are_refused_wherever_they_are_given():
    text = "dv/dt = (w - v)/tau : 1\ndw/dt = (k*v - w)/tauw : 1"
    times = {"tau": "7*ms", "tauw": "5*ms", "k": 0.1}
    neuron = from_brian2(text, method="exact", input=None, namespace=times)
    for value in (0.0, torch.tensor([0.5, 0.0])):
        with pytest.raises(ValueError, match=r"the exact step of v.* is not a number for these constants.*in a cell"):
            neuron.with_parameters(k=value, tauw=7.0)


@pytest.mark.parametrize("name", ["E", "I", "beta", "trace"])
def test_variables_that_mean_something_to_sympy_are_variables(name):
    """Brian2's own solution has Euler's number for E, and none with the others; the pair's sum and difference decay."""
    alone = f"d{name}/dt = (0.5 - {name})/tau : 1"
    pair = f"d{name}/dt = (w/2 - {name})/tau : 1\ndw/dt = ({name}/2 - w)/tau : 1"
    total, apart = 1.5 * math.exp(-0.5 * 2 / 7), 0.5 * math.exp(-1.5 * 2 / 7)
    for text, start, wanted in (
        (alone, {name: 1.0}, 0.5 + 0.5 * math.exp(-2 / 7)),
        (pair, {name: 1.0, "w": 0.5}, (total + apart) / 2),
    ):
        neuron = from_brian2(text, method="exact", input=None, namespace={"tau": "7*ms"}, initial=start)
        zero = torch.zeros(1, dtype=torch.float64)
        _, state = neuron.step(zero, neuron.initial_state((1,), zero), 2.0)
        assert float(getattr(state, name)) == pytest.approx(wanted, rel=1e-13)
        assert validate(neuron).passed
