"""The time-stepped credit: it goes to the exact gradient with O(dt), and refuses what it cannot follow."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import rules
from rules.check import check_rule
from rules.contract import Batch, Objective
from rules.credit.eventprop import EventProp, Membrane, spike_times, voltages
from rules.credit.eventprop.linear import linear
from rules.diagnostics.health import HealthWarning
from rules.models.admission import UnfitModel
from rules.objectives.spike_timing import first_spike
from rules.sites.site import sites
from sandbox import build
from sandbox.neurons import ALIF, LIF, AlphaLIF, CubaLIF, Izhikevich, LeakyIntegrator, StochasticBinary

INPUTS, HIDDEN, OUTPUTS, LONG = 4, 6, 3, 60.0
CELL = Membrane(20.0, 5.0)


@dataclass(frozen=True)
class Times(Objective):
    """A sum of squares of the times of first spikes [20 ms], each with a weight."""

    dt: float
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, run, batch):
        return squares(first_spike(run.output) * self.dt)


@dataclass(frozen=True)
class Voltage(Objective):
    """A sum of squares of the voltage at 20, 40 and 60 ms."""

    dt: float
    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, run, batch):
        at = [round(t / self.dt) - 1 for t in (20.0, 40.0, 60.0)]
        return (run.output[at] ** 2).sum()


def squares(first):
    return ((first / 20.0) ** 2 * torch.cos(torch.arange(OUTPUTS) + 1.0)).sum()


def given(seed=0):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)  # noqa: E731
    times = 2.0 + 28.0 * torch.rand(2, INPUTS, 1, generator=rng, dtype=torch.float64)
    return times, draw(HIDDEN, INPUTS) * 2.0 + 5.0, draw(OUTPUTS, HIDDEN) + 2.5


def in_steps(times, weights, dt, hidden, readout, units):
    """The same network in steps: a model, a batch, and what its weights are worth in units of the exact ones."""
    model = build((INPUTS,), OUTPUTS, (HIDDEN,), hidden, readout, dt=dt).double()
    with torch.no_grad():
        for layer, weight, unit in zip(model.layers, weights, units, strict=True):
            layer.synapse.weight.copy_(weight / unit)
            if layer.synapse.bias is not None:
                layer.synapse.bias.zero_()
    x = torch.zeros(round(LONG / dt), 2, INPUTS, dtype=torch.float64)
    x.scatter_(0, (times[..., 0] / dt).long()[None], 1.0)
    return model, Batch(x)


def stepped(dt, readout, objective, out_unit):
    times, *weights = given()
    units = 1 - math.exp(-dt / 5.0), out_unit(dt)
    hidden = CubaLIF(tau_mem=20.0, tau_syn=5.0)
    model, batch = in_steps(times, weights, dt, hidden, readout, units)
    rng = torch.Generator().manual_seed(0)
    found = EventProp(grazing=0.0).assign(model, objective(dt), batch, (), rng)
    return found, [found.grads[f"layers.{n}.synapse.weight"] / unit for n, unit in enumerate(units)]


def off(found, wanted):
    return [float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True)]


def exact(value):
    times, *weights = given()
    weights = [w.requires_grad_() for w in weights]
    fired = spike_times(times, weights[0], CELL, LONG)
    return torch.autograd.grad(value(fired, weights[1]), weights), int(torch.isfinite(fired).sum())


def test_spike_time_losses_converge_to_the_exact_gradient_with_the_step():
    def value(fired, weight):
        return squares(spike_times(fired, weight, CELL, LONG)[..., 0])

    wanted, count = exact(value)
    assert count > 15
    readout = CubaLIF(tau_mem=20.0, tau_syn=5.0)
    errors = []
    for dt in (0.1, 0.05, 0.025, 0.0125):
        found, grads = stepped(dt, readout, Times, lambda dt: 1 - math.exp(-dt / 5.0))
        errors.append(off(grads, wanted))
    assert max(errors[-1]) < 0.01
    for coarse, fine in zip(errors[:-1], errors[2:], strict=False):  # a quarter of the step
        assert all(f < 0.5 * c for c, f in zip(coarse, fine, strict=True)), errors


def test_losses_of_a_voltage_converge_to_the_exact_gradient_with_the_step():
    """The read-out is a leaky membrane behind the synapse of a cell that never reaches its threshold."""

    def value(fired, weight):
        return (voltages(fired, weight, CELL, torch.tensor([20.0, 40.0, 60.0], dtype=torch.float64)) ** 2).sum()

    wanted, _ = exact(value)
    readout = LeakyIntegrator(tau_mem=20.0)

    def leaky(fired, weight):
        """A leaky membrane that spikes lift at once: the limit of a fast synapse, in closed form."""
        at = torch.tensor([20.0, 40.0, 60.0], dtype=torch.float64)
        spans = at - fired[..., None].nan_to_num(posinf=1e9)
        kept = torch.where(spans > 0, torch.exp(-spans.clamp(min=0) / 20.0), 0.0).sum(2)
        return (torch.einsum("nm,bmq->bqn", weight, kept) ** 2).sum()

    wanted, _ = exact(leaky)
    errors = []
    for dt in (0.1, 0.05, 0.025, 0.0125):
        _, grads = stepped(dt, readout, Voltage, lambda dt: 1 - math.exp(-dt / 20.0))
        errors.append(off(grads, wanted))
    assert max(errors[-1]) < 0.01
    for coarse, fine in zip(errors[:-1], errors[2:], strict=False):
        assert all(f < 0.5 * c for c, f in zip(coarse, fine, strict=True)), errors
