"""Several named inputs: step for step beside groups that Brian2 makes of the same text, and in networks."""

from dataclasses import fields

import brian2 as b2
import numpy as np
import pytest
import torch
from brian2 import ms, mV, nA, nS

from sandbox import build, scan, simulate, validate
from sandbox.reference import from_brian2
from tests.sandbox.reference.beside_brian2 import CELLS, CLOSE, Case, compiled, ran, ran_in_brian2

COBA = """
dv/dt = (g_l*(E_l - v) + ge*(E_e - v) + gi*(E_i - v) + I) / C : volt (unless refractory)
ge : siemens
gi : siemens
I : amp
"""
CONSTANTS = {"g_l": 10 * nS, "E_l": -60 * mV, "E_e": 0 * mV, "E_i": -80 * mV, "C": 200 * b2.pF}
FIRING = {"threshold": "v > -50*mV", "reset": "v = E_l", "refractory": 5 * ms, "initial": {"v": -60 * mV}}
SETS = {name: f"{name} = stored_{name}(t, i)" for name in ("ge", "gi", "I")}
JUMPING = """
dv/dt = (g_l*(E_l - v) + ge*(E_e - v) + gi*(E_i - v) + I) / C : volt (unless refractory)
dge/dt = -ge / (5*ms) : siemens
dgi/dt = -gi / (10*ms) : siemens
I : amp
"""


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    shape = (600, CELLS)
    return {
        "ge": rng.uniform(0, 12, shape) * nS,
        "gi": rng.uniform(0, 8, shape) * nS,
        "I": rng.uniform(-0.1, 0.4, shape) * nA,
    }


def stacked(values, order):
    house = {"ge": nS * 1e3, "gi": nS * 1e3, "I": nA}
    return torch.stack([torch.from_numpy(np.asarray(values[name] / house[name])) for name in order], -1)


def agree(theirs, ours, spikes):
    (values, fired), (found, shown) = theirs, ours
    assert torch.equal(fired, shown)
    assert fired.sum() >= spikes
    for name in found.keys() & values.keys():
        assert torch.allclose(found[name], values[name], rtol=CLOSE, atol=CLOSE), name


@pytest.mark.parametrize("method", ["euler", "rk2", "rk4", "exponential_euler", "heun"])
@pytest.mark.parametrize("order", [("ge", "gi", "I"), ("I", "gi", "ge")])
def test_inputs_of_other_units_in_any_order(method, order, drawn):
    case = Case(COBA, namespace=CONSTANTS, method=method, **FIRING)
    theirs = ran_in_brian2(case, stored={SETS[name]: drawn[name] for name in order})
    neuron = compiled(case, inputs=order)
    assert neuron.inputs == order
    assert [neuron.units[name] for name in order] == [{"I": "nA"}.get(name, "uS") for name in order]
    agree(theirs, ran(neuron, case, stacked(drawn, order)), 20)


def test_inputs_that_are_added_to_variables_beside_one_that_is_read(drawn):
    case = Case(JUMPING, namespace=CONSTANTS, method="rk4", **FIRING)
    sets = {f"{name} += stored_{name}(t, i)": drawn[name] / 40 for name in ("ge", "gi")}
    theirs = ran_in_brian2(case, stored={**sets, SETS["I"]: drawn["I"]})
    neuron = compiled(case, inputs=["I"], jumps={"excitation": "ge", "inhibition": "gi"})
    assert neuron.inputs == ("I", "excitation", "inhibition")
    given = stacked({**drawn, "ge": drawn["ge"] / 40, "gi": drawn["gi"] / 40}, ("I", "ge", "gi"))
    agree(theirs, ran(neuron, case, given), 20)


def test_two_inputs_may_be_added_to_one_variable(drawn):
    case = Case(JUMPING.replace("+ I", ""), namespace=CONSTANTS, method="euler", **FIRING)
    both = {"ge": drawn["ge"] / 20 + drawn["gi"] / 40}
    theirs = ran_in_brian2(case, jumps="ge", kicks=both["ge"])
    neuron = compiled(case, jumps={"near": "ge", "far": "ge"})
    given = torch.stack([stacked(drawn, ["ge"])[..., 0] / 20, stacked(drawn, ["gi"])[..., 0] / 40], -1)
    agree(theirs, ran(neuron, case, given), 20)


