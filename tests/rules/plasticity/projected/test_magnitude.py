"""Pruning by magnitude: exact counts, the cubic curve, masks that stay."""

from __future__ import annotations

import re

import pytest
import torch

from rules.plasticity import SGD, Magnitude
from tests.rules.plasticity.projected.small import batches, stepped, trainer, weight


def zeros(optimizer):
    return [int((p == 0).sum()) for p in optimizer.state]


def test_one_shot_prunes_the_smallest_of_each_layer_at_its_update():
    p, q = weight(10, 10), weight(5, 8, seed=1, size=10.0)
    optimizer = Magnitude(0.75, begin=2, inner=SGD(0.0))([p, q])
    found = []
    for _ in range(4):
        stepped(optimizer, p, torch.ones_like(p))
        found.append(zeros(optimizer))
    assert found == [[0, 0], [75, 30], [75, 30], [75, 30]]
    held = optimizer.held(p).abs()
    assert float(held[p == 0].max()) < float(held[p != 0].min())


def test_globally_the_smallest_of_all_layers_are_pruned():
    p, q = weight(10, 10), weight(5, 8, seed=1, size=10.0)
    optimizer = Magnitude(0.5, scope="global")([p, q])
    assert sum(zeros(optimizer)) == 70
    assert zeros(optimizer)[0] > 60  # the layer of the small weights


def test_equal_weights_are_pruned_to_the_exact_count():
    p = torch.nn.Parameter(torch.ones(10, 10))
    assert zeros(Magnitude(0.33)([p])) == [33]


def test_the_gradual_curve_is_cubic_and_masks_only_grow():
    """s (1 - (1 - t / n)^3), Zhu & Gupta, every second update."""
    p = weight(100, 100)
    optimizer = Magnitude(0.8, begin=2, end=12, every=2, lr=0.05)([p])
    before, rng = torch.zeros(100, 100, dtype=torch.bool), torch.Generator().manual_seed(3)
    for n in range(1, 16):
        stepped(optimizer, p, torch.randn(100, 100, generator=rng))
        at = min(max((n - 2) // 2 * 2 / 10, 0.0), 1.0)
        assert zeros(optimizer) == [round(0.8 * (1 - (1 - at) ** 3) * 10_000)]
        assert bool((p == 0)[before].all())
        before = (p == 0).detach()


def test_a_pruned_weight_stays_so_whatever_its_gradient_and_the_others_learn():
    p = weight(4, 4)
    optimizer = Magnitude(0.5, end=4, inner=SGD(0.1))([p])
    for _ in range(4):
        stepped(optimizer, p, torch.zeros(4, 4))
    before, pruned = p.detach().clone(), (p == 0).detach()
    assert int(pruned.sum()) == 8
    for _ in range(3):
        stepped(optimizer, p, torch.where(pruned, -1e3, 1.0))
    assert not p[pruned].any()
    assert torch.allclose(p[~pruned], before[~pruned] - 0.3)


def test_training_keeps_the_sparsity():
    made = trainer(Magnitude(0.9, begin=5, lr=0.01))
    for batch in batches(15):
        made.step(batch)
    assert zeros(made.optimizer) == [round(0.9 * p.numel()) for p in made.optimizer.state]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5])
def test_a_sparsity_outside_of_its_range_is_refused(sparsity):
    with pytest.raises(ValueError, match=re.escape(f"sparsity={sparsity}: give the share that is pruned")):
        Magnitude(sparsity=sparsity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"begin": 5, "end": 5}, "begin=5, end=5: pruning must end after it has begun"),
        ({"begin": -1}, "begin=-1: give a number of at least 0"),
        ({"every": 0}, "every=0: give a number of at least 1"),
        ({"scope": "net"}, "unknown scope 'net'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Magnitude(**options)


def test_no_sparsity_prunes_nothing():
    p = weight(4, 4)
    before = p.detach().clone()
    Magnitude(0.0)([p])
    assert torch.equal(p, before)


def test_a_weight_that_was_frozen_while_pruning_ended_is_pruned_when_it_learns_again():
    early, late = weight(4, 5), weight(4, 5, seed=1)
    optimizer = Magnitude(0.5, begin=1, end=3, inner=SGD(0.1))([early, late])
    early.requires_grad_(False)
    for _ in range(4):
        optimizer.step()
    assert (int((early == 0).sum()), int((late == 0).sum())) == (0, 10)
    early.requires_grad_(True)
    optimizer.step()
    assert (int((early == 0).sum()), int((late == 0).sum())) == (10, 10)
