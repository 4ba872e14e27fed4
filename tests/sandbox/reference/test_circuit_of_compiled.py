"""Circuits of compiled neurons beside Brian2: noise, draws, membranes of any name, inputs that jump, cells that differ."""

from __future__ import annotations

import pytest
import torch

from sandbox import LIF, Circuit, Connection, from_brian2, simulate_circuit
from sandbox.kernels import using
from sandbox.reference.circuit_in_brian2 import circuit_objects, run_circuit
from tests.sandbox.circuits.conftest import CELLS, DOUBLE, wired

DT = 0.5
LEAKY = "dv/dt = (-v + 10*Mohm*current) / (10*ms) : volt"
NEURONS = {
    "noise": {"equations": "dv/dt = (-v + 10*Mohm*current)/(10*ms) + 3*mV*xi/(10*ms)**.5 : volt", "method": "euler"},
    "two noises, refractory": {
        "equations": "dv/dt = (-v + 10*Mohm*current + w)/(10*ms) + 3*mV*xi_1/(10*ms)**.5 : volt (unless refractory)\n"
        "dw/dt = -w/(5*ms) + mV*xi_2/(5*ms)**.5 : volt",
        "method": "euler",
        "refractory": "2*ms",
    },
    "draws in threshold and reset": {
        "equations": LEAKY,
        "threshold": "rand() < v/(40*mV)",
        "reset": "v = 3*mV*randn()",
        "method": "exact",
    },
    "a membrane u": {
        "equations": "du/dt = (-u + 10*Mohm*current) / (10*ms) : volt",
        "threshold": "u > 15*mV",
        "reset": "u = 0*mV",
        "method": "exact",
    },
    "names of ours": {
        "equations": "dv/dt = (-v + 10*Mohm*current + drive*period)/(10*ms) : volt (unless refractory)\n"
        "ddrive/dt = (1 - drive)/(5*ms) : 1",
        "namespace": {"period": "1*mV"},
        "method": "euler",
        "refractory": "2*ms",
    },
    "an input that jumps": {
        "equations": "dv/dt = (-v + 5*i_syn*mV/nA)/(10*ms) : volt\ndi_syn/dt = -i_syn/(5*ms) : amp",
        "jumps": "i_syn",
        "method": "exponential_euler",
    },
}


def make(name, **more):
    return from_brian2(**{"threshold": "v > 15*mV", "reset": "v = 0*mV", **NEURONS[name], **more})


def agree(circuit, currents, mode, state=None):
    with using(mode):
        ours = simulate_circuit(circuit, currents, DT, state=state).events
    theirs = run_circuit(circuit, currents, DT, state)
    assert torch.equal(ours.step, theirs.step)
    assert torch.equal(ours.cell, theirs.cell)
    assert len(ours.step) > 20, "a silent comparison proves nothing"


DRAWN = "draws in threshold and reset"  # of which no kernel knows where arriving spikes come between


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.parametrize("mode", ["numba", pytest.param("plain", marks=pytest.mark.slow)])
def test_with_every_kind_of_connection(name, mode):
    neuron = make(name)
    mode = "auto" if name == DRAWN and mode == "numba" else mode
    circuit, currents = wired(neuron, dt=DT, jump=neuron.membrane)
    agree(circuit, currents[:, 0], mode)


def test_draws_of_a_reset_that_spikes_come_before_are_left_to_the_plain_loop():
    neuron = make(DRAWN)
    circuit, currents = wired(neuron, dt=DT)
    with using("numba"), pytest.raises(RuntimeError, match="its reset draws random numbers, and spikes arrive between"):
        simulate_circuit(circuit, currents[:, 0], DT)
    agree(Circuit(neuron, CELLS), currents[:, 0], "numba")  # alone, in a kernel


