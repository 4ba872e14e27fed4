"""Exact steps of linear equations beside SciPy's matrix exponential and Brian2's own solution."""

import time

import numpy as np
import pytest
import sympy
import torch
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
