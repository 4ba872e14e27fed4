"""Groups, Equations, namespaces around a call, inputs that jump, copies and gradients of compiled neurons."""

from __future__ import annotations

import math
import pickle

import brian2 as b2
import numpy as np
import pytest
import torch

from sandbox.reference import from_brian2, validate
from sandbox.simulation import scan, simulate
from tests.sandbox.reference.beside_brian2 import CELLS, CLOSE, Case, compiled, ran, ran_in_brian2
from tests.sandbox.reference.test_compiler_as_in_brian2 import ARRAY, CASES

COBA = """dv/dt = (ge*(0*mV - v) - (v + 60*mV))/tau : volt (unless refractory)
dge/dt = -ge/tau_e : 1
tau : second (constant)"""


def group():
    made = b2.NeuronGroup(
        CELLS,
        b2.Equations(COBA, tau_e="t_e"),
        threshold="v > theta",
        reset="v = -60*mV",
        refractory=2 * b2.ms,
        method="exponential_euler",
        namespace={"theta": -50 * b2.mV, "t_e": 5 * b2.ms, "unused": np.zeros(3), "f": print},
        dt=0.1 * b2.ms,
    )
    made.tau, made.v, made.ge = ARRAY * b2.ms, "-60*mV + i*mV", 3.0
    return made


def kicks_of(steps, scale=1.0):
    rng = np.random.default_rng(0)
    return scale * rng.random((steps, CELLS)) * (rng.random((steps, CELLS)) < 0.1)


def test_constants_that_nothing_reads_are_not_parameters():
    """Nor are those of subexpressions that nothing reads; the rest of a model is what it was."""
    text = """dv/dt = (R*current - v)/tau : volt
    shown = watched*v : volt
    watched = k*2 + l : 1
    ratio = gain*2 : 1
    unit = 1*m*mV : volt (constant over dt)
    k : 1 (constant)"""
    space = {"R": 10 * b2.Mohm, "tau": 10 * b2.ms, "l": 1.0, "gain": 0.5, "m": 2.0, "E": 3 * b2.mV, "unread": 1.0}
    given = {"method": "exact", "namespace": space, "initial": {"k": [1.0, 2.0], "v": "E"}}
    cell = from_brian2(text, "v > 15*mV*ratio", "v = 0*mV", **given)
    assert set(cell.parameters) == {"R", "tau", "gain", "m", "E", "t_refractory"}
    assert "shown" not in cell.equations
    assert validate(pickle.loads(pickle.dumps(cell)), duration=30.0, cells=2, tiers=("same_scheme",)).passed


def test_a_group_is_compiled_with_its_values_and_constants():
    made = group()
    neuron = from_brian2(made, input="current", jumps="ge")
    assert neuron.tau.tolist() == pytest.approx(ARRAY.tolist())
    assert (neuron.method, neuron.t_e, neuron.theta, neuron.t_refractory) == ("exponential_euler", 5.0, -50.0, 2.0)
    states, spikes = b2.StateMonitor(made, ["v", "ge"], record=True, when="end"), b2.SpikeMonitor(made)
    b2.Network(made, states, spikes).run(60 * b2.ms, namespace={})
    case = Case("", steps=600)
    found, fired = ran(neuron, case)
    torch.testing.assert_close(
        found["v"], torch.from_numpy(np.asarray(states.v / b2.mV).T.copy()), rtol=CLOSE, atol=CLOSE
    )
    torch.testing.assert_close(found["ge"], torch.from_numpy(np.asarray(states.ge).T.copy()), rtol=CLOSE, atol=CLOSE)
    assert int(fired.sum()) == spikes.num_spikes > CELLS


