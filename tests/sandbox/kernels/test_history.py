"""Short sequences of few cells: plain at first, in a kernel once they have earned one, and by shapes alone in a run."""

from __future__ import annotations

import pytest
import torch

from sandbox import kernels, scan
from sandbox.config.experiment import Experiment
from sandbox.kernels import choice, history, using
from sandbox.kernels.launch import ops
from sandbox.neurons import LIF, HodgkinHuxley, LeakyIntegrator
from sandbox.runs.preparing import own_process

SHORT = 3 * torch.rand(100, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def calls(monkeypatch):
    """The kernels that ran; nothing has run before."""
    made = []
    original = ops.call
    monkeypatch.setattr(ops, "call", lambda *given: (made.append(given[1]), original(*given))[1])
    kernels.forget()
    yield made
    kernels.forget()


def first(calls, neuron, most, currents=SHORT):
    """The number of the first call that runs in a kernel."""
    with using("auto"):
        for number in range(most):
            scan(neuron, currents, dt=0.1)
            if calls:
                return number
    return None


@pytest.mark.parametrize(
    ("neuron", "low", "high"),
    [
        pytest.param(LIF(), 50, 400, id="lif"),
        pytest.param(HodgkinHuxley(), 5, 30, id="axon", marks=pytest.mark.slow),  # its long step is slower to compile
    ],
)
def test_many_calls_earn_a_kernel_and_those_of_a_long_step_sooner(neuron, low, high, calls):
    assert low < first(calls, neuron, high + 1) < high


def test_a_kernel_that_has_been_compiled_is_taken_at_once(calls):
    with using("numba"):
        scan(LIF(), SHORT, dt=0.1)
    calls.clear()
    assert first(calls, LIF(), 10) == 0
    calls.clear()
    assert first(calls, LIF(reset="subtract"), 10) is None
    x = SHORT.clone().requires_grad_()
    with using("auto"):
        scan(LIF(), x, dt=0.1)
    assert calls == []  # the kernel that keeps states for a gradient is another one


def test_the_first_call_of_another_cell_is_not_traced(calls, monkeypatch):
    """A sweep over parameters, each used once, never pays for tracing."""
    made = []
    monkeypatch.setattr("sandbox.kernels.plans.plan", lambda *given: made.append(given))
    with using("auto"):
        for tau in range(5, 45):
            scan(LIF(tau_mem=float(tau)), SHORT)
    assert made == calls == []


def test_one_step_is_left_to_the_plain_loop(calls):
    assert first(calls, LIF(), 2000, SHORT[:1]) is None
    with using("auto"):
        scan(LIF(), SHORT[:1].repeat(1, 5000))
        scan(LeakyIntegrator(), SHORT[:50].repeat(1, 2000))
        assert calls == []
        scan(LIF(), SHORT[:50].repeat(1, 2000))
        assert calls == ["forward"]
        scan(LeakyIntegrator(), SHORT.repeat(1, 2000))
        assert calls == ["forward"] * 2


def test_by_shapes_alone_a_call_does_not_depend_on_earlier_ones(calls):
    with using("numba"):
        scan(LIF(), SHORT)
    calls.clear()
    with using("auto", history=False):
        assert choice.choice() == choice.Choice("auto", history=False)
        for _ in range(3):
            scan(LIF(), SHORT)
        with using(memory=5):
            assert choice.choice() == choice.Choice("auto", 5, False)
    assert calls == []


@pytest.mark.parametrize("mode", ["auto", "numba"])
def test_a_run_goes_by_shapes_alone(mode):
    """It repeats bit for bit when it is resumed in a fresh process, with an empty or a full cache."""
    with using("auto"), own_process(Experiment(kernels=mode)):
        assert choice.choice() == choice.Choice(mode, history=False)
    assert choice.choice().history


def test_counts_are_bounded():
    history.forget()
    for number in range(history.LOOKED_UP + 10):
        history.counted_plan(number, 1)
    assert len(history._PLANS) <= history.LOOKED_UP
    history.forget()