def test_several_inputs_are_refused():
    neuron = from_brian2(
        "dv/dt = (-v + 10*Mohm*(a + b)) / (10*ms) : volt", "v > 15*mV", "v = 0*mV", method="exact", inputs=("a", "b")
    )
    with pytest.raises(ValueError, match=r"has several inputs \(a, b\), .* compile it with input=None"):
        Circuit(neuron, 3)


def test_cells_without_an_input_hear_jumps_alone():
    neuron = from_brian2("dv/dt = (20*mV - v)/(10*ms) : volt", "v > 15*mV", "v = 0*mV", method="exact", input=None)
    weights = 2 * torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    circuit = Circuit(neuron, 4, [Connection(weights, kind="jump", delay=1.0)])
    start = neuron.initial_state((4,), torch.zeros(4, dtype=DOUBLE))._replace(v=torch.linspace(0, 10, 4, dtype=DOUBLE))
    agree(circuit, torch.zeros(300, 4, dtype=DOUBLE), "auto", start)
    with pytest.raises(ValueError, match=r"connections\[0\] is a current, and nothing in the equations .* jump"):
        Circuit(neuron, 4, [Connection(weights)])


def test_a_constant_current_and_jumps_alone():
    neuron = make("names of ours")
    weights = 5 * (1 - torch.eye(4, dtype=DOUBLE))
    circuit = Circuit(neuron, 4, [Connection(weights, kind="jump", delay=1.0)])
    agree(circuit, torch.full((4,), 1.7, dtype=DOUBLE).expand(300, 4), "numba")


@pytest.mark.parametrize(("kind", "mode"), [("library", "numba"), ("library", "plain"), ("compiled", "auto")])
def test_refractory_periods_of_each_cell(kind, mode):
    periods = torch.arange(CELLS, dtype=DOUBLE) % 5 * 0.7
    if kind == "library":
        neuron = LIF(t_refractory=periods)
    else:
        neuron = from_brian2(
            "dv/dt = (-v + 10*Mohm*current) / (10*ms) : volt (unless refractory)\nlast : second (constant)",
            threshold="v > 15*mV",
            reset="v = 0*mV",
            refractory="last",
            method="exact",
            initial={"last": "0*ms"},
        ).with_parameters(last=periods)
    circuit, currents = wired(neuron, dt=DT) if kind == "library" else (Circuit(neuron, CELLS), None)
    if currents is None:
        currents = torch.full((400, 1, CELLS), 2.5, dtype=DOUBLE)
    agree(circuit, currents[:, 0], mode)


def test_cells_that_differ_in_a_period_alone_fire_apart():
    """Each at the interval of its own period: the one variable in Brian2 has the number of each cell."""
    periods = torch.tensor([0.0, 5.0, 10.0], dtype=DOUBLE)
    circuit = Circuit(LIF(t_refractory=periods), 3)
    currents = torch.full((400, 3), 2.0, dtype=DOUBLE)
    group = circuit_objects(circuit, currents, DT)["cells"]
    assert [round(float(each) * 1000, 6) for each in group.period] == periods.tolist()
    counts = run_circuit(circuit, currents, DT).cell.bincount().tolist()
    assert counts[0] > counts[1] > counts[2] > 0


def test_a_conductance_acts_on_the_membrane_of_any_name():
    """Towards 60 mV from above the threshold, so that it excites; the same circuit with v has the same spikes."""
    found = []
    for v in ("v", "membrane"):
        neuron = from_brian2(
            f"d{v}/dt = (-{v} + 10*Mohm*current) / (10*ms) : volt", f"{v} > 15*mV", f"{v} = 0*mV", method="exact"
        )
        weights = 0.02 * (1 - torch.eye(4, dtype=DOUBLE))
        circuit = Circuit(neuron, 4, [Connection(weights, kind="conductance", tau=3.0, reversal=60.0)])
        found.append(simulate_circuit(circuit, torch.linspace(1.6, 2.0, 4, dtype=DOUBLE).expand(300, 4), DT).events)
    assert torch.equal(found[0].step, found[1].step)
    assert len(found[0].step) > 20
