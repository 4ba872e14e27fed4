"""The scales of a compiled neuron, measured on its steps: the distance to the threshold and the rheobase."""

from __future__ import annotations

import time

import brian2 as b2
import pytest
import torch

from sandbox.networks.build import build
from sandbox.reference import from_brian2
from sandbox.simulation import simulate

LEAKY = {"threshold": "v > 15*mV", "reset": "v = 0*mV"}
TAU = {"tau": 10 * b2.ms}
NEURONS = {  # equations, constants, unit of the input, rheobase in house units
    "r": ("dv/dt = (-v + r*current)/tau : volt", {"r": 10 * b2.Mohm}, "amp", 1.5),
    "R": ("dv/dt = (-v + R*current)/tau : volt", {"R": 10 * b2.Mohm}, "amp", 1.5),
    "gL": ("dv/dt = (-v + current/gL)/tau : volt", {"gL": 100 * b2.nS}, "amp", 1.5),
    "a tenth of gL": ("dv/dt = (-v + current/gL)/tau : volt", {"gL": 10 * b2.nS}, "amp", 0.15),
    "an area": ("dv/dt = (-v + current/gL)/tau : volt", {"gL": 10 * b2.nS / b2.cm**2}, "amp/metre**2", 1500.0),
    "volt": ("dv/dt = (-v + current)/tau : volt", {}, "volt", 15.0),
    "the other sign": ("dv/dt = (-v - current)/tau : volt", {}, "volt", 15.0),
    "from another rest": ("dv/dt = (5*mV - v + current)/tau : volt", {}, "volt", 10.0),
}


def make(name, **more):
    equations, constants, unit, _ = NEURONS[name]
    return from_brian2(equations, **{**LEAKY, **more}, namespace={**TAU, **constants}, input_unit=unit)


@pytest.mark.parametrize("name", NEURONS)
def test_the_rheobase_is_that_of_the_closed_form_whatever_the_names(name):
    """The membrane settles within 200 ms, and three passes leave 2 parts in 10^4."""
    assert make(name).rheobase == pytest.approx(NEURONS[name][-1], rel=1e-3)


def test_the_cell_fires_above_its_rheobase_and_not_below():
    cell = from_brian2(
        "dv/dt = (-70*mV - v + 2*mV*exp((v + 50*mV)/(2*mV)) + R*I)/tau : volt",
        "v > -30*mV",
        "v = -70*mV",
        method="euler",
        input="I",
        namespace={**TAU, "R": 100 * b2.Mohm},
        initial={"v": -70 * b2.mV},
    )
    below, above = (simulate(cell, torch.full((4000, 1), by * cell.rheobase).double(), 0.05) for by in (0.99, 1.01))
    assert below.spikes.sum() == 0 < above.spikes.sum()


def test_the_rheobase_of_a_cell_that_fires_by_itself_doubles_its_spikes():
    cell = from_brian2("dv/dt = (20*mV - v + current*Mohm)/tau : volt", **LEAKY, namespace=TAU)
    counts = [int(simulate(cell, torch.full((4000, 1), x).double(), 0.05).spikes.sum()) for x in (0.0, cell.rheobase)]
    assert counts[0] > 5
    assert counts[1] == 2 * counts[0] + 1


def test_the_rheobase_of_a_jump_is_an_amount_for_each_millisecond():
    cell = from_brian2("dv/dt = -v/tau : volt", **LEAKY, namespace=TAU, jumps="v", method="exact")
    decay = float(torch.exp(torch.tensor(-0.1, dtype=torch.float64)))
    assert cell.rheobase == pytest.approx(15 * (1 - decay) / decay, rel=1e-3)


def test_the_rheobase_of_a_membrane_moves_it_by_its_swing():
    cell = from_brian2("dv/dt = (-v + R*current)/tau : volt", namespace={**TAU, "R": 4 * b2.Mohm}, swing=2.0)
    assert cell.rheobase == pytest.approx(0.5, rel=1e-3)


def test_the_rheobase_of_a_random_threshold_adds_a_spike_in_one_of_twenty_steps():
    cell = from_brian2("dv/dt = (-v + Mohm*current)/tau : volt", "rand() < v/(50*mV)", namespace=TAU)
    assert cell.rheobase == pytest.approx(2.5, rel=0.3)


def test_a_cell_that_never_fires_has_its_swing():
    cell = from_brian2("dv/dt = (-v + 0*mV*current/nA)/tau : volt", **LEAKY, namespace=TAU)
    assert cell.rheobase == cell.swing == 15.0


