"""RTRL says how much it takes on a network that is not small, and nothing on one that is."""

from __future__ import annotations

import warnings

import pytest
import torch

import rules
import sandbox
from rules.credit.online import size
from rules.models.admission import ModelWarning

pytestmark = pytest.mark.filterwarnings("ignore::rules.HealthWarning")


def step(name="rtrl", cells=8, steps=2, every=None):
    model = sandbox.build((5,), 3, (f"{cells}r",), seed=0)
    trainer = rules.Trainer(model, rules.make(name, every=every), seed=0, confirm=False)
    return trainer.step((torch.rand(steps, 4, 5), torch.arange(4) % 3))


def test_a_large_network_is_named_with_its_numbers(monkeypatch):
    """8 cells with 5 inputs, a bias and 8 recurrent weights, 3 outputs with 8 and a bias: 139 weights.

    A state and an output of each of 11 cells: 22 rows, in 4 samples and 4 bytes: 48,928 bytes.
    """
    held = step().cost.trace_bytes
    assert held == 48_928
    monkeypatch.setattr(size, "SENSIBLE", held)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        step()
    monkeypatch.setattr(size, "SENSIBLE", held - 1)
    with pytest.warns(
        ModelWarning, match=r"139 weights on 22 states and outputs for each of 4 samples, .* GiB"
    ) as seen:
        step(steps=3, every=1)
    assert sum(issubclass(each.category, ModelWarning) for each in seen) == 1  # not in each step, nor each window
    assert "network.hidden=7r; or give smaller batches" in str(seen[0].message)


def test_rules_that_hold_less_say_nothing(monkeypatch):
    monkeypatch.setattr(size, "SENSIBLE", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        for name in ("uoro", "snap1", "eprop"):
            step(name)


def test_the_size_that_is_advised_is_the_largest_that_is_sensible():
    assert size.held_by(8, 6, 3) * 4 * 4 == step().cost.trace_bytes
    cells = size.largest(785, 10, 200)
    assert size.held_by(cells, 785, 10) * 200 <= size.SENSIBLE < size.held_by(cells + 1, 785, 10) * 200
