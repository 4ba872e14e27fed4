"""Stored signals and functions of one's own in compiled texts, step for step beside Brian2."""

from __future__ import annotations

import pickle

import brian2 as b2
import numpy as np
import pytest
import torch

from sandbox.reference import from_brian2, validate
from sandbox.simulation import scan, simulate
from tests.sandbox.reference.beside_brian2 import CELLS, CLOSE, Case, compiled, ran, ran_in_brian2

STEP = {"drive": b2.TimedArray([0, 20] * b2.mV, dt=1 * b2.ms)}


def signal(shape, dt, scale, seed=0):
    return b2.TimedArray(np.random.default_rng(seed).random(shape) * scale, dt=dt * b2.ms)


def test_the_membrane_under_a_step_is_the_exponential():
    cell = from_brian2("dv/dt = (drive(t) - v)/(10*ms) : volt", method="exact", namespace=STEP, input=None)
    state, values = cell.initial_state((1,), torch.zeros(1, dtype=torch.float64)), []
    for _ in range(20):
        _, state = cell.step(torch.zeros(1, dtype=torch.float64), state, 0.1)
        values.append(float(state.v))
    assert values[9] == 0.0
    assert values[19] == pytest.approx(20 * (1 - np.exp(-0.1)), rel=1e-12)


@pytest.mark.parametrize("method", ["euler", "exponential_euler", "heun", "rk2", "rk4"])
@pytest.mark.parametrize("dt", [0.1, 0.25, 1.0])
def test_signals_of_all_cells_and_of_each_in_every_method(method, dt):
    """Also where they are read at half a step, change within one, and end before the run does."""
    case = Case(
        "dv/dt = (drive(t) + each(t, i) - v)/(10*ms) : volt\nlate : volt",
        "v > 8*mV + each(t - 3*ms, i)/10",
        "v = drive(t)/10; late = each(t, (i + 1) % N)",
        method=method,
        namespace={"drive": signal(30, dt, 20 * b2.mV), "each": signal((20, CELLS), 0.7, 10 * b2.mV, 1)},
        steps=400,
    )
    wanted, fired = ran_in_brian2(case)
    neuron = pickle.loads(pickle.dumps(compiled(case, input=None)))
    found, spikes = ran(neuron, case)
    assert torch.equal(spikes, fired)
    assert fired.any()
    for name in ("v", "late"):
        torch.testing.assert_close(found[name], wanted[name], rtol=CLOSE, atol=CLOSE)
    assert "drive(" in neuron.source()


@b2.check_units(x=b2.volt, result=b2.volt)
def gain(x):
    return 10 * b2.mV * np.tanh(x / (5 * b2.mV))


def gain_in_torch(x):
    return 10 * torch.tanh(x / 5)


def test_a_function_of_ones_own_has_its_units_from_brian2_and_its_gradient_from_torch():
    space = {"gain": b2.Function(gain, arg_units=[b2.volt], return_unit=b2.volt)}
    space["gain"].implementations.add_numpy_implementation(lambda x: 0.01 * np.tanh(x / 0.005), discard_units=True)
    case = Case("dv/dt = (4*mV + gain(v) - v)/(10*ms) : volt", "v > 9*mV", "v = 0*mV", method="rk2", namespace=space)
    wanted, fired = ran_in_brian2(case)
    neuron = pickle.loads(pickle.dumps(compiled(case, input=None, functions={"gain": gain_in_torch})))
    found, spikes = ran(neuron, case)
    assert torch.equal(spikes, fired)
    assert fired.any()
    torch.testing.assert_close(found["v"], wanted["v"], rtol=CLOSE, atol=CLOSE)


def test_gradients_pass_through_functions_and_signals():
    cell = from_brian2(
        "dv/dt = (mV*bend(v/mV, k) + drive(t) + Mohm*current - v)/(10*ms) : volt",
        method="euler",
        namespace={**STEP, "k": 0.5},
        functions={"bend": lambda x, k: torch.sin(x) * k},
    )
    currents = torch.rand(20, 2, dtype=torch.float64).requires_grad_()
    k = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def last(currents, k):
        return scan(cell.with_parameters(k=k), currents, dt=0.3)[1].v

    assert torch.autograd.gradcheck(last, (currents, k))