@pytest.mark.parametrize(
    ("threshold", "swing"),
    [
        ("v > 15*mV", 15.0),
        ("v - theta > 0*mV", 20.0),
        ("2*v > theta", 20.0),
        ("v > 15*mV or v > theta", 15.0),
        ("rand() < v/mV", 1.0),
        ("t > 5*ms", 1.0),
        ("v > 0*mV", 1.0),
    ],
)
def test_the_swing_is_the_distance_to_the_threshold_of_any_expression(threshold, swing):
    cell = from_brian2(
        "dv/dt = (-v + current*Mohm)/tau : volt\ndtheta/dt = -theta/tau : volt",
        threshold,
        namespace=TAU,
        initial={"theta": 20 * b2.mV},
    )
    assert cell.swing == pytest.approx(swing)


def test_constants_of_cells_have_a_mean_rheobase():
    cell = make("R").with_parameters(R=torch.tensor([5.0, 10.0, 20.0]))
    assert 0.75 < cell.rheobase < 3.0


def test_the_initialisation_does_not_depend_on_a_name():
    rates = []
    for name in ("r", "R", "gL"):
        network = build(shape=(20,), classes=3, hidden=(30,), neuron=make(name), dt=1.0, seed=0)
        x = (torch.rand(50, 4, 20, generator=torch.Generator().manual_seed(0)) < 0.2).float()
        rates.append(network.layers[0].run(x).output.mean().item())
    assert rates[0] > 0.005
    assert rates == pytest.approx([rates[0]] * 3, rel=0.05)


ASIDE = "\ndz/dt = (current*Mohm - z)/tau : volt"
SILENT = {
    "nothing reads it": ("", {}),
    "there is none": ("", {"input": None}),
    "a variable that nothing reads": (ASIDE, {}),
    "a subexpression that nothing reads": ("\nz = current*Mohm : volt", {}),
    "a jump of a variable that nothing reads": ("\ndz/dt = -z/tau : volt", {"jumps": "z"}),
    "one of two": ("\nda/dt = (x - a)/tau : 1\ndb/dt = (x + y - b)/tau : 1", {"inputs": {"x": "1", "y": "1"}}),
    "a variable that waits beside a membrane": (ASIDE, {"threshold": None, "reset": None}),
}


@pytest.mark.parametrize("name", SILENT)
def test_networks_refuse_cells_whose_input_moves_nothing(name):
    """Nothing that the output depends on, that is, so that no weight before it would have a gradient."""
    text, given = SILENT[name]
    cell = from_brian2("dv/dt = (20*mV - v)/tau : volt" + text, **{**LEAKY, "namespace": TAU, **given})
    with pytest.raises(
        ValueError,
        match=r"nothing that the output of CompiledNeuron depends on reads its input, so weights before it would never learn: .*jumps='g'",
    ):
        build(shape=(4,), classes=2, hidden=(5,), neuron=cell)


DRIVEN = "dv/dt = (20*mV - v)/tau : volt"
HEARD = {
    "by the threshold": ("dv/dt = (5*mV - v)/tau : volt", "v + Mohm*current > 15*mV", "v = 0*mV"),
    "by the reset, through a variable": (DRIVEN + ASIDE, "v > 15*mV", "v = z"),
    "through two variables": (
        DRIVEN.replace("- v", "- y - v") + "\ndy/dt = (z - y)/tau : volt" + ASIDE,
        "v > 9*mV",
        None,
    ),
    "by a rate without a variable": ("rates : Hz", "rand() < rates*dt", None),
}


@pytest.mark.parametrize("name", HEARD)
def test_networks_take_cells_whose_output_reads_the_input_anywhere(name):
    text, threshold, reset = HEARD[name]
    given = {"input": "rates", "input_unit": "Hz"} if "rates" in text else {}
    cell = from_brian2(text, threshold, reset, namespace=TAU, method=None if given else "euler", **given)
    network = build(shape=(4,), classes=2, hidden=(5,), neuron=cell)
    network.layers[0].run(torch.ones(60, 2, 4)).output.sum().backward()
    assert next(network.parameters()).grad.abs().sum() > 0


def test_the_rheobase_of_many_cells_is_that_of_a_few_of_them():
    tau, v = torch.linspace(5.0, 15.0, 200).double(), torch.linspace(0.0, 2.0, 200).double()
    cell = from_brian2(
        "dv/dt = (10*Mohm*current - v)/tau : volt\ntau : second (constant)",
        "v > 15*mV",
        "v = 0*mV",
        method="exact",
        initial={"tau": tau.numpy() * b2.ms, "v": v.numpy() * b2.mV},
    )
    begun = time.process_time()
    assert cell.rheobase == pytest.approx(1.5, rel=1e-3)
    assert time.process_time() - begun < 30  # 2 s alone; 200 cells take a minute
    assert len(cell.tau) == 200
