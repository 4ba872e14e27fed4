"""The neurons agree with Brian2 and with SciPy, and every wrong neuron is caught by the check that is for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sandbox import LIF, LeakyIntegrator, simulate, validate
from sandbox.cli.validation import validate_all
from sandbox.kernels import using
from sandbox.neurons import IN_BRIAN2, CubaLIF, FitzHughNagumo
from sandbox.reference.brian import run_brian2, unit
from sandbox.reference.conformance.convergence import convergence, halvings
from sandbox.reference.conformance.stimuli import STIMULI, all_currents
from sandbox.reference.conformance.trial import Trial
from sandbox.reference.conformance.validate import TIERS
from sandbox.report.conformance import write_page
from tests.sandbox.reference.broken_neurons import WRONG, Cancelling, Sloppy, Unknown, WrongUnit

BIOLOGICAL = {"tau_mem": 15.0, "r": 40.0, "v_leak": -65.0, "v_threshold": -50.0, "v_reset": -70.0}
FIRST = TIERS[:1]


@pytest.mark.parametrize(
    ("reset", "t_refractory"),
    [
        ("to_value", 2.0),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("to_value", 0.0), ("subtract", 0.0), ("subtract", 2.0))
        ),
        *(pytest.param("none", t, marks=pytest.mark.slow) for t in (0.0, 2.0)),
    ],
)
def test_lif_agrees_with_brian2(reset, t_refractory):
    report = validate(LIF(**BIOLOGICAL, reset=reset, t_refractory=t_refractory), duration=200.0, cells=10, tiers=FIRST)
    assert (report.cells, report.duration) == (10, pytest.approx(200.0))
    assert report.spikes > 100, "a silent comparison proves nothing"
    assert report.spikes_differing == 0, str(report)
    assert report.differences["v"] <= 1e-9, str(report)
    assert report.passed
    assert report.largest_shift == 0


QUICK = ("adex", "leaky_integrator")  # LIF is above, and in the examples of `validate`


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in IN_BRIAN2]
)
def test_every_neuron_agrees_with_brian2_and_with_float32(name):
    """A short run; the slow tier has the second of twenty cells and the limit."""
    report = validate(IN_BRIAN2[name](), duration=30.0, cells=4, tiers=TIERS[:2])
    assert report.passed, report.table()


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["to_value", pytest.param("subtract", marks=pytest.mark.slow)])
def test_equality_at_the_threshold_is_decided_alike(reset):
    """A current that lands exactly on the threshold: v = 1 after one step of a very fast membrane."""
    currents = torch.ones(5, 2, dtype=torch.float64)
    for strict in (False, True):
        report = validate(LIF(tau_mem=1e-3, reset=reset, strict=strict), currents, dt=1.0)
        assert report.tiers == FIRST
        assert report.passed
        assert report.spikes == (0 if strict else 10)


@pytest.mark.slow
def test_the_rate_grows_with_the_current():
    rates = [rate for _, rate, _ in validate(LIF(), duration=300.0, tiers=FIRST).fi_curve]
    assert rates[0] < rates[10] < rates[-1]


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] * (case not in ("Cancelling", "Sloppy in the limit")))
        for case in WRONG
    ],
)
def test_a_wrong_neuron_is_caught_by_the_check_that_is_for_it(case):
    neuron, tier, names = WRONG[case]
    report = validate(neuron, duration=40.0, cells=4, tiers=(tier,))
    assert not report.passed
    assert "DOES NOT AGREE" in str(report)
    assert set(names) <= {check.name for check in report.checks if check.passed is False}, report.table()


@pytest.mark.slow
def test_a_neuron_that_float32_ruins_is_right_in_float64():
    assert validate(Cancelling(), duration=40.0, cells=4, tiers=FIRST).passed


@pytest.mark.parametrize(
    ("neuron", "message"),
    [
        (WrongUnit(), "Brian2 refuses WrongUnit: .*(unit|dimension)"),
        (Unknown(), "Brian2 refuses Unknown: .*offset"),
        (CubaLIF(tau_mem=10.0, tau_syn=10.0), "closed form of its scheme 'exact' divides by zero"),
    ],
)
def test_brian2_s_objections_are_value_errors(neuron, message):
    with pytest.raises(ValueError, match=message):
        validate(neuron, duration=10.0, cells=2, tiers=FIRST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tiers": ("same",)}, "unknown tier 'same'; nearest: 'same_scheme'"),
        ({"record": ("u",)}, "unknown variable of LIF 'u'"),
        ({"currents": torch.full((5, 1), float("nan"))}, "currents hold nan"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        validate(LIF(), **options)


def test_units_are_products_of_brian2_s_names():
    import brian2 as b2

    assert unit("mV/ms") == b2.mV / b2.ms
    assert unit("1/nA") == 1 / b2.nA
    assert unit("uS * mV**2") == b2.uS * b2.mV**2
    with pytest.raises(ValueError, match="is not a product, quotient or power"):
        unit("__import__('os')")


def test_the_current_is_constant_within_a_step_for_runge_kutta_too():
    """Brian2 reads a TimedArray between two steps where a scheme asks for it; then a change of current comes early."""
    cell, currents = FitzHughNagumo(), torch.zeros(20, 1, dtype=torch.float64)
    currents[10:] = 5.0
    ours = simulate(cell, currents, 0.1).v
    torch.testing.assert_close(run_brian2(cell, currents, 0.1).v, ours, rtol=0, atol=1e-12)


def test_every_stimulus_is_finite_and_of_its_kind():
    parts = all_currents(LIF(), 4, 100, 0.1).split(4, 1)
    by_name = dict(zip(STIMULI, parts, strict=True))
    assert torch.isfinite(torch.cat(parts)).all()
    assert not by_name["silent"].any()
    assert simulate(LIF(), by_name["saturating"][:, 1:], 0.1).spikes.mean() > 0.9
    assert (by_name["ramp"].diff(dim=0) > 0).all()


def test_a_slope_needs_six_steps_above_the_floor():
    dt = halvings(1.0, 10)
    assert convergence("v", dt, 1e-3 * dt**4, 1e-11, 4).slope == pytest.approx(4.0)
    assert convergence("v", dt, 1e-8 * dt**4, 1e-11, 4) is None
    assert convergence("v", dt, np.where(dt < 0.1, np.nan, dt), 1e-11, 1) is None


@pytest.mark.slow
def test_a_report_is_a_table_plain_json_and_a_figure(tmp_path):
    report = validate(LIF(), duration=30.0, cells=3)
    facts = json.loads(report.to_json())
    assert facts["passed"] is True
    assert facts["tiers"] == list(TIERS)
    assert {check["verdict"] for check in facts["checks"]} == {"ok"}
    assert len(report.table().splitlines()) == len(report.checks) + 1
    labels = {axes.get_xlabel() for part in report.plot().subfigs for axes in part.axes}
    assert {"time [ms]", "dt [ms]", "current [nA]", "frequency [Hz]"} <= labels
    wrong = validate(Sloppy(), duration=30.0, cells=3, tiers=FIRST)
    page = write_page({"lif": report, "sloppy": wrong}, tmp_path / "deep" / "page.html").read_text()
    assert "1 of 2 neurons agree" in page
    assert "http" not in page.split("</head>")[1], "the page needs no network"


def test_a_silent_cell_has_plain_json_too():
    report = validate(LeakyIntegrator(), duration=20.0, cells=2)
    assert report.passed
    assert json.loads(report.to_json())["spikes"] == 0


@pytest.mark.slow(minutes=2)
@pytest.mark.timeout(1200)
def test_the_whole_library_agrees_in_all_tiers(tmp_path):
    """A fifth of a second of 8 cells under each stimulus, the float32 tier and the limit; by default it is a second of 20.

    By kernels, as `sandbox validate` runs; the plain loop has the short runs of the fast tier. In processor time of one
    process: what else the machine does is not counted.
    """
    import time

    from sandbox.config.registry import Choice

    began = time.process_time()
    with using("auto"):
        reports = validate_all({name: Choice(name) for name in IN_BRIAN2}, jobs=1, duration=200.0, cells=8)
    write_page(reports, tmp_path / "page.html")
    assert {name: report.table() for name, report in reports.items() if not report.passed} == {}
    assert time.process_time() - began < 300


@pytest.mark.slow
def test_two_processes_report_what_one_does():
    from sandbox.config.registry import Choice

    choices = {name: Choice(name) for name in ("lif", "leaky_integrator")}
    one, two = (validate_all(choices, jobs=n, duration=50.0, cells=2, tiers=FIRST) for n in (1, 2))
    for name in choices:  # the time it took is in the rest
        assert json.loads(one[name].to_json())["checks"] == json.loads(two[name].to_json())["checks"]


def test_a_run_that_is_not_disturbed_is_the_run_itself():
    """What judges chaos starts where the validation does, and steps as it does."""
    neuron = LIF()
    trial = Trial(neuron, all_currents(neuron, 2, 300, 0.1, 0), 0.1, tuple(STIMULI), ("v",))
    assert trial.ours.spikes.any()
    for name in ("spikes", "v"):
        assert torch.equal(getattr(trial.disturbed(0.0), name), getattr(trial.ours, name))
    assert not torch.equal(trial.disturbed(1e-6).v, trial.ours.v)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"duration": 0.05}, "duration=0.05 ms is 0.5 steps of dt=0.1 ms: give at least 10 steps"),
        ({"duration": -5.0}, "duration=-5.0: give a number above 0"),
        ({"dt": float("nan")}, "dt=nan: give a finite number"),
        ({"dt": 5.0, "duration": 1.0}, "duration=1 ms is 0.2 steps of dt=5 ms"),
        ({"cells": 0}, "cells=0: give a number above 0"),
        ({"cells": True}, "cells=True: give a whole number"),
    ],
)
def test_a_validation_that_could_not_see_a_spike_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        validate(LIF(), **settings)


class Deaf(LIF):
    """Asks for currents far too small to make it fire."""

    @property
    def rheobase(self):
        return 1e-9


def test_a_neuron_that_never_fired_is_not_validated():
    quiet = validate(Deaf(), duration=5.0, cells=2, tiers=("float32",))
    assert [check.name for check in quiet.checks if check.passed is False] == ["spikes under the stimuli"]
    heard = validate(LeakyIntegrator(), duration=5.0, cells=2, tiers=("same_scheme",))
    assert heard.passed  # it has no spikes to show
