"""Recipes of online rules: their signals, and weights that shrink as adaptive feedback does."""

from __future__ import annotations

import inspect

import pytest
import torch

import rules
import sandbox
from rules.credit.online.legal import CHOICES
from rules.recipes import RULES

WITH_SIGNAL = [name for name, recipe in RULES.items() if "signal" in inspect.signature(recipe).parameters]

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")


@pytest.mark.parametrize("name", WITH_SIGNAL)
@pytest.mark.parametrize("signal", CHOICES["signal"])
def test_every_signal_learns_under_every_recipe_that_has_the_option(name, signal):
    model = sandbox.build((5,), 3, ("6r",), seed=0)
    trainer = rules.Trainer(model, rules.make(name, signal=signal), health=rules.Health(every=0))
    credit = trainer.rule.credit
    assert (credit.online if isinstance(credit, rules.Spatial) else credit).signal == signal
    before = [p.clone() for p in model.parameters()]
    trainer.step((4 * torch.rand(9, 4, 5), torch.arange(4) % 3))
    assert any(not torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("name", WITH_SIGNAL)
def test_adaptive_feedback_and_weights_shrink_alike(name):
    """In an update both lose `decay` of themselves: Adam's decoupled decay takes `lr * weight_decay`."""
    rule = rules.make(name, signal="adaptive", lr=0.02)
    assert rule.plasticity.weight_decay == pytest.approx(rule.credit.decay / 0.02, rel=1e-12)
    with pytest.raises(ValueError, match="weight_decay=0.1 with signal='adaptive', which sets it to decay / lr: leave"):
        rules.make(name, signal="adaptive", weight_decay=0.1)
    with pytest.raises(ValueError, match="lr=0.0: signal='adaptive' shrinks weights with every update, so give a rate"):
        rules.make(name, signal="adaptive", lr=0.0)
    assert rules.make(name, weight_decay=0.1).plasticity.weight_decay == 0.1
