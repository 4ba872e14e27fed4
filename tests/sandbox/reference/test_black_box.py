"""`validate(step=...)`: right cells pass, and each fault of a cell is found by the check that is for it."""

from __future__ import annotations

import re

import pytest
import torch

from sandbox import ALIF, LIF, AdEx, AlphaLIF, CobaLIF, CubaLIF, LeakyIntegrator, from_brian2, validate
from sandbox.neurons import IF, EulerCubaLIF, Izhikevich, MorrisLecar, MultiLIF
from sandbox.reference.conformance.black_box import tolerance_of
from sandbox.reference.conformance.stepping import stepper
from sandbox.reference.conformance.stimuli import alternating, rheobase
from tests.sandbox.reference.other_cells import DT, TAU, cell, overflowing, remembering

NEURON = LIF(tau_mem=TAU)
SHORT = {"dt": DT, "duration": 200.0, "cells": 10}


def check(step, neuron=NEURON, **more):
    return validate(neuron, step=step, **SHORT | more)


def verdicts(report):
    return {each.name: each.verdict for each in report.checks}


def reason(report, name):
    return next(each.reason for each in report.checks if each.name == name)


def test_the_right_cell_passes_and_its_report_says_what_was_seen():
    report = check(cell())
    assert report.passed, str(report)
    assert report.spikes > 500
    assert report.spikes == report.spikes_ours
    assert str(report).startswith("step as LIF(tau_mem=10.0")
    assert str(report).endswith("agrees with LIF in Brian2")
    assert verdicts(report)["refractory period"] == "skip"
    assert reason(report, "refractory period") == "it has no refractory time, and the equation has none"
    assert reason(report, "threshold at equality") == "fires at v >= v_threshold"
    assert report.facts()["cell"] == "step"
    report.plot()