def test_inputs_in_thresholds_and_resets(drawn):
    text = "dv/dt = (drive - v) / (10*ms) : volt"
    case = Case(text + "\ndrive : volt\nbar : volt\nback : volt", "v > bar", "v = back", method="exact", spikes=10)
    values = {
        "drive": drawn["ge"] / nS * 3 * mV,
        "bar": (5 + drawn["gi"] / nS) * mV,
        "back": (drawn["I"] / nA) * mV,
    }
    theirs = ran_in_brian2(case, stored={f"{name} = stored_{name}(t, i)": each for name, each in values.items()})
    neuron = from_brian2(text, "v > bar", "v = back", method="exact", inputs=dict.fromkeys(values, "volt"))
    given = torch.stack([torch.from_numpy(np.asarray(each / mV)) for each in values.values()], -1)
    found, shown = ran(neuron, case, given)
    agree(theirs, (({"v": found["v"]}), shown), 20)


def test_each_input_has_a_rheobase_and_a_gradient():
    case = Case(COBA, namespace=CONSTANTS, method="euler", **FIRING)
    neuron = compiled(case, inputs=("ge", "gi", "I"))
    by = dict(zip(neuron.inputs, neuron.rheobase.tolist(), strict=True))
    assert by["I"] == pytest.approx(0.1, rel=1e-3)  # g_l * 10 mV [nA]
    assert by["ge"] == pytest.approx(0.01 * 10 / 50, rel=1e-3)  # g_l 10 mV / (50 mV to E_e) [uS]
    currents = (1.5 * neuron.rheobase).expand(300, 2, 3).clone().requires_grad_()
    run = simulate(neuron, currents, 0.1)
    assert run.spikes.shape == (300, 2)
    run.v.sum().backward()
    assert (currents.grad[:100].abs().sum((0, 1)) > 0).all()


def test_linked_variables_are_inputs(drawn):
    case = Case(COBA, namespace=CONSTANTS, method="euler", **FIRING)
    theirs = ran_in_brian2(case, stored={SETS[name]: drawn[name] for name in SETS})
    linked = COBA.replace("ge : siemens", "ge : siemens (linked)")
    neuron = compiled(case._replace(equations=linked), inputs=("ge", "gi", "I"))
    agree(theirs, ran(neuron, case, stacked(drawn, ("ge", "gi", "I"))), 20)


BAD = {
    "no name": ({"inputs": "ge"}, r"inputs='ge': give names, \('ge', 'gi'\), or units by name"),
    "no sequence": ({"inputs": 3}, "inputs=3: give names"),
    "twice": ({"inputs": ("I", "I")}, "has a name twice"),
    "an invalid name": ({"inputs": ("2x",)}, "input='2x' is not a valid name"),
    "one beside": ({"inputs": ("I",), "input": "ge"}, r"input='ge' beside several inputs: name it among them"),
    "another unit": (
        {"inputs": {"ge": "amp", "I": "amp"}},
        r"the input 'ge' is in amp in inputs=, and 'ge : siemens' says",
    ),
    "no unit": ({"inputs": {"ge": "nS"}}, "unknown base unit in ': nS'"),
    "an equation": ({"inputs": ("v",)}, "the input 'v' is a differential equation of the equations"),
    "unread": ({"inputs": ("ge", "gi", "I", "x")}, r"nothing reads the input 'x': add it to an equation, leave it out"),
    "a jump of nothing": ({"jumps": {"w": "h"}}, "unknown variable in jumps: 'h'"),
    "a jump that is read": ({"jumps": {"I": "v"}}, "give it a name of its own"),
}


@pytest.mark.parametrize(("options", "message"), BAD.values(), ids=list(BAD))
def test_bad_inputs(options, message):
    with pytest.raises(ValueError, match=message):
        from_brian2(COBA, "v > -50*mV", "v = E_l", method="euler", namespace=CONSTANTS, **options)


def test_units_that_do_not_match_across_inputs():
    text = "dv/dt = (ge*(0*mV - v) + I) / C : volt"
    with pytest.raises(ValueError, match=r"the units do not fit in 'dv/dt.*'.*multiply by a unit"):
        from_brian2(text, method="euler", namespace=CONSTANTS, inputs={"ge": "amp", "I": "amp"})


