"""Clocks, indices, jumps, constants of cells, encoders: step for step beside groups that Brian2 makes of the same text."""

from __future__ import annotations

import pickle

import brian2 as b2
import numpy as np
import pytest
import torch

from sandbox.reference import from_brian2, validate
from sandbox.reference.compiler.names import RESERVED
from sandbox.simulation import Trajectory
from tests.sandbox.reference.beside_brian2 import CELLS, CLOSE, Case, compiled, ran, ran_in_brian2

ARRAY = np.linspace(5, 20, CELLS)
CASES = {
    "a step of a stimulus at 5 ms": Case("dv/dt = (10*mV*int(t >= 5*ms) - v)/(10*ms) : volt"),
    "a step at 4.9 ms, which Brian2 rounds": Case("dv/dt = (10*mV*int(t >= 4.9*ms) - v)/(10*ms) : volt"),
    "and the other way round": Case("dv/dt = (10*mV*int(5.9*ms <= t) - v)/(10*ms) : volt", method="rk4"),
    "by a constant, rk2": Case(
        "dv/dt = (10*mV*int(t > t_on) - v)/(10*ms) : volt", method="rk2", namespace={"t_on": 9.8 * b2.ms}
    ),
    "a sine of time, heun": Case("dv/dt = (10*mV*sin(2*pi*50*Hz*t) - v)/(10*ms) : volt", method="heun"),
    "a time in the threshold": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt", "v > 15*mV and t > 12.3*ms", "v = 0*mV", spikes=CELLS
    ),
    "steps in the reset": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt\nk : 1", "v > 15*mV", "v = 0*mV; k = t_in_timesteps", spikes=CELLS
    ),
    "a threshold that decays from the last spike": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt\nbar = 15*mV + 5*mV*exp(-(t - lastspike)/(5*ms)) : volt",
        "v > bar",
        "v = 0*mV",
        1 * b2.ms,
        spikes=4 * CELLS,
    ),
    "the last spike in the equation and the reset": Case(
        "dv/dt = (20*mV*int(t - lastspike > 5*ms) - v)/(10*ms) : volt\nlast : second",
        "v > 1*mV",
        "v = 0*mV; last = lastspike",
        0.5 * b2.ms,
        spikes=CELLS,
    ),
    "a refractory time of the index": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt", "v > 10*mV", "v = 0*mV", "(1 + i)*ms", spikes=CELLS
    ),
    "a refractory time of the state, which begins again when it becomes longer": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt (unless refractory)\ndw/dt = (8 - w)/(4*ms) : 1",
        "v > 15*mV",
        "v = 0*mV; w = 0",
        "2*ms + w*ms + v*0.1*ms/mV",
        spikes=CELLS,
    ),
    "a refractory time of the clock in a line of its own": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt\nlate = 1*ms + 3*ms*int(t > 10*ms) : second",
        "v > 10*mV",
        "v = 0*mV",
        "late",
        spikes=CELLS,
    ),
    "functions in initial values": Case(
        "dv/dt = -v/(10*ms) : volt\nchosen : 1",
        initial={"v": "-70*mV + 5*mV*sin(i) + clip(i, 1, 3)*mV", "chosen": "int(i == 3)"},
    ),
    "every second cell fires in every step": Case("dv/dt = -v/(10*ms) : 1", "i % 2 == 0", "v += 1", spikes=10 * CELLS),
    "every fifth step": Case("dv/dt = -v/(10*ms) : 1", "t_in_timesteps % 5 == i", "v += 1", 1 * b2.ms, spikes=CELLS),
    "a count in the threshold": Case(
        "dv/dt = 1*mV/ms : volt\nk : integer", "k != 3", "k += 1 + i", initial={"k": "i"}, spikes=CELLS
    ),
    "not_refractory in an equation": Case(
        "dv/dt = (20*mV*int(not_refractory) - v)/(10*ms) : volt", "v > 10*mV", "v += 1*mV", 3 * b2.ms, spikes=CELLS
    ),
    "the index and the number of cells": Case(
        "dv/dt = (10*mV + 20*mV*i/N - v)/(10*ms) : volt", "v > 12*mV", "v = 0*mV", spikes=CELLS
    ),
    "steps that are counted by a quotient": Case(
        "dv/dt = (10*mV*int(int(t/dt) % 7 == 0) + 5*mV*int((t - 1*ms)/(0.3*ms)) - v)/(10*ms) : volt"
    ),
    "whole periods": Case("dv/dt = (1*mV*floor(t/(0.7*ms)) + 1*mV*ceil(t/(0.3*ms)) - v)/(10*ms) : volt", method="rk4"),
    "whole numbers are cut": Case(
        "dv/dt = 1*mV/ms : volt\nk : integer\nn : integer",
        "v > 5*mV",
        "v = 0*mV; k = k/2 + 3.7; n = -1.5*k + i",
        initial={"k": "i + 0.5", "n": "-1.7*i"},
        spikes=10 * CELLS,
    ),
    "whole numbers of whole numbers": Case(
        "dv/dt = (1 + k % 3)*mV/ms : volt\nk : integer\nb : boolean",
        "v > 5*mV",
        "v = 0*mV; k = 2*k + i - k//3; b = k > 4",
        spikes=10 * CELLS,
    ),
    "every second cell": Case("dv/dt = (20*mV*(i % 2) - v)/(10*ms) : volt", "v > 12*mV", "v = 0*mV", spikes=CELLS // 2),
    "a constant of each cell": Case(
        "dv/dt = (20*mV - v)/tau : volt\ntau : second (constant)",
        "v > 15*mV",
        "v = 0*mV",
        method="exact",
        initial={"tau": ARRAY * b2.ms},
        spikes=CELLS,
    ),
    "constants of cells in a product": Case(
        "dv/dt = (R*I0 - v)/(10*ms) : volt\nR : ohm (constant)\nI0 : amp (constant)",
        "v > 15*mV",
        "v = 0*mV",
        method="exact",
        initial={"R": ARRAY * b2.Mohm, "I0": 2 * b2.nA},
        spikes=CELLS,
    ),
    "a refractory time of each cell": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt (unless refractory)\nrfc : second (constant)",
        "v > 15*mV",
        "v = 0*mV",
        "rfc",
        initial={"rfc": np.array([0, 0.25, 0.3, 1, 3, 7.7]) * b2.ms},
        spikes=CELLS,
    ),
    "a refractory time that is a constant of all": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt (unless refractory)\nrfc : second (constant)",
        "v > 15*mV",
        "v = 0*mV",
        "rfc",
        initial={"rfc": 2 * b2.ms},
        spikes=CELLS,
    ),
    "a refractory time of each cell that is not said to be constant": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt (unless refractory)\nrfc : second",
        "v > 15*mV",
        "v = 0*mV",
        "rfc",
        initial={"rfc": np.array([0, 0.25, 0.3, 1, 3, 7.7]) * b2.ms},
        spikes=CELLS,
    ),
    "initial values by index": Case("dv/dt = -v/(10*ms) : volt", initial={"v": "i*mV + N*2*mV"}, method="exact"),
    "initial values of each cell": Case("dv/dt = -v/(10*ms) : volt", initial={"v": ARRAY * b2.mV}, method="exact"),
    "moles": Case("dc/dt = -c/(10*ms) : mmolar", initial={"c": 1 * b2.mmolar}, method="exact"),
    "infinity in clip": Case(
        "dv/dt = (clip(v - 2*mV, 0*mV, inf*mV) - v)/(10*ms) + 1*mV/ms : volt", "v > 9*mV", "v = 0*mV", spikes=CELLS
    ),
    "two underscores in a name": Case("dv__soma/dt = (lambda_n__max - v__soma)/(10*ms) : volt\nlambda_n__max : volt"),
    "an older name of exact": Case("dv/dt = (20*mV - v)/(10*ms) : volt", method="linear"),
    "a still older one": Case("dv/dt = (20*mV - v)/(10*ms) : volt", method="independent"),
    "an encoder": Case("rates : Hz", "i < 3 and t > rates*ms*ms", initial={"rates": 1 * b2.kHz}, spikes=3),
    "a condition alone": Case("", "t_in_timesteps % 7 == 0 and i >= 2", spikes=300),
    "a local variable of the reset": Case(
        "dv/dt = (20*mV - v)/(10*ms) : volt\ndw/dt = -w/(30*ms) : volt\nlimit : volt (constant)",
        "v > limit",
        "jump = 2*v; v = -w; jump -= 1*mV; w += jump/4; limit += 0.1*mV",
        initial={"limit": 12 * b2.mV},
        spikes=CELLS,
    ),
    "names that are ours": Case(
        "dstep/dt = (count - step)/(10*ms) : volt (unless refractory)\nkey = step * 2 : volt",
        "key > 20*mV",
        "step = 0*mV",
        1 * b2.ms,
        namespace={"count": 15 * b2.mV},
        spikes=CELLS,
    ),
}