@pytest.mark.parametrize("method", ["euler", "exponential_euler", "rk4"])
def test_an_input_jumps_before_the_update_as_at_the_start_of_a_step(method):
    """As synapses do whose spikes arrived at the end of the step before, and `run_regularly(..., when="start")`."""
    case = Case(
        COBA,
        "v > -50*mV",
        "v = -60*mV",
        2 * b2.ms,
        method,
        {"tau_e": 5 * b2.ms},
        {"tau": ARRAY * b2.ms, "v": -60 * b2.mV},
        spikes=CELLS,
    )
    kicks = kicks_of(case.steps, 3.0)
    wanted, fired = ran_in_brian2(case, "ge", kicks)
    neuron = compiled(case, jumps="ge", input="w")
    found, spikes = ran(neuron, case, torch.from_numpy(kicks))
    assert torch.equal(spikes, fired)
    assert int(fired.sum()) > CELLS
    for name in ("v", "ge"):
        torch.testing.assert_close(found[name], wanted[name], rtol=CLOSE, atol=CLOSE)
    assert neuron.units["w"] == neuron.units["ge"] == "1"


def test_jumps_of_a_membrane_hold_in_refractory_cells_too():
    """Brian2 adds to a variable that the state update then leaves alone."""
    case = Case("dv/dt = -v/(10*ms) : volt (unless refractory)", "v > 15*mV", "v = 0*mV", 3 * b2.ms, "exact", spikes=9)
    kicks = kicks_of(case.steps, 12.0)
    wanted, fired = ran_in_brian2(case, "v", kicks * b2.mV)
    found, spikes = ran(compiled(case, jumps="v"), case, torch.from_numpy(kicks))
    assert torch.equal(spikes, fired)
    assert fired.any()
    torch.testing.assert_close(found["v"], wanted["v"], rtol=CLOSE, atol=CLOSE)


def test_equations_and_constants_around_the_call():
    tau, gain = 10 * b2.ms, 2 * b2.Mohm
    neuron = from_brian2(b2.Equations("dx/dt = (gain*current - x)/tau : volt", x="u"), "u > 1*mV", namespace="caller")
    assert (neuron.tau, neuron.gain, neuron.model.variables) == (10.0, 2.0, ("u",))
    assert (float(tau / b2.ms), float(gain / b2.Mohm)) == (10.0, 2.0)


def test_the_input_may_stand_in_the_threshold_and_the_reset():
    neuron = from_brian2(
        "dv/dt = -v/(10*ms) : volt",
        "v + r*I > 5*mV",
        "v = -r*I",
        input="I",
        namespace={"r": 2 * b2.Mohm},
        method="exact",
    )
    state = neuron.initial_state((2,), torch.zeros(2))
    spikes, state = neuron.step(torch.tensor([2.0, 3.0]), state, 0.1)
    assert (spikes.tolist(), state.v.tolist()) == ([0.0, 1.0], [0.0, -6.0])


@pytest.mark.parametrize("name", CASES)
def test_a_pickled_neuron_takes_the_same_steps_and_its_source_parses(name):
    neuron = compiled(CASES[name])
    twin = pickle.loads(pickle.dumps(neuron))
    short = CASES[name]._replace(steps=120)
    (found, spikes), (again, fired) = ran(neuron, short), ran(twin, short)
    assert torch.equal(spikes, fired)
    assert all(torch.equal(found[variable], again[variable]) for variable in found)
    assert twin.source() == neuron.source()
    compile(neuron.source(), "source", "exec")


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_case_runs_in_lower_precision(name, dtype):
    neuron = compiled(CASES[name])
    spikes, state = scan(neuron, torch.zeros(30, 2, CELLS, dtype=dtype), dt=0.5)
    assert spikes.dtype == dtype
    assert all(torch.isfinite(getattr(state, variable)).all() for variable in neuron.model.variables)


