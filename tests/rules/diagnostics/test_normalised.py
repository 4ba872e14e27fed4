"""Normalisations over the batch: biases that they take away, and statistics that lag behind."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import rules
from rules.diagnostics.normalised import lagging, without_effect
from sandbox.networks.calibration import settle

X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


def network():
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Sequential(nn.Linear(8, 8), nn.Tanh()), nn.Linear(8, 3)
    )


def test_a_bias_in_front_of_a_normalisation_changes_nothing():
    model = network()
    assert without_effect(model) == {"0.bias"}
    before = model(X)
    with torch.no_grad():
        model[0].bias += 3.0
    torch.testing.assert_close(model(X), before, atol=1e-5, rtol=0)  # float32 of numbers around 1
    assert without_effect(model.eval()) == frozenset()


def test_health_says_nothing_of_it():
    model = network()
    with warnings.catch_warnings():
        warnings.simplefilter("error", rules.HealthWarning)
        rules.Trainer(model, rules.make("bptt"), health=rules.Health(every=1), seed=0).step((X, Y))


def test_the_share_of_initial_statistics_is_what_is_left_of_them():
    """After n batches of constant inputs, whose mean is 1: the running mean is 1 - (1 - momentum)^n."""
    norm = nn.BatchNorm1d(3, momentum=0.3)
    for count in range(1, 5):
        norm(torch.ones(6, 3))
        assert lagging(norm) == {"": pytest.approx(1 - float(norm.running_mean[0]))}
        assert lagging(norm)[""] == pytest.approx(0.7**count)
    for _ in range(20):
        norm(torch.ones(6, 3))
    assert lagging(norm) == {}
    assert lagging(nn.BatchNorm1d(3, track_running_stats=False)) == {}


def test_an_evaluation_after_few_steps_warns_once():
    trainer = rules.Trainer(network(), rules.make("bptt"), health=rules.Health(every=0), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", rules.HealthWarning)
        trainer.evaluate([(X, Y)])  # nothing has been learned
    trainer.step((X, Y))
    with pytest.warns(rules.HealthWarning, match="running statistics of 1 have followed so few .* weigh 90%"):
        trainer.evaluate([(X, Y)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", rules.HealthWarning)
        trainer.evaluate([(X, Y)])
        longer = rules.Trainer(network(), rules.make("bptt"), health=rules.Health(every=0), seed=0)
        list(longer.fit([(X, Y)], 50))
        longer.evaluate([(X, Y)])


def test_settled_statistics_do_not_lag():
    model = network()
    rules.Trainer(model, rules.make("bptt"), seed=0).step((X, Y))
    assert lagging(model)
    settle(model, X)
    assert lagging(model) == {}
