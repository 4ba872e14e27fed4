"""Zero-order rules on smooth cells of each library, beside central differences of the adapted model's own loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

import rules
from tests.peers.smooth import SMOOTH, batch, built, central
from tests.peers.zoo import present

LOSS = rules.make("bptt").objective


@pytest.fixture(params=SMOOTH, ids=lambda entry: entry.name, scope="module")
def case(request):
    """An adapted model, its batch, and the gradient by central differences."""
    if not present(request.param.library):
        pytest.skip(f"{request.param.library} is not installed: make peers")
    model = rules.adapt(built(request.param))
    given = rules.Batch(*batch())
    names = {name for name in dict(model.named_parameters()) if name.endswith(("weight", "bias"))}
    return model, given, central(model, LOSS, given, names)


def flat(grads, names):
    return torch.cat([grads[name].flatten().double() for name in sorted(names)])


def assign(rule, model, given, seed=0):
    return rule.assign(model, LOSS, given, rule.init(model, torch.Generator()), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["hzo", "layerwise_zo", "sequential_local"])
def test_layered_rules_find_the_gradient(case, name):
    """Twice, so that a state that was kept would show; spikes are replaced by smooth functions, so steps may be small."""
    model, given, truth = case
    rule = replace(rules.make(name).credit, step=1e-4, diff="central", probes="basis", times="each")
    for _ in range(2):
        mine = assign(rule, model, given).grads
        assert mine.keys() == truth.keys()
        a, b = flat(mine, truth), flat(truth, truth)
        assert float(a @ b / (a.norm() * b.norm())) > 0.999
        assert float(a.norm() / b.norm()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["spsa", "node_perturbation", "forward_gradient"])
def test_flat_rules_have_its_mean_and_scale(case, name):
    """The mean over draws, along the gradient and along a random direction, to 3 standard errors of the draws.

    A small step leaves the bias of finite differences far below the standard error.
    """
    model, given, truth = case
    options = {"spsa": {"draws": 1, "step": 1e-4}, "node_perturbation": {"draws": 1, "sigma": 1e-4}}
    rule = replace(rules.make(name).credit, **options.get(name, {"draws": 1}))
    goal = flat(truth, truth)
    across = torch.randn(goal.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    draws = torch.stack([flat(assign(rule, model, given, seed).grads, truth) for seed in range(60)])
    for direction in (goal / goal.norm(), across / across.norm()):
        found = draws @ direction
        error = float(found.std()) / math.sqrt(len(found))
        assert abs(float(found.mean()) - float(goal @ direction)) < 3 * error