@pytest.mark.parametrize("dt", [0.05, 0.1, 0.2])
def test_moments_are_compared_as_brian2_rounds_them(dt):
    """A time since a spike, a moment and a remainder, against each multiple of dt near 5 ms."""
    for steps in range(int(3 / dt), int(6 / dt), 7):
        space = {"wait_for": round(steps * dt, 3) * b2.ms, "begin": round(0.2 * steps * dt, 3) * b2.ms}
        case = Case(
            """dv/dt = (20*mV*int(t - lastspike > wait_for)*int(t >= begin)*int(t % (2*ms) < 1.2*ms) - v)/(3*ms) : volt
            late = t - lastspike : second
            x = int(late + begin >= wait_for) : 1
            dw/dt = (x - w)/ms : 1""",
            "v > 0.5*mV and not_refractory",
            "v = 0*mV",
            0.3 * b2.ms,
            method="rk2" if steps % 2 else "euler",
            namespace=space,
            dt=dt,
            steps=150,
        )
        wanted, fired = ran_in_brian2(case)
        found, spikes = ran(compiled(case), case)
        assert torch.equal(spikes, fired), steps
        assert fired.any()
        for name in ("v", "w"):
            torch.testing.assert_close(found[name], wanted[name], rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_that_of_brian2(name):
    case = CASES[name]
    wanted, fired = ran_in_brian2(case)
    neuron = compiled(case)
    found, spikes = ran(neuron, case)
    for variable, values in wanted.items():
        ours = found.get(variable, found.get(f"{variable}_"))
        if ours is None:  # a constant of cells, which may be one of the refractory time alone
            ours = torch.as_tensor(neuron.parameters["t_refractory" if variable == "rfc" else variable])
        torch.testing.assert_close(ours.expand(values.shape).double(), values, rtol=CLOSE, atol=CLOSE, msg=variable)
    if case.threshold:
        assert int(fired.sum()) >= case.spikes > 0
        assert torch.equal(spikes, fired)


@pytest.mark.parametrize("name", ["difference", "state", "spikes"])
def test_names_that_every_neuron_has_may_be_a_model_s_own(name):
    equations = f"dv/dt = (I - {name})/({name}_0*ms) : 1\nd{name}/dt = (v - {name})/(5*ms) : 1"
    constants = {f"{name}_0": 8.0}
    neuron = from_brian2(equations, "v > 1", f"v = 0; {name} += 0.1", None, "euler", constants, "I", input_unit="1")
    assert validate(neuron).passed
    for constant in ("clamped", "respond", "recordable", "called", "longest"):
        equations = f"dv/dt = (I - v)/({constant}*ms) : 1"
        neuron = from_brian2(equations, method="euler", input="I", input_unit="1", namespace={constant: 8.0})
        one = torch.ones(1, dtype=torch.float64)
        assert float(neuron.step(one, neuron.initial_state((1,), one), 2.0)[1].v) == 0.25
        assert neuron.parameters[f"{constant}_"] == 8.0


@pytest.mark.parametrize("name", ["levels", "state", "step"])
def test_so_may_those_of_its_functions_and_signals(name):
    one = torch.zeros(1, dtype=torch.float64)
    euler = {"input": None, "method": "euler"}
    neuron = from_brian2(f"dv/dt = {name}(v + 1)/(8*ms) : 1", functions={name: torch.square}, **euler)
    assert float(neuron.step(one, neuron.initial_state((1,), one), 2.0)[1].v) == 0.25
    stored = b2.TimedArray([1.0, 2.0], dt=2 * b2.ms)
    neuron = from_brian2(f"dv/dt = ({name}(t) - v)/(8*ms) : 1", namespace={name: stored}, **euler)
    for each in (neuron, pickle.loads(pickle.dumps(neuron))):
        assert float(each.step(one, each.initial_state((1,), one), 2.0)[1].v) == 0.25
    assert validate(neuron).passed
    with pytest.raises(ValueError, match=f"'{name}.*' is defined twice.*as a function: rename one"):
        from_brian2(f"d{name}/dt = (1 - v)/(8*ms) : 1\nv : 1", functions={name: torch.square}, **euler)


def test_no_attribute_of_a_neuron_is_left_to_its_constants():
    """A constant `levels` would be read where kernels ask how many levels the outputs of a cell have."""
    neuron = from_brian2("dv/dt = (I - v)/(8*ms) : 1", method="euler", input="I", input_unit="1")
    of_runs = (*dir(Trajectory), *Trajectory.__dataclass_fields__)
    names = {name for name in (*dir(neuron), *vars(neuron), *of_runs) if not name.startswith("_")}
    assert names - {*RESERVED} == {"t_refractory", "t"}  # a constant of the namespace may be the first; t is the clock