REFUSED = {
    "an unknown signal": (
        lambda: from_brian2("dv/dt = (stim(t) - v)/ms : volt"),
        r"unknown function in .*'stim'.*a TimedArray goes into the namespace, a torch function into functions={'stim': ...}",
    ),
    "another number of arguments": (
        lambda: from_brian2("dv/dt = (drive(t, i) - v)/ms : volt", namespace=STEP),
        r"'drive\(t, i\)': drive takes 1 plain argument",
    ),
    "another unit": (
        lambda: from_brian2("dv/dt = (drive(t)*mV - v)/ms : volt", namespace=STEP, input=None),
        "the units do not fit",
    ),
    "a signal of something that is no time": (
        lambda: from_brian2("dv/dt = (drive(v) - v)/ms : volt", namespace=STEP, input=None),
        "the units do not fit",
    ),
    "a function of units": (
        lambda: from_brian2("dv/dt = -f(v)/ms : volt", functions={"f": torch.sin}, input=None),
        "the units do not fit",
    ),
    "no function": (
        lambda: from_brian2("dv/dt = -v/ms : volt", functions={"f": 3}),
        "functions={'f': 3} is not a function; give one of torch tensors",
    ),
    "units that depend on the argument": (
        lambda: from_brian2(
            "dv/dt = -f(v)/ms : volt",
            namespace={"f": b2.Function(abs, arg_units=[None], return_unit=lambda u: u)},
            functions={"f": torch.abs},
        ),
        "'f' in the namespace has units .*: give one unit for each argument and the result",
    ),
    "a variable that is a function": (
        lambda: from_brian2("dv/dt = -v/ms : 1", functions={"v": torch.sin}),
        r"'v' is defined twice, in 'dv/dt = -v/ms : 1' and as a function: rename one",
    ),
    "no argument": (
        lambda: from_brian2("dv/dt = -v/ms : volt", functions={"f": lambda: 1}),
        "takes no plain argument",
    ),
    "the name of a function": (
        lambda: from_brian2("dv/dt = -v/ms : volt", functions={"exp": torch.exp}),
        "functions={'exp': ...}: the name is taken",
    ),
    "a signal of fewer cells": (
        lambda: simulate(
            from_brian2(
                "dv/dt = (each(t, i) - v)/ms : volt",
                method="euler",
                namespace={"each": signal((3, 2), 1, b2.mV)},
                input=None,
            ),
            torch.zeros(2, 3),
            0.1,
        ),
        r"a TimedArray of 2 columns is read for cell 2: give it a column for each cell, .*I\(t, i % 2\)",
    ),
    "a signal as a number": (
        lambda: from_brian2("dv/dt = (drive - v)/ms : volt", namespace=STEP, input=None),
        "drive=.* is a signal or a function: call it, drive\\(t\\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_signals_and_functions_are_refused(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        make()


def test_no_text_can_call_what_another_model_brought():
    from_brian2("dv/dt = (drive(t) - v)/ms : volt", namespace=STEP, input=None)
    with pytest.raises(ValueError, match="unknown function"):
        from_brian2("dv/dt = (drive(t) - v)/ms : volt", input=None)


@pytest.mark.parametrize("of", ["I(t)", "I(t, i)"])
def test_signals_and_functions_are_validated(of):
    """Brian2 calls the same stored signal and the same functions, with and without units."""
    rng = np.random.default_rng(0)
    signal = b2.TimedArray(rng.random((20, 24) if "i" in of else 20), dt=2 * b2.ms)

    @b2.check_units(v=b2.volt, result=b2.volt)
    def bent(v):
        return v

    cell = from_brian2(
        f"dv/dt = (bent(2*mV*{of} + 2*mV*tanh2(x)) - v)/(10*ms) : volt",
        "v > 1*mV",
        "v = 0*mV",
        method="euler",
        namespace={"I": signal, "bent": bent},
        functions={"tanh2": torch.tanh, "bent": lambda v: v - 0.05 * v**2},
        inputs={"x": "1"},
        swing=1.0,
    )
    report = validate(cell, duration=40.0, cells=4, tiers=("same_scheme",))
    assert report.passed, report
    assert report.spikes > 20


def test_constants_as_quantities_and_the_callers_units():
    from brian2 import ms, mV

    cell = from_brian2(
        "dv/dt = (x - v)/tau : volt", "v > 15*mV", "v = 0*mV", namespace={"tau": 10 * ms}, input="x", input_unit="volt"
    )
    assert cell.with_parameters(tau=0.02 * b2.second).tau == 20.0
    assert cell.with_parameters(tau=[5, 8] * ms).tau.tolist() == [5.0, 8.0]
    with pytest.raises(ValueError, match=r"tau=3. \* mvolt is in mV; wanted ms"):
        cell.with_parameters(tau=3 * mV)
    tau_own = 7 * ms
    found = from_brian2(
        "dv/dt = (x - v)/tau_own : volt",
        "v > 15*mV",
        "v = 0*ms*mV/ms",
        namespace="caller",
        input="x",
        input_unit="volt",
    )
    assert found.tau_own == float(tau_own / ms)
    group = b2.NeuronGroup(1, "v : 1", threshold="v > 1")
    synapses = b2.Synapses(group, group, "w : 1", on_pre="v += w")
    with pytest.raises(ValueError, match=r"are brian2.Synapses: sandbox.from_brian2_synapses"):
        from_brian2(synapses)
    with pytest.raises(
        ValueError, match=r"of several inputs name each that is added to a variable, jumps=\{'to_g': 'g'\}"
    ):
        from_brian2("dv/dt = (g - v + x)/(10*ms) : 1\ndg/dt = -g/ms : 1", jumps="g", inputs={"x": "1"})
    with pytest.raises(ValueError, match=r"jumps=\{'to_g': 'g', 'to_h': 'h'\}"):
        from_brian2("dv/dt = (g - v + h)/(10*ms) : 1\ng : 1\nh : 1", jumps=["g", "h"])