@pytest.mark.parametrize("text", ["R*current", "R*I0"])
def test_gradients_of_constants_of_cells_are_finite_differences(text):
    neuron = from_brian2(
        f"dv/dt = ({text} - v)/tau : volt\nR : ohm (constant)\nI0 : amp (constant)\ntau : second (constant)",
        "v > 1000*mV",
        "v = 0*mV",
        method="exact",
        input="current" if "current" in text else None,
        initial={"R": ARRAY * b2.Mohm, "tau": ARRAY[::-1] * b2.ms, "I0": 2 * b2.nA},
    )
    names = [name for name in ("R", "tau", "I0") if name in neuron.parameters and f"{name}" in f"{text} tau"]
    values = [torch.as_tensor(getattr(neuron, name)).double().requires_grad_() for name in names]

    def last(*values):
        return scan(neuron.with_parameters(**dict(zip(names, values))), torch.ones(5, CELLS).double(), dt=0.5)[1].v

    assert torch.autograd.gradcheck(last, values)


def test_gradients_through_spikes_reach_every_constant_of_cells():
    case = CASES["constants of cells in a product"]
    neuron = compiled(case)
    r = neuron.R.clone().requires_grad_()
    spikes, state = scan(neuron.with_parameters(R=r), torch.zeros(200, CELLS).double(), dt=0.5)
    (spikes.sum() + state.v.sum()).backward()
    assert spikes.sum() > 0
    assert torch.isfinite(r.grad).all()
    assert (r.grad != 0).all()


THRESHOLDS = {
    "v > 8*mV or t > 20*ms": (8.0,),
    "not v <= 8*mV": (8.0,),
    "not (v < 8*mV or w < 2*mV)": (8.0,),
    "armed and v >= 8*mV": (8.0,),
    "v > 8*mV and armed": (8.0,),
    "(v > 8*mV and w > 2*mV) or w > 6*mV": (8.0,),
    "armed": (),
    "high": (8.0,),
    "not armed or v > 8*mV": (8.0,),
}


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_thresholds_of_any_condition_fire_as_in_brian2(threshold):
    case = Case(
        """dv/dt = (20*mV*i/N - v)/(10*ms) : volt
        dw/dt = (10*mV - w)/(15*ms) : volt
        armed : boolean
        high = v > 8*mV : boolean""",
        threshold,
        "v = 0*mV; w -= 3*mV; armed = t > 30*ms",
        initial={"armed": True},
    )
    wanted, fired = ran_in_brian2(case)
    found, spikes = ran(compiled(case), case)
    assert torch.equal(spikes, fired)
    assert fired.any()
    assert (fired == 0).any()
    torch.testing.assert_close(found["v"], wanted["v"], rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize(
    ("threshold", "v", "w", "through"),
    [
        ("v > 5*mV or w > 5*mV", 4.0, 1.0, "v"),
        ("v > 5*mV or w > 5*mV", 1.0, 4.0, "w"),
        ("not (v < 5*mV or w < 5*mV)", 7.0, 6.0, "w"),
        ("v > 5*mV or w > 5*mV and armed", 4.0, 1.0, "v"),
    ],
)
def test_the_surrogate_is_that_of_the_deciding_difference(threshold, v, w, through):
    neuron = from_brian2("v : volt\nw : volt\narmed : boolean", threshold, input=None, swing=1.0)
    values = {name: torch.tensor([x], requires_grad=True) for name, x in (("v", v), ("w", w))}
    state = neuron.initial_state((1,), torch.zeros(1))._replace(**values)
    neuron.fire(state, 0.1)[0].sum().backward()
    grads = {name: 0.0 if x.grad is None else float(x.grad) for name, x in values.items()}
    other = "w" if through == "v" else "v"
    assert grads[other] == 0.0
    distance = {"v": v, "w": w}[through] - 5
    u = torch.tensor(distance, requires_grad=True)
    neuron.surrogate.spike(u).backward()
    assert grads[through] == pytest.approx(float(u.grad))


def test_the_input_of_a_group_has_a_value_there_and_is_given_to_every_step_here():
    group = b2.NeuronGroup(3, "dv/dt = (I - v) / (10*ms) : volt\nI : volt", method="exact")
    group.I = 20 * b2.mV
    neuron = from_brian2(group, input="I", input_unit="volt")
    current = torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64)
    _, state = neuron.step(current, neuron.initial_state((3,), current), 10.0)
    torch.testing.assert_close(state.v, -current * math.expm1(-1.0), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="unknown variable in initial: 'I'"):
        from_brian2(group, input="I", input_unit="volt", initial={"I": 1 * b2.mV})


