"""The neurons agree with Brian2 step for step, and a wrong neuron does not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from sandbox import LIF, LeakyIntegrator, validate
from sandbox.neurons.lif import LIFState

BIOLOGICAL = {"tau_mem": 15.0, "r": 40.0, "v_leak": -65.0, "v_threshold": -50.0, "v_reset": -70.0}


@pytest.mark.parametrize("t_refractory", [0.0, 2.0])
@pytest.mark.parametrize("reset", ["to_value", "subtract", "none"])
def test_lif_agrees_with_brian2(reset, t_refractory):
    """20 cells, noisy current, 1 s of biological time, float64: no spike at another step, membrane within 1e-9 mV."""
    report = validate(LIF(**BIOLOGICAL, reset=reset, t_refractory=t_refractory))
    assert (report.cells, report.duration) == (20, pytest.approx(1000.0))
    assert report.spikes > 100, "a silent comparison proves nothing"
    assert report.spikes_differing == 0, str(report)
    assert report.differences["v"] <= 1e-9, str(report)
    assert report.passed
    assert report.largest_shift == 0


@pytest.mark.parametrize(
    "neuron", [LIF(), LIF(strict=True), LeakyIntegrator(**{k: BIOLOGICAL[k] for k in ("tau_mem", "r", "v_leak")})]
)
def test_the_others_agree_with_brian2(neuron):
    assert validate(neuron, duration=200.0).passed


@pytest.mark.parametrize("reset", ["to_value", "subtract"])
def test_equality_at_the_threshold_is_decided_alike(reset):
    """A current that lands exactly on the threshold: v = 1 after one step of a very fast membrane."""
    currents = torch.ones(5, 2, dtype=torch.float64)
    for strict in (False, True):
        report = validate(LIF(tau_mem=1e-3, reset=reset, strict=strict), currents, dt=1.0)
        assert report.passed
        assert report.spikes == (0 if strict else 10)


@pytest.mark.parametrize("t_refractory", [0.1, 0.3, 1.0, 1.05])
def test_refractory_periods_are_cut_alike(t_refractory):
    currents = torch.full((2000, 1), 30.0, dtype=torch.float64)
    assert validate(LIF(t_refractory=t_refractory), currents).passed


def test_the_rate_grows_with_the_current():
    rates = [rate for _, rate, _ in validate(LIF()).fi_curve]
    assert rates[0] < rates[10] < rates[-1]


@dataclass(frozen=True)
class Sloppy(LIF):
    """Forward Euler under the name of the exact scheme."""

    def integrate(self, current, state, dt):
        return LIFState(state.v + dt / self.tau_mem * (self.v_leak + self.r * current - state.v))


@dataclass(frozen=True)
class Hasty(LIF):
    """Refractory for one step less than it says."""

    def fire(self, state, dt):
        spikes, after = super().fire(state, dt)
        return spikes, after._replace(wait=(after.wait - spikes.detach()).clamp(min=0))


@pytest.mark.parametrize("neuron", [Sloppy(), Hasty(t_refractory=2.0)])
def test_a_wrong_neuron_is_caught(neuron):
    report = validate(neuron, duration=200.0)
    assert not report.passed
    assert "DOES NOT AGREE" in str(report)
