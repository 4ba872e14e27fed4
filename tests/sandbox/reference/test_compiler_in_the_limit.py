"""Compiled neurons against SciPy's solution of their equations: what it solves, and what it names instead."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sandbox import from_brian2, validate
from sandbox.reference.brian import plain_numpy
from sandbox.reference.conformance.solution import equations_of, spike_times
from tests.sandbox.reference.corpus.facts import models
from tests.sandbox.reference.corpus.page import attempt

LEAKY = "dv/dt = (R*I - v)/tau : volt (unless refractory)\nR : ohm\ntau : second\nth : volt\nI : amp"
VALUES = {"R": "100*Mohm", "tau": "10*ms", "th": "15*mV"}


def leaky(text=LEAKY, threshold="v > th", reset="v = 0*mV", **options):
    given = {"refractory": "2*ms", "input": "I", "method": "exact", "initial": VALUES} | options
    return from_brian2(text, threshold, reset, **given)


def limit_of(neuron):
    report = validate(neuron, duration=20.0, cells=8, tiers=("limit",))
    return report, {check.name: check for check in report.checks}


def copied(neuron, **methods):
    """Return a neuron like another, with other methods."""
    changed = type("Wrong", (type(neuron),), methods)
    return changed(**{name: getattr(neuron, name) for name in neuron.__dataclass_fields__})


def published(name):
    """Return a neuron of the corpus."""
    with plain_numpy():
        _, neuron = attempt(models()[name])
    return neuron


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

    def fire(self, state, dt):
        spikes, after = type(neuron).fire(self, state, dt)
        return spikes, after._replace(th=after.th + 0.1 * spikes)

    assert limit_of(copied(neuron, fire=fire))[1]["f-I curve"].passed is False


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


@pytest.mark.parametrize("start", ["i*mV", "10*mV*rand()"])
def test_cells_that_begin_apart_begin_as_the_first(start):
    report, _ = limit_of(leaky(initial={**VALUES, "v": start}))
    assert report.passed, report


@pytest.mark.parametrize("method", ["heun", "milstein", "euler", "exponential_euler", "rk2", "rk4"])
def test_the_order_of_every_scheme(method):
    """Without noise, Brian2's heun and milstein are Euler's; rk4 reaches rounding before six steps show its order."""
    text = "dv/dt = (I/nA - v*(1 + w))/(10*ms) : 1\ndw/dt = (sin(v) - w)/(5*ms) : 1"
    _, checks = limit_of(from_brian2(text, "v > 1", "v = 0", method=method, input="I"))
    check = checks.get("order of the variables") or checks["error of the variables"]
    assert check.passed, check
    wanted = {"rk2": "for order 2", "rk4": ""}.get(method, "for order 1")
    assert wanted in check.reason


def test_a_scheme_of_a_lower_order_than_it_says_fails():
    neuron = from_brian2("dv/dt = (I/nA - v + v**2/10)/(10*ms) : 1", "v > 4", "v = 0", method="euler", input="I")
    wrong = copied(neuron, method="rk2")
    check = limit_of(wrong)[1]["order of the variables"]
    assert check.passed is False
    assert "for order 2" in check.reason


@pytest.mark.parametrize(("side", "words"), [("abs(v - 0.3)", "has kinks"), ("tanh(v - 0.3)", "")])
def test_kinks_take_the_order_of_a_scheme_and_nothing_else_does(side, words):
    """rk4 across the kink of a slope is of a lower order, and a slope of Euler's step is not excused without one."""
    text = f"dv/dt = (I/nA - v - {side})/(10*ms) : 1"
    neuron = from_brian2(text, "v > 1.5", "v = 0", method="rk4", input="I")
    euler = from_brian2(text, "v > 1.5", "v = 0", method="euler", input="I")
    right, wrong = (limit_of(each)[1] for each in (neuron, copied(neuron, integrate=lambda s, *a: euler.integrate(*a))))
    assert all(check.passed is not False for check in right.values()), right
    if words:
        assert "its slopes have kinks" in right["order of the variables"].reason
    else:
        assert False in [check.passed for check in wrong.values()]


def test_a_neuron_that_follows_its_equations_at_no_step_fails():
    neuron = leaky()
    wrong = copied(neuron, integrate=lambda self, current, *rest: type(neuron).integrate(self, -current, *rest))
    check = limit_of(wrong)[1]["error of the variables"]
    assert check.passed is False
    scheme = leaky(method="euler")
    wrong = copied(scheme, integrate=lambda self, current, *rest: type(scheme).integrate(self, -current, *rest))
    assert limit_of(wrong)[1]["error of the variables"].passed is False


def test_where_all_steps_are_too_long_nothing_is_said():
    """Rates that are squared, of a network whose smallest current to be seen is 3e6."""
    check = limit_of(published("supralinear network of two cells"))[1]["order of the variables"]
    assert check.passed is None, check
    assert "and still fall" in check.reason


@pytest.mark.parametrize(
    "name", ["Hodgkin-Huxley, squid axon", "gapjunctions", "theta neuron", "potassium around cells"]
)
def test_published_models(name):
    """Spikes without a reset, cells that begin apart, Brian2's heun, and rk4 that is at rounding at once."""
    report, _ = limit_of(published(name))
    assert report.passed, report
