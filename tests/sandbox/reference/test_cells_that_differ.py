"""Validation of neurons whose constants and initial values differ by cell."""

from dataclasses import replace

import brian2 as b2
import pytest
import torch

from sandbox import LIF, from_brian2, simulate, validate
from sandbox.reference.brian import run_brian2

TEXT = "dv/dt = (10*Mohm*current - v)/tau : volt (unless refractory)\ntau : second (constant)\nrest : second (constant)"


def differing():
    initial = {"tau": [5, 8, 11, 20] * b2.ms, "rest": [0.5, 1, 2, 4] * b2.ms, "v": [0, 1, 2, 3] * b2.mV}
    return from_brian2(TEXT, "v > 15*mV", "v = 0*mV", "rest", "exact", initial=initial)


def test_each_cell_is_compared_with_its_own():
    neuron = differing()
    report = validate(neuron, cells=4, duration=60.0, tiers=("same_scheme", "float32"))
    assert report.passed, report
    assert report.spikes > 50


def test_a_cell_with_another_constant_is_seen():
    neuron = differing()

    class Wrong(type(neuron)):
        def integrate(self, current, state, dt):
            return type(neuron).integrate(neuron_of(self), current, state, dt)

    def neuron_of(wrong):
        tau = wrong.tau.clone()
        if tau.ndim:
            tau[1::4] = 9.0
        return replace(wrong, tau=tau)

    wrong = Wrong(tau=neuron.tau, t_refractory=neuron.t_refractory, surrogate=neuron.surrogate)
    assert not validate(wrong, cells=4, duration=40.0, tiers=("same_scheme",)).passed


def test_so_many_cells_as_differ():
    with pytest.raises(ValueError, match=r"has a value for each of 4 cells, in shape \(4,\): .* cells=4"):
        validate(differing(), duration=20.0, cells=5)


def test_cells_of_the_library_too():
    tau = torch.linspace(5.0, 30.0, 6).double()
    assert validate(LIF(tau_mem=tau), cells=6, duration=40.0, tiers=("same_scheme", "float32")).passed


def test_a_report_shows_constants_once_and_short():
    neuron = LIF(tau_mem=torch.linspace(5.0, 30.0, 6).double())
    report = validate(neuron, cells=6, duration=20.0, tiers=("same_scheme",))
    assert report.neuron is neuron
    assert str(report).startswith("LIF(tau_mem=[5 to 30, 6 values], r=1.0, ")
    assert repr(report).startswith("ConformanceReport(neuron=LIF(tau_mem=[5 to 30, 6 values], r=1.0, ")
    assert repr(report).endswith("tiers=('same_scheme',), passed=True, checks=10, failed=[])")
    assert len(repr(report)) < 400


def test_learned_constants_run_in_brian2():
    neuron = differing()
    currents = torch.full((300, 4), 2.5, dtype=torch.float64)
    theirs, ours = run_brian2(neuron, currents, 0.1), simulate(neuron, currents, 0.1)
    assert torch.equal(theirs.spikes, ours.spikes)
    assert theirs.spikes.sum() > 10