def test_initial_values_of_another_unit_are_refused():
    for value, said in (
        (5 * b2.ms, "initial v=5. \\* msecond: the unit of 'v' is mV"),
        ("5*ms", "initial v='5\\*ms' is in ms: the unit of 'v' is mV"),
        ([1, 2] * b2.ms, "the unit of 'v' is mV"),
        ("rand() * ms + i*ms", "is in ms: the unit of 'v' is mV"),
        ("tau + 1*mV", "initial v='tau \\+ 1\\*mV'"),
    ):
        with pytest.raises(ValueError, match=said):
            from_brian2(
                "dv/dt = -v/tau : volt", input=None, method="euler", namespace={"tau": 5 * b2.ms}, initial={"v": value}
            )


def test_initial_text_with_pi_and_constants_that_differ_by_cell():
    cell = from_brian2(
        "dv/dt = -g*v : 1\ng : Hz (constant)", method="euler", initial={"v": "i*pi/N", "g": "10*Hz*(i+1)/N"}, input=None
    )
    state = cell.initial_state((4,), torch.zeros(4, dtype=torch.float64))
    assert torch.allclose(state.v, torch.arange(4).double() * math.pi / 4)
    assert torch.allclose(state.g, 0.01 * (torch.arange(4) + 1).double() / 4)


def test_a_shared_line_may_read_an_input():
    cell = from_brian2("dv/dt = (B - v)/(10*ms) : 1\nB = 2*x : 1 (shared)\nx : 1 (linked)", method="euler", input="x")
    zero = torch.zeros(2, dtype=torch.float64)
    assert cell.integrate(torch.tensor([1.0, 2.0]).double(), cell.initial_state((2,), zero), 1.0).v.tolist() == [
        0.2,
        0.4,
    ]


def test_gradients_after_a_first_run_in_inference_mode():
    cell = from_brian2("dv/dt = (x - v)/(10*ms) : 1", "v > 1", "v = 0", method="euler", input="x", input_unit="1")
    with torch.inference_mode():
        cell.step(torch.ones(2), cell.initial_state((2,), torch.ones(2)), 1.0)
    x = torch.ones(2, requires_grad=True)
    cell.step(x, cell.initial_state((2,), torch.ones(2)), 1.0)[1].v.sum().backward()
    assert torch.allclose(x.grad, torch.full((2,), 0.1))


def test_gradients_of_a_model_that_was_compiled_in_inference_mode():
    with torch.inference_mode():
        cell = from_brian2(
            "dv/dt = (x - a*v)/(10*ms) : 1\na : 1 (constant)",
            method="euler",
            input="x",
            input_unit="1",
            initial={"a": [1, 2]},
        )
    x = torch.ones(2, requires_grad=True)
    state = cell.initial_state((2,), torch.ones(2))
    for _ in range(2):
        state = cell.integrate(x, state, 1.0)
    state.v.sum().backward()
    assert torch.allclose(x.grad, torch.tensor([0.19, 0.18]))


@pytest.mark.parametrize("line", ["rates : Hz (constant)", "rates = 400*Hz*(1 + cos(2*pi*20*Hz*t)) : Hz", ""])
def test_sources_without_a_variable(line):
    threshold = "rand() < rates*dt" if line else "rand() < 0.04"
    cell = from_brian2(line, threshold, initial={"rates": 400 * b2.Hz} if "constant" in line else None, input=None)
    state = cell.initial_state((2000,), torch.zeros(1, dtype=torch.float64))
    spikes = 0.0
    for _ in range(500):
        fired, state = cell.step(torch.zeros(2000).double(), state, 0.1)
        spikes += float(fired.sum())
    assert spikes == pytest.approx(40_000, rel=0.02)  # of a million draws; the standard deviation is half a percent


