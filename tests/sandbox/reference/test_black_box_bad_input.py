"""Bad input of `validate(step=...)` is explained."""

from __future__ import annotations

import pytest
import torch

from sandbox import LIF, EscapeLIF, validate
from sandbox.neurons import GLIF, PSN
from tests.sandbox.reference.other_cells import DT, TAU, cell

NEURON = LIF(tau_mem=TAU)
SHORT = {"dt": DT, "duration": 200.0, "cells": 10}


def check(step, neuron=NEURON, **more):
    return validate(neuron, step=step, **SHORT | more)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda current, state: current, "step returned a Tensor: return .spikes, state. or .spikes, v, state."),
        (lambda current, state: (current,), "step returned 1 values: return"),
        (
            lambda current, state: (current[:1], 0),
            r"step returned spikes of shape \(1,\) for currents of shape \(70,\): return a tensor with one",
        ),
        (lambda current, state: (0.0, 0), "step returned spikes of type float"),
        (lambda current, state: (current, 0) if state is None else (current, current, 0), "v in some steps and none"),
    ],
)
def test_a_step_of_another_form_is_explained(step, message):
    with pytest.raises(ValueError, match=message):
        check(step)


@pytest.mark.parametrize(
    ("neuron", "more", "message"),
    [
        (EscapeLIF(), {}, "EscapeLIF draws random numbers, which no other cell shares"),
        (PSN(steps=16), {}, "PSN is not stepped from state to state"),
        (torch.nn.Linear(1, 1), {}, "is not a neuron of the sandbox: give validate the equation first"),
        (NEURON, {"tiers": ("float32",)}, "tiers=.'float32'. are of neurons of the sandbox: leave tiers out"),
    ],
)
def test_bad_input_is_explained(neuron, more, message):
    with pytest.raises(ValueError, match=message):
        check(cell(), neuron, **more)


def test_a_dtype_without_a_step_is_explained():
    with pytest.raises(ValueError, match="dtype=torch.float32 is that of the currents of step=: leave it out"):
        validate(NEURON, dtype=torch.float32, **SHORT)


def test_a_neuron_of_ones_own_without_equations_is_explained():
    class Own(GLIF):
        pass

    with pytest.raises(ValueError, match="Own has neither equations for Brian2 nor a formula here"):
        check(cell(), Own())


def test_a_membrane_that_is_not_a_number():
    def step(current, state):
        v = current if state is None else 0.9 * state + current
        return (v > 1).double(), v / 0, v

    report = validate(LIF(), step=step, dt=1.0, duration=50.0, cells=3)
    assert not report.passed
    assert "the membrane is not finite" in str(report)


@pytest.mark.parametrize(
    ("cell", "message"), [("lif", r"'lif' is a name: give a cell"), (LIF, r"is a class: give a cell, LIF\(\)")]
)
def test_a_name_and_a_class_are_not_cells(cell, message):
    with pytest.raises(ValueError, match=message):
        validate(cell)