def test_a_linked_variable_that_is_no_input():
    text = COBA.replace("ge : siemens", "ge : siemens (linked)")
    with pytest.raises(ValueError, match=r"'ge : siemens \(linked\)' has in every step the value .* input='ge'"):
        from_brian2(text, method="euler", namespace=CONSTANTS)
    with pytest.raises(ValueError, match=r"make it an input, inputs=\('I', 'ge'\)"):
        from_brian2(text, method="euler", namespace=CONSTANTS, inputs=("I",))


def test_currents_with_another_axis_are_refused():
    neuron = from_brian2(COBA, "v > -50*mV", "v = E_l", method="euler", namespace=CONSTANTS, inputs=("ge", "gi", "I"))
    with pytest.raises(ValueError, match=r"end in an axis of 2; CompiledNeuron has 3 inputs, ge, gi, I: stack a"):
        simulate(neuron, torch.zeros(5, 4, 2), 0.1)
    state = neuron.initial_state((4,), torch.zeros(4))
    with pytest.raises(ValueError, match="end in an axis of 2"):
        neuron.step(torch.zeros(4, 2), state, 0.1)


@pytest.mark.parametrize("inputs", [{"inputs": ("ge", "gi", "I")}, {"inputs": ("I",), "jumps": {"x": "ge", "y": "gi"}}])
def test_validated_beside_brian2(inputs):
    text = COBA if "jumps" not in inputs else JUMPING
    neuron = from_brian2(text, "v > -50*mV", "v = E_l", 5 * ms, "euler", CONSTANTS, initial={"v": -60 * mV}, **inputs)
    report = validate(neuron, duration=100.0, cells=6, tiers=("same_scheme", "limit"))
    assert report.passed, report
    assert report.spikes > 10
    assert "it has several inputs" in str(report)


def test_a_wrong_input_is_seen():
    """The judge fails a neuron whose second input acts as a fifth more than it is."""
    neuron = from_brian2(COBA, "v > -50*mV", "v = E_l", 5 * ms, "euler", CONSTANTS, inputs=("ge", "gi", "I"))

    class Wrong(type(neuron)):
        def integrate(self, current, state, dt):
            return super().integrate(current * torch.tensor([1.0, 1.2, 1.0], dtype=torch.float64), state, dt)

    wrong = Wrong(**{f.name: getattr(neuron, f.name) for f in fields(neuron)})
    assert not validate(wrong, duration=20.0, cells=6, tiers=("same_scheme",)).passed


MOVES = "dv/dt = (20*mV + R*I - v)/tau : volt"
CELL = {"threshold": "v > 15*mV", "reset": "v = 0*mV", "namespace": {"tau": 10 * b2.ms, "R": 10 * b2.Mohm}}
MEANT = {
    "a parameter": lambda: from_brian2(MOVES + "\nI : amp", **CELL),
    "a constant of the equations": lambda: from_brian2(
        MOVES + "\nI : amp (constant)", **CELL, initial={"I": 1 * b2.nA}
    ),
    "a constant of the namespace": lambda: from_brian2(
        MOVES, **{**CELL, "namespace": {**CELL["namespace"], "I": 1 * b2.nA}}
    ),
    "a parameter of another unit": lambda: from_brian2(MOVES.replace("R*I", "I") + "\nI : volt", **CELL),
}


@pytest.mark.parametrize("case", MEANT)
def test_currents_that_nothing_reads_are_named(case):
    cell = MEANT[case]()
    message = r"nothing reads the input 'current', so that currents do nothing: .* input='I' \(one of I\).*input=None"
    for run in (scan, simulate):
        with pytest.warns(UserWarning, match=message):
            run(cell, torch.ones(3, 2), dt=0.1)
    with pytest.raises(ValueError, match=r"never learn: nothing reads the input 'current'.*input='I'"):
        build((4,), 2, hidden=(3,), neuron=cell)


def test_cells_without_an_input_say_nothing_of_it(recwarn):
    scan(MEANT["a parameter"](), torch.zeros(3, 2), dt=0.1)
    scan(from_brian2(MOVES + "\nI : amp", **CELL, input=None), torch.ones(3, 2), dt=0.1)
    scan(from_brian2(MOVES + "\nI : amp", **CELL, input="I"), torch.ones(3, 2), dt=0.1)
    assert not [each for each in recwarn if "nothing reads" in str(each.message)]


def test_an_input_of_another_name_that_nothing_reads_is_refused():
    with pytest.raises(ValueError, match=r"nothing reads the input 'J'.*input='I' \(one of I\)"):
        from_brian2(MOVES + "\nI : amp", **CELL, input="J")
