"""Compiled neurons against SciPy's solution of their equations: what it solves, and what it names instead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sandbox import from_brian2, validate
from sandbox.reference.conformance.solution import equations_of, spike_times

LEAKY = "dv/dt = (R*I - v)/tau : volt (unless refractory)\nR : ohm\ntau : second\nth : volt\nI : amp"
VALUES = {"R": "100*Mohm", "tau": "10*ms", "th": "15*mV"}


def leaky(text=LEAKY, threshold="v > th", reset="v = 0*mV", **options):
    given = {"refractory": "2*ms", "input": "I", "method": "exact", "initial": VALUES} | options
    return from_brian2(text, threshold, reset, **given)


def limit_of(neuron):
    report = validate(neuron, duration=20.0, cells=2, tiers=("limit",))
    return report, {check.name: check for check in report.checks}


def test_parameters_without_a_flag_are_those_of_the_cell():
    """The closed form of the intervals: t_ref + tau log(R I / (R I - th))."""
    found = spike_times(equations_of(leaky()), 0.4, 100.0, 3)
    interval = 10 * math.log(40 / (40 - 15))
    assert found == pytest.approx([interval, 2 * interval + 2, 3 * interval + 4], abs=1e-9)


def test_a_parameter_that_the_reset_raises_is_followed():
    """A threshold that is 3 mV higher with each spike: v starts at 0 and has to reach 15, 18, 21 mV."""
    reset = "before = th; th += 3*mV; v = before - before"
    found = spike_times(equations_of(leaky(reset=reset)), 0.4, 100.0, 3)
    rises = [10 * math.log(40 / (40 - th)) for th in (15, 18, 21)]
    assert found == pytest.approx(np.cumsum(rises) + np.array([0, 2, 4]), abs=1e-9)


def test_thresholds_and_resets_read_subexpressions_and_constants():
    """A reset to a tenth of pi mV by two subexpressions, one of the input."""
    text = f"{LEAKY}\nhalf = th/2 : volt\nback = pi*mV/10 + 0*R*I : volt"
    found = spike_times(equations_of(leaky(text, "v > 2*half", "v = back")), 0.4, 100.0, 2)
    first, start = 10 * math.log(40 / 25), math.pi / 10
    assert found == pytest.approx([first, first + 2 + 10 * math.log((40 - start) / 25)], abs=1e-9)


@pytest.mark.parametrize(("operator", "after"), [("+", 6.0), ("-", 2.0), ("*", 8.0), ("/", 2.0)])
def test_every_operator_of_a_reset(operator, after):
    neuron = from_brian2(
        "dv/dt = (I/nA - v)/(10*ms) : 1\nw : 1", "v > 1", f"w {operator}= 2", input="I", method="euler"
    )
    solved = equations_of(neuron)
    assert solved.names == ("v", "w")
    assert solved.after_reset(np.array([1.0, 4.0]), 0.0).tolist() == [1.0, after]


@pytest.mark.parametrize("reset", ["v = 0*mV", "v = 0*mV; th += 3*mV"])
def test_the_whole_tier_has_a_verdict(reset):
    report, checks = limit_of(leaky(reset=reset))
    assert report.passed, report
    assert len(checks) == 4
    assert all(check.passed for check in checks.values()), report


def test_a_parameter_of_another_value_is_found_out():
    neuron = leaky(reset="v = 0*mV; th += 3*mV")

    class Wrong(type(neuron)):
        def fire(self, state, dt):
            spikes, after = super().fire(state, dt)
            return spikes, after._replace(th=after.th + 0.1 * spikes)

    _, checks = limit_of(Wrong(**{name: getattr(neuron, name) for name in neuron.__dataclass_fields__}))
    assert checks["f-I curve"].passed is False


@pytest.mark.parametrize(
    ("neuron", "words"),
    [
        (lambda: leaky(LEAKY.replace("R*I", "R*I + mV*sin(t/ms)"), method="euler"), "v reads t: SciPy solves"),
        (lambda: leaky(LEAKY.replace("R*I", "R*I + i*mV"), method="euler"), "v reads i: SciPy solves"),
        (lambda: leaky(threshold="v > th + N*mV"), "threshold or reset reads N: SciPy solves"),
        (
            lambda: leaky(LEAKY.replace("R*I", "R*I + mV*sqrt(ms)*xi"), method="euler"),
            "v has noise, xi: no one solution",
        ),
        (
            lambda: leaky(LEAKY.replace("R*I", "R*I + mV*f(v/mV)"), method="euler", functions={"f": torch.sin}),
            "it calls f, handed over with it",
        ),
    ],
)
def test_what_scipy_does_not_solve_is_named(neuron, words):
    report, checks = limit_of(neuron())
    assert [*checks] == ["order of the variables"]
    assert words in checks["order of the variables"].reason
    assert not report.passed  # nothing was checked


def test_a_refractory_period_of_the_state_leaves_out_the_rates():
    _, checks = limit_of(leaky(refractory="v < 1*mV"))
    assert checks["f-I curve"].passed is None
    assert "its refractory period is of its state, 'v < 1*mV'" in checks["f-I curve"].reason
    assert checks["order of the spike times"].passed
