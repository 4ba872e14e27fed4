"""Compiled neurons of any noise, membrane, input and name pass the checks of neurons and of networks against Brian2."""

from __future__ import annotations

import brian2 as b2
import pytest
import torch

from sandbox.networks.build import build
from sandbox.reference import from_brian2, validate
from sandbox.reference.brian import plain_numpy
from sandbox.reference.conformance.alike import first
from sandbox.reference.conformance.firing import firing_checks
from sandbox.reference.network import to_brian2
from tests.sandbox.reference.corpus.facts import models
from tests.sandbox.reference.corpus.page import attempt

SPACE = {"tau": 10 * b2.ms, "R": 10 * b2.Mohm}
LEAKY = "dv/dt = (-v + R*current)/tau : volt"
NEURONS = {
    "noise": {"equations": "dv/dt = (-v + R*current)/tau + 2*mV*xi/tau**.5 : volt", "method": "euler"},
    "noise and another": {
        "equations": "dv/dt = (-v + R*current + w)/tau + 2*mV*xi_1/tau**.5 : volt\ndw/dt = -w/tau + mV*xi_2/tau**.5 : volt",
        "method": "heun",
    },
    "a draw in the threshold": {"equations": LEAKY, "threshold": "rand() < v/(50*mV)", "method": "exact"},
    "a draw for each step, refractory": {
        "equations": "dv/dt = (-v + R*current + noise)/tau : volt (unless refractory)\n"
        "noise = 3*mV*randn() : volt (constant over dt)",
        "refractory": "2*ms",
        "method": "euler",
    },
    "a draw in the equation, refractory": {
        "equations": "dv/dt = (-v + R*current)/tau : volt (unless refractory)\ndw/dt = (v - w)/tau + mV*xi/tau**.5 : volt",
        "refractory": "2*ms",
        "method": "euler",
    },
    "draws that are declared": {
        "equations": "dv/dt = (-v + R*current + 3*mV*dice)/tau : volt",
        "draws": {"dice": "normal"},
        "method": "exact",
    },
    "a membrane V": {
        "equations": "dV/dt = (-V + R*current)/tau : volt",
        "threshold": "V > 15*mV",
        "reset": "V = 0*mV",
        "method": "exact",
    },
    "an input in volt": {"equations": "dv/dt = (-v + current)/tau : volt", "input_unit": "volt", "method": "exact"},
    "an input of a plain number": {
        "equations": "dv/dt = (-v + I*mV)/tau : volt",
        "input": "I",
        "input_unit": "1",
        "method": "exact",
    },
    "a membrane whose name every neuron has": {
        "equations": "dstep/dt = (R*I - step + key)/tau : volt\ndkey/dt = -key/tau : volt",
        "threshold": "step > 15*mV",
        "reset": "step = 0*mV; key += 1*mV",
        "input": "I",
        "method": "euler",
    },
    "a current that is not the input": {
        "equations": "dv/dt = (R*(x + current) - v + answers)/tau : volt\ndcurrent/dt = -current/tau : amp",
        "reset": "v = 0*mV; current += 0.1*nA",
        "namespace": {**SPACE, "answers": 2 * b2.mV},
        "input": "x",
        "method": "euler",
    },
    "an encoder": {
        "equations": "rates : Hz",
        "threshold": "rand() < rates*dt",
        "reset": None,
        "input": "rates",
        "input_unit": "hertz",
        "method": None,
    },
    "an input in the threshold": {
        "equations": "dv/dt = (5*mV - v)/tau : volt",
        "threshold": "v + R*current > 15*mV",
        "method": "exact",
    },
    "names of ours": {
        "equations": "dv/dt = (-v + R*current + bias + feed*mV*heard*output)/tau : volt\ndfeed/dt = (1 - feed)/tau : 1\n"
        "dheard/dt = -heard/tau : 1\ndoutput/dt = -output/tau : 1",
        "namespace": {**SPACE, "bias": 1 * b2.mV},
        "method": "euler",
        "initial": {"heard": 1.0, "output": 1.0},
    },
}


def make(name, **more):
    return from_brian2(**{"threshold": "v > 15*mV", "reset": "v = 0*mV", "namespace": SPACE, **NEURONS[name], **more})


@pytest.mark.parametrize("name", NEURONS)
def test_it_is_that_of_brian2(name):
    report = validate(make(name), duration=60.0, cells=2, tiers=("same_scheme",))
    assert report.passed, str(report)


def test_another_draw_is_caught():
    """The check compares draws too: of another stream every spike train differs."""
    neuron = make("a draw in the threshold")
    neuron.model.draws["rand_1"] = "normal"
    assert not validate(neuron, duration=60.0, cells=2, tiers=("same_scheme",)).passed


