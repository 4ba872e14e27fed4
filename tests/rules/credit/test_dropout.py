"""Dropout as another rule's credit: what it silences, how often, and that the model is left alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import BPTT, Batch, make
from rules.check import check_rule
from rules.check.toy import Quadratic
from rules.credit.dropout import Dropout
from rules.recipes import LearningRule, backprop


def two_linear():
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()


def test_it_keeps_the_contract():
    bptt = make("bptt")
    for p in (0.0, 0.5):
        report = check_rule(LearningRule(bptt.objective, Dropout(bptt.credit, p), bptt.plasticity))
        assert report.passed, str(report)
    assert Dropout(BPTT(), 0.0).claim == "exact"


def test_the_mean_of_what_is_dropped_is_what_was_there():
    """Of a linear network the mean output is that without dropout: 4 standard errors of 20,000 draws."""
    model, seen = two_linear(), []
    x = torch.rand(1, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    handle = model[1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    many = Batch(x.expand(1, 20_000, 3))
    Dropout(BPTT(), 0.3).assign(model, Quadratic(), many, (), torch.Generator().manual_seed(1))
    handle.remove()
    before, (hidden,) = model[0](x).detach(), [each.flatten(0, -2) for each in seen]
    assert abs(float((hidden == 0).double().mean()) - 0.3) < 4 * (0.3 * 0.7 / hidden.numel()) ** 0.5
    error = hidden.std(0) / len(hidden) ** 0.5
    assert bool(((hidden.mean(0) - before.flatten()).abs() < 4 * error).all())


def test_the_input_is_not_dropped_and_the_model_is_asked_whole():
    model, rng = nn.Sequential(nn.Linear(3, 2)).double(), torch.Generator().manual_seed(0)
    batch = Batch(torch.rand(1, 5, 3, dtype=torch.float64))
    thin = Dropout(BPTT(), 0.9).assign(model, Quadratic(), batch, (), rng).grads
    whole = BPTT().assign(model, Quadratic(), batch, (), rng).grads
    assert torch.equal(thin["0.weight"], whole["0.weight"])
    assert backprop(dropout=0.5).credit.inferences == ("smooth", "plain")


def test_a_probability_out_of_range_is_refused():
    with pytest.raises(ValueError, match="p=1.0: give a probability from 0 to below 1"):
        Dropout(BPTT(), 1.0)
