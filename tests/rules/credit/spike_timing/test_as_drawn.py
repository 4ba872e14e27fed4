"""Answers that hang on weights which a rule leaves as they were drawn are told of."""

from __future__ import annotations

import pytest
import torch

import rules
from sandbox import LIF, LeakyIntegrator, build
from sandbox.neurons import TwoCompartment

SOMA = TwoCompartment(reset="none")


def found(name, hidden, readout, **targets):
    model = build((4,), 3, hidden, LIF(), readout, seed=0)
    x = (torch.rand(20, 6, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    batch = rules.Batch(x, torch.arange(6) % 3, **targets)
    rule = rules.make(name)
    state = rule.credit.init(model, torch.Generator())
    ill = rule.credit.assign(model, rule.objective, batch, state, torch.Generator().manual_seed(0)).findings
    return [str(each) for each in ill if each.kind == "as drawn"]


@pytest.mark.parametrize("name", ["r_stdp", "escape_noise"])
def test_a_read_out_that_does_not_fire(name):
    (said,) = found(name, (5,), LeakyIntegrator())
    assert said.startswith("layers.1 is as drawn (0): ")
    assert (
        "leaves their weights as they were drawn, and answers hang on them; give the last layer spiking cells" in said
    )
    assert not found(name, (5,), LIF())
    assert not found(name, (5,), LeakyIntegrator(), targets=torch.ones(20, 6))  # rewards that hang on no answers


@pytest.mark.parametrize(("name", "readout"), [("bcpnn", LIF()), ("urbanczik_senn", SOMA)])
def test_hidden_layers_below_a_last_one_that_is_taught(name, readout):
    (said,) = found(name, (5,), readout)
    assert said.startswith("layers.0 is as drawn (0): ")
    assert "--network.hidden '[]'" in said
    assert not found(name, (), readout)