@pytest.mark.parametrize("name", NEURONS)
def test_a_network_of_it_is_that_of_brian2(name):
    """As hidden layer, recurrent, and as read-out that never fires."""
    silent = {"threshold": None, "reset": None, "refractory": None}
    spiking = "refractory" in NEURONS[name] or name in ("an encoder", "an input in the threshold")
    readout = None if spiking else make(name, **silent)
    network = build(shape=(6,), classes=3, hidden=(8, "5r"), neuron=make(name), readout=readout, dt=0.5, seed=1)
    x = 5.0 * (torch.rand(40, 2, 6, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    report = to_brian2(network).compare(x)
    assert report.passed, str(report)
    assert report.spikes[0] > 0


@pytest.mark.parametrize(("name", "into"), [("current", "g"), ("x", "g"), ("x", "current")])
def test_the_name_of_an_input_that_jumps_does_not_matter(name, into):
    cell = from_brian2(
        f"dv/dt = ({into}*Mohm - v)/(10*ms) : volt\nd{into}/dt = -{into}/(5*ms) : amp",
        "v > 15*mV",
        "v = 0*mV",
        method="euler",
        input=name,
        jumps=into,
    )
    report = validate(cell, duration=30.0, cells=2, tiers=("same_scheme",))
    assert report.passed, str(report)
    assert report.spikes > 5


@pytest.mark.parametrize(
    ("text", "threshold", "values"),
    [("", "t_in_timesteps % 7 == 0 and i >= 1", {}), ("rates : Hz (constant)", "rand() < rates*dt", {"rates": 0.1})],
)
def test_cells_without_variables_and_inputs_are_those_of_brian2(text, threshold, values):
    cell = from_brian2(text, threshold, input=None, initial=values)
    report = validate(cell, duration=40.0, cells=3, tiers=("same_scheme",))
    assert report.passed, str(report)
    assert report.spikes > 5


@pytest.mark.parametrize("clamped", ["", " (unless refractory)"])
@pytest.mark.parametrize("into", ["g", "v"])
def test_an_input_that_jumps_is_that_of_brian2(into, clamped):
    """The input is added to a conductance or to the membrane before each step, in refractory cells where it may be."""
    neuron = from_brian2(
        f"dv/dt = (-v + 20*g*mV)/(10*ms) : volt (unless refractory)\ndg/dt = -g/(5*ms) : 1{clamped}",
        threshold="v > 15*mV",
        reset="v = 0*mV; g = g/2",
        refractory="3*ms",
        method="exponential_euler",
        jumps=into,
    )
    report = validate(neuron, duration=60.0, cells=2, tiers=("same_scheme",))
    assert report.passed, str(report)


def test_whole_numbers_truth_values_and_shared_variables():
    for text, threshold, reset, initial in (
        ("n : integer", "v > 1*mV", "v = 0*mV; n = (n + 1) % 3", None),
        ("b : boolean", "v > 1*mV and not b", "v = 0*mV; b = v > 0.5*mV", None),
        ("s : volt (shared)", "v > 1*mV + s", "v = 0*mV", {"s": "0.2*mV"}),
    ):
        cell = from_brian2(
            f"dv/dt = (current*Mohm - v)/(10*ms) : volt\n{text}", threshold, reset, method="euler", initial=initial
        )
        report = validate(cell, duration=30.0, cells=3, tiers=("same_scheme",))
        assert report.passed, report
        assert report.spikes > 5


def test_the_index_of_cells_in_networks():
    cell = from_brian2("dv/dt = (current*Mohm - v)/(10*ms) : volt", "v > 1*mV*(1 + i*0.1)", "v = 0*mV", method="euler")
    net = build((6,), 3, (12,), neuron=cell)
    x = (torch.rand(60, 2, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    assert to_brian2(net).compare(x[:, :1]).passed
    with pytest.raises(ValueError, match=r"layers.0 reads 'i', and Brian2 numbers the cells .* x\[:, :1\]"):
        to_brian2(net).compare(x)


def firing_of(name):
    """Return the checks of threshold, reset and refractory period of a model of the corpus, by name."""
    facts = models()[name]
    with plain_numpy():
        _, neuron = attempt(facts)
        return {check.name: check for check in firing_checks(first(neuron), facts.dt, 1e-9)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Brette_Gerstner_2005", "10 of 15 cells run away"),  # its upstroke, where a period keeps it from its reset
        ("Brunel_Wang_2001, 2", "3 of 15 cells"),  # Euler steps that saturating conductances make unstable
        ("Izhikevich_2003", "for periods of 1, 20, 20.5 steps"),  # under a tenth of the currents, which are then enough
    ],
)
def test_a_refractory_period_of_cells_that_run_away_is_compared_up_to_there(name, words):
    found = firing_of(name)
    assert found["refractory period"].passed, found
    assert found["variables while refractory"].passed, found
    assert words in found["refractory period"].reason


def test_a_wrong_period_is_seen_before_a_cell_runs_away():
    facts = models()["Brette_Gerstner_2005"]
    with plain_numpy():
        _, neuron = attempt(facts)

        class Longer(type(neuron)):
            def fire(self, state, dt):
                spikes, after = super().fire(state, dt)
                return spikes, after._replace(wait=None if after.wait is None else after.wait + 2 * spikes.detach())

        wrong = Longer(**{name: getattr(neuron, name) for name in neuron.__dataclass_fields__})
        found = {check.name: check for check in firing_checks(wrong, facts.dt, 1e-9)}
    assert found["refractory period"].passed is False


@pytest.mark.parametrize("name", ["Kremer_et_al_2011_barrel_cortex", "course 2020, tutorial_notebook, 4"])
def test_a_membrane_that_is_a_whole_number_or_shared_has_states_of_its_kind(name):
    found = firing_of(name)
    assert all(found[each].passed for each in ("threshold elsewhere", "reset order")), found


def columns(number):
    """Return a cell that a stored signal of so many columns drives."""
    values = torch.linspace(10, 40, number).expand(4, number) * torch.tensor([[0.0], [1.0], [0.5], [1.2]])
    space = {"I": b2.TimedArray(values.numpy() * b2.mV, dt=15 * b2.ms), "tau": 8 * b2.ms}
    text = "dv/dt = (I(t, i) - v)/tau : volt (unless refractory)"
    return from_brian2(text, "v > 12*mV", "v = 0*mV", "2*ms", "exact", space, input=None)


def test_a_stored_signal_has_its_columns_under_each_stimulus():
    report = validate(columns(5), duration=60.0, cells=5, tiers=("same_scheme", "float32"))
    assert report.passed, report
    assert report.spikes > 50


def test_columns_for_another_number_of_cells_are_refused():
    with pytest.raises(ValueError, match=r"I\(t, i\) has 5 columns, one for each cell: .*cells=5"):
        validate(columns(5), duration=30.0, cells=4)


def test_a_period_in_which_nothing_fires_is_not_checked():
    text = "dv/dt = (I(t) - v)/(8*ms) : volt (unless refractory)"
    space = {"I": b2.TimedArray([0.0, 30.0] * b2.mV, dt=30 * b2.ms)}
    neuron = from_brian2(text, "v > 12*mV", "v = 0*mV", "2*ms", "exact", space, input=None)
    found = {check.name: check for check in firing_checks(neuron, 0.1, 1e-9)}
    assert found["refractory period"].passed is None
    assert "no cell fires in 200 steps" in found["refractory period"].reason


@pytest.mark.parametrize("name", ["active", "source", "record", "when", "order", "add_to_magic_network", "clock_"])
def test_variables_named_as_attributes_of_a_monitor(name):
    """`active` is an attribute of every Brian2 object, which a monitor returns for a variable of that name."""
    text = f"dv/dt = (I*Mohm - {name}*mV - v)/(9*ms) : volt\nd{name}/dt = (v/mV - {name})/(20*ms) : 1"
    neuron = from_brian2(text, "v > 10*mV", "v = 0*mV", method="euler", input="I")
    report = validate(neuron, duration=30.0, cells=3, tiers=("same_scheme",))
    assert report.passed, report


def test_constants_of_a_fractional_power():
    """f = k sqrt(I), with k in Hz/nA^0.5."""
    text = "dr/dt = (k*clip(I, 0*nA, inf*nA)**0.5 - r)/(10*ms) : Hz"
    neuron = from_brian2(text, method="euler", input="I", namespace={"k": 300 * b2.Hz / b2.nA**0.5})
    report = validate(neuron, duration=30.0, cells=3, tiers=("same_scheme",))
    assert report.passed, report


@pytest.mark.parametrize("name", ["Connor-Stevens with A-current", "fast spiking neocortical interneuron", "COBAHH"])
def test_rounding_of_a_quotient_of_two_differences_is_not_a_fault(name):
    """`exprel` as SymPy writes it: where v comes close to its 0, both sides lose digits, each its own."""
    facts = models()[name]
    with plain_numpy():
        _, neuron = attempt(facts)
        report = validate(neuron, duration=60.0, cells=8, dt=facts.dt, tiers=("same_scheme",))
    assert report.passed, report
    assert "or rounding, outgrow the tolerance" in str(report)