@pytest.mark.parametrize(("threshold", "expected"), [("False", 0.0), ("True", 1.0), ("p > 0.5", 1.0), ("p < 0.5", 0.0)])
def test_a_threshold_that_is_the_same_for_all_cells(threshold, expected):
    cell = from_brian2("v : 1\np : 1 (constant)", threshold, "v += 1", initial={"p": 0.7}, input=None)
    state = cell.initial_state((2, 3), torch.zeros(1))
    for _ in range(3):
        spikes, state = cell.step(torch.zeros(2, 3), state, 0.1)
        assert spikes.tolist() == [[expected] * 3] * 2
    assert state.v.tolist() == [[3 * expected] * 3] * 2
    if "p" in threshold:
        cell = cell.with_parameters(p=torch.tensor(0.7))
    assert float(cell.step(torch.zeros(2, 3), state, 0.1)[0].mean()) == expected


@pytest.mark.parametrize(("side", "last"), [("2*mV", 2.0), ("1*mV*t/ms", 0.8), ("k*mV", 3.0)])
def test_what_is_the_same_for_all_cells_has_a_value_for_each(side, last):
    cell = from_brian2(
        f"dv/dt = (10*Mohm*current + x - v)/(10*ms) : volt\nx = {side} : volt (constant over dt)",
        "v > 15*mV",
        "v = 0*mV",
        method="euler",
        namespace={"k": 3.0},
    )
    run = simulate(cell, torch.zeros(9, 2, 3, dtype=torch.float64), 0.1, record=("v", "x"))
    assert run.x.shape == run.v.shape == (9, 2, 3)
    assert run.x[-1].flatten().tolist() == pytest.approx([last] * 6)
    assert validate(cell, duration=30.0, cells=2, tiers=("same_scheme",)).passed
    if side == "k*mV":
        learned = cell.with_parameters(k=torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True))
        run = simulate(learned, torch.zeros(9, 2, 3, dtype=torch.float64), 0.1, record=("v", "x"))
        assert run.x.shape == run.v.shape
        assert run.x[-1].tolist() == [[1.0, 2.0, 3.0]] * 2


@pytest.mark.parametrize("name", ["wait", "key", "clock", "inputs", "threshold", "swing", "fired"])
def test_jumps_of_variables_whose_names_are_ours(name):
    cell = from_brian2(
        f"d{name}/dt = -{name}/(10*ms) : 1", f"{name} > 1", f"{name} = 0", method="euler", input="w", jumps=name
    )
    state = cell.initial_state((1,), torch.zeros(1, dtype=torch.float64))
    fired = []
    for _ in range(4):
        spikes, state = cell.step(torch.full((1,), 0.6).double(), state, 0.1)
        fired.append(float(spikes))
    assert fired == [0.0, 1.0, 0.0, 1.0]


def test_jumps_of_a_parameter():
    cell = from_brian2("v : 1", "v > 1", "v = 0", input="w", jumps="v")
    state = cell.initial_state((1,), torch.zeros(1, dtype=torch.float64))
    fired = [float(cell.step(torch.full((1,), 0.6).double(), state, 0.1)[0])]
    for _ in range(5):
        spikes, state = cell.step(torch.full((1,), 0.6).double(), state, 0.1)
        fired.append(float(spikes))
    assert fired[1:] == [0.0, 1.0, 0.0, 1.0, 0.0]


def test_long_products_under_schemes_that_do_not_multiply_out():
    text = "dv/dt = (v + a)*(v + b)*(v + c)*(v + d)*(v + f)*(v + g)*(v + h)*(v + k)*(v + l)*(v - 1)/ms : 1"
    names = dict.fromkeys("abcdfghkl", 0.5)
    assert from_brian2(text, method="rk4", namespace=names, input=None).method == "rk4"
    with pytest.raises(ValueError, match="terms when it is multiplied out, above 400"):
        from_brian2(text, method="exponential_euler", namespace=names, input=None)