FAULTS = {  # the equation, the fault, the check that must fail, and what it says
    "gain": (NEURON, {"gain": 0.1}, "input", r"the cell: 1 nA moves the membrane by 0.1 mV in the step .*by 0.0951626"),
    "decay": (NEURON, {"kept": 0.9}, "decay", "the cell: a deviation .* is 0.9 of itself"),
    "threshold": (NEURON, {"threshold": 1.01}, "threshold", "the cell: silent up to v = 1.01; the equation: .* = 1$"),
    "greater": (NEURON, {"strict": True}, "threshold at equality", "the cell: fires at v > v_threshold; .* v >= v_"),
    "equal": (
        LIF(tau_mem=TAU, strict=True),
        {},
        "threshold at equality",
        "the cell: fires at v >= v_threshold; the equation: fires at v > v_threshold",
    ),
    "another value": (NEURON, {"to": 0.1}, "reset", "the cell: resets to 0.1 mV; the equation: resets to 0 mV"),
    "another amount": (
        LIF(tau_mem=TAU, reset="subtract"),
        {"reset": "subtract", "to": 0.05},
        "reset",
        "the cell: subtracts 0.95 mV; the equation: subtracts 1 mV",
    ),
    "another kind": (NEURON, {"reset": "subtract"}, "reset", "the cell: subtracts 1 mV; the equation: resets to 0 mV"),
    "no reset": (NEURON, {"reset": "none"}, "reset", "the cell: does not reset; the equation: resets to 0 mV"),
    "late": (NEURON, {"late": True}, "reset delay", "without the reset: 1; the equation: .*: 0$"),
    "late subtraction": (
        LIF(tau_mem=TAU, reset="subtract"),
        {"reset": "subtract", "late": True},
        "reset delay",
        "without the reset: 1; the equation: .*: 0$",
    ),
    "refractory for longer": (
        LIF(tau_mem=TAU, t_refractory=4.0),
        {"silent": 4},
        "refractory period",
        "the cell: steps without a spike behind one, under strong input: 4; the equation: .*: 3$",
    ),
    "refractory": (NEURON, {"silent": 1}, "refractory period", "the cell: .*: 1; the equation: .*: 0$"),
    "not refractory": (
        LIF(tau_mem=TAU, t_refractory=4.0),
        {},
        "refractory period",
        "the cell: .*: 0; the equation: .*: 3$",
    ),
    "several spikes": (
        LIF(tau_mem=TAU, reset="subtract"),
        {"reset": "subtract", "several": True},
        "spikes per step",
        "the cell: .*: 2; the equation: .*: 1$",
    ),
    "a step late": (
        NEURON,
        {"delayed": True},
        "input",
        "the cell: 1 nA .* a step after the input; the equation: .*in the",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_its_check(fault):
    neuron, changes, name, says = FAULTS[fault]
    report = check(cell(**changes), neuron)
    assert not report.passed
    assert verdicts(report)[name] == "FAIL", str(report)
    assert re.search(says, reason(report, name)), reason(report, name)


@pytest.mark.parametrize("fault", ["gain", "decay", "another value", "late", "refractory", "threshold"])
def test_a_fault_shows_in_the_spikes_too(fault):
    neuron, changes, *_ = FAULTS[fault]
    assert verdicts(check(cell(**changes), neuron))["spikes at another step"] == "FAIL"


def test_a_fault_at_equality_shows_nowhere_else():
    """No current of the stimuli meets the threshold exactly: the bisection alone does."""
    found = verdicts(check(cell(strict=True)))
    assert [name for name, verdict in found.items() if verdict == "FAIL"] == ["threshold at equality"]


def test_a_wrong_membrane_with_the_right_spikes_is_found():
    right = cell()

    def off(current, state):
        spikes, v, state = right(current, state)
        return spikes, v + 1e-6, state

    report = check(off)
    assert verdicts(report)["spikes at another step"] == "ok"
    assert verdicts(report)["v, after the reset"] == "FAIL"


def test_a_cell_that_remembers_its_last_run_is_found():
    report = check(remembering())
    assert verdicts(report)["begins at rest"] == "FAIL"
    assert "begin at rest where state is None" in reason(report, "begins at rest")


def test_values_that_are_not_finite_are_found():
    assert verdicts(check(overflowing()))["values that are not finite"] == "FAIL"


def test_a_cell_without_a_membrane_is_judged_by_its_spikes():
    def blind(strict):
        inner = cell(strict=strict)

        def step(current, state):
            spikes, _, state = inner(current, state)
            return spikes, state

        return step

    report = check(blind(strict=False))
    assert report.passed
    found = verdicts(report)
    assert [name for name, verdict in found.items() if verdict == "ok"] == [
        *("begins at rest", "values that are not finite", "spikes at another step", "both signs", "spikes per step")
    ]
    assert reason(report, "v") == "the step returns no membrane"
    assert "the step returns no membrane" in reason(report, "threshold at equality")
    found = check(lambda current, state: blind(False)(1.1 * current, state))
    assert verdicts(found)["spikes at another step"] == "FAIL"


@pytest.mark.parametrize("reset", ["to_value", "subtract"])
def test_a_membrane_that_is_shown_before_the_reset_is_compared_so(reset):
    report = check(cell(reset=reset, shown="before"), LIF(tau_mem=TAU, reset=reset))
    assert report.passed, str(report)
    assert verdicts(report)["v, before the reset"] == "ok"
    assert reason(report, "membrane shown") == "before the reset, and so compared"
    says = {"to_value": "resets to 0 mV", "subtract": "subtracts 1 mV (in the next step it subtracts 0.904837 mV)"}
    assert reason(report, "reset") == says[reset]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cell_in_float32_gets_the_room_of_its_roundings(dtype):
    report = check(cell(dtype=torch.float32), dtype=dtype)
    assert report.passed, str(report)
    assert 1e-6 < report.tolerance < 1e-5
    assert "float32 rounds by 6e-08" in reason(report, "v, after the reset")
    assert not check(cell(dtype=torch.float32, gain=0.0952), dtype=dtype).passed
    assert not check(cell(dtype=torch.float32, strict=True), dtype=dtype).passed


def test_the_room_of_roundings_grows_with_memory_and_ends_with_the_run():
    assert tolerance_of(torch.float32, 1e-9, 0.99, 1000)[0] == pytest.approx(10 * 2**-24 * 100)
    assert tolerance_of(torch.float32, 1e-9, 1.0, 50)[0] == pytest.approx(10 * 2**-24 * 50)
    assert tolerance_of(torch.float32, 1e-3, 0.5, 50)[0] == 1e-3


OURS = {
    "LIF": LIF(t_refractory=2.0, v_leak=-65.0, v_threshold=-50.0, v_reset=-70.0),
    "IF": IF(r=0.1),
    "CubaLIF": CubaLIF(reset="subtract", strict=True),
    "AlphaLIF": AlphaLIF(),
    "ALIF": ALIF(),
    "EulerCubaLIF": EulerCubaLIF(order="jump_first", t_refractory=3.0),
    "MultiLIF": MultiLIF(),
    "Izhikevich": Izhikevich(),
    "AdEx": AdEx(),
    "CobaLIF": CobaLIF(),
    "LeakyIntegrator": LeakyIntegrator(),
}


@pytest.mark.parametrize("name", OURS)
def test_neurons_of_the_sandbox_pass_as_black_boxes(name):
    dt = 0.1 if name in ("Izhikevich", "AdEx") else 1.0
    report = validate(OURS[name], step=stepper(OURS[name], dt), dt=dt, duration=200 * dt, cells=6)
    assert [each for each in report.checks if each.passed is False] in ([], [report.checks[-1]]), str(report)
    assert report.passed or report.checks[-1].reason == "no cell fired: give a longer duration"


def test_checks_that_do_not_apply_are_named():
    report = validate(LeakyIntegrator(), step=stepper(LeakyIntegrator(), 1.0), **SHORT)
    skipped = {each.name for each in report.checks if each.passed is None}
    assert skipped >= {"threshold", "threshold at equality", "reset", "reset delay", "refractory period"}
    assert all(each.reason for each in report.checks)
    izhikevich = validate(Izhikevich(), step=stepper(Izhikevich(), 0.1), dt=0.1, duration=100.0, cells=4)
    assert "not linear below the threshold" in reason(izhikevich, "reset")


def test_a_wrong_step_of_a_nonlinear_neuron_is_found():
    wrong = stepper(Izhikevich(d=8.1), 0.1)
    report = validate(Izhikevich(), step=wrong, dt=0.1, duration=300.0, cells=4)
    assert verdicts(report)["spikes at another step"] == "FAIL"


@pytest.mark.parametrize(("by", "passes"), [(1e-14, True), (1e-6, False)])
def test_where_roundings_grow_a_cell_is_compared_up_to_there(by, passes):
    inner = stepper(AdEx(), 0.1)

    def shaken(current, state):
        spikes, v, state = inner(current, state)
        state = state._replace(v=v * (1 + by))
        return spikes, state.v, state

    report = validate(AdEx(), step=shaken, dt=0.1, duration=300.0, cells=6)
    assert report.passed == passes
    if passes:
        assert verdicts(report)["share of cells cut short"] == "ok"


def test_equations_of_ones_own():
    recipe = {
        "threshold": "v > vt",
        "reset": "v = 0*mV",
        "method": "exact",
        "namespace": {"tau": "10*ms", "vt": "1*mV"},
    }
    claim = from_brian2("dv/dt = (current*(1*Mohm) - v) / tau : volt", **recipe)
    assert check(cell(strict=True), claim).passed
    assert verdicts(check(cell(), claim))["threshold at equality"] == "FAIL"
    pair = from_brian2("dv/dt = ((a + b)*(1*Mohm) - v) / tau : volt", **recipe, inputs={"a": "amp", "b": "amp"})
    with pytest.raises(ValueError, match=r"has several inputs \(a, b\), and step= is given one current"):
        check(cell(), pair)


def test_currents_of_ones_own():
    currents = torch.linspace(0, 5, 100, dtype=torch.float64)[:, None].expand(100, 3).contiguous()
    report = validate(NEURON, currents, step=cell(), dt=DT)
    assert report.passed
    assert report.stimuli == ("currents",)
    assert not validate(NEURON, currents, step=cell(gain=0.1), dt=DT).passed


CLAMPS = {
    "membrane": ({"low": -5.0}, {}),
    "far down": ({"low": -60.0}, {}),
    "current": ({}, {"min": 0.0}),
    "small current": ({}, {"min": -20.0}),
    "large current": ({}, {"max": 60.0}),
}


def clamped(low=None, **current_bounds):
    """The right cell, whose membrane or current is kept within bounds."""
    inner = cell()

    def step(current, state):
        spikes, v, (_, *rest) = inner(current.clamp(**current_bounds) if current_bounds else current, state)
        v = v if low is None else v.clamp(min=low)
        return spikes, v, (v, *rest)

    return step


@pytest.mark.parametrize("clamp", CLAMPS)
def test_a_clamp_shows_under_currents_of_both_signs(clamp):
    low, bounds = CLAMPS[clamp]
    found = verdicts(check(clamped(**low, **bounds)))
    assert found["both signs"] == "FAIL"
    if clamp not in ("current", "large current"):  # others are so weak, or so strong, that noise and saturation show it
        assert {name for name, verdict in found.items() if verdict == "FAIL"} == {"both signs"}


def test_a_clamp_is_named_with_the_membranes_of_both():
    said = reason(check(clamped(low=-5.0)), "both signs")
    assert re.search(r"currents of -\d.* to \d.* nA; \d+ spikes .* of the cell -5 to .* of the equation -\d\d", said), (
        said
    )


def test_a_clamp_without_a_membrane_shows_in_the_spikes():
    inner = clamped(low=-5.0)

    def step(current, state):
        spikes, _, state = inner(current, state)
        return spikes, state

    assert verdicts(check(step))["both signs"] == "FAIL"


def test_an_equation_with_a_clamp_is_not_refused_for_it():
    recipe = {"threshold": "v > 1*mV", "reset": "v = 0*mV", "method": "exponential_euler"}
    claim = from_brian2("dv/dt = (clip(current, 0*nA, 20*nA)*(1*Mohm) - v) / (10*ms) : volt", **recipe)
    report = check(cell(strict=True), claim)
    assert "both signs" in [each.name for each in report.checks if each.passed is False]
    inner = cell(strict=True)
    report = check(lambda current, state: inner(current.clamp(0, 20), state), claim)
    assert report.passed, str(report)


def test_currents_of_both_signs_are_ones_that_the_scheme_survives():
    strong, weak = (
        alternating(neuron, 4, 200, dt, 0) / rheobase(neuron) for neuron, dt in ((NEURON, DT), (MorrisLecar(), 0.1))
    )
    assert 30 < strong.max() < 100
    assert -100 < strong.min() < -30
    assert weak.abs().max() < 30
    assert check(stepper(MorrisLecar(), 0.1), MorrisLecar(), dt=0.1, duration=20.0).passed
