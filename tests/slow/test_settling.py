"""Rules without a backward pass on digits, over paired seeds: whatever comes out, with intervals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import rules
from sandbox.statistics import paired
from sandbox.statistics.intervals import interval
from sandbox.tasks import TASKS

DATA = TASKS["digits"]().load()
SEEDS = 5


def network(sizes, active, last, seed):
    torch.manual_seed(seed)
    parts = [part for a, b in zip(sizes, sizes[1:], strict=False) for part in (nn.Linear(a, b), active())]
    return nn.Sequential(*parts[:-1], *([last()] if last else []))


def accuracy(name, seed, epochs):
    """Percent of the test digits that are right, at the default of every option but the rate of forward-forward."""
    inside = name == "forward_forward"
    if inside:
        net = network((74, 100, 100), nn.ReLU, nn.ReLU, seed)
        rule = rules.make(name, lr=0.006, classes=10)
    else:
        bounded = nn.Hardsigmoid if name == "equilibrium_propagation" else None
        net, rule = network((64, 50, 10), bounded or nn.Tanh, bounded, seed), rules.make(name)

    def shown(x):
        return nn.functional.pad(x.flatten(1), (10, 0)) if inside else x.flatten(1)

    trainer = rules.Trainer(net, rule, seed=seed, health=None)
    rng = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(DATA.train), generator=rng)
        for _ in trainer.fit([(shown(DATA.train.x[rows]), DATA.train.y[rows]) for rows in order.split(50)]):
            pass
    return 100 * trainer.evaluate([(shown(DATA.test.x), DATA.test.y)])["accuracy"]


@pytest.mark.slow(minutes=1)
@pytest.mark.parametrize("name", ["equilibrium_propagation", "forward_forward"])
def test_rules_without_a_backward_pass_learn_digits(name):
    """Better than chance by far in the mean of five seeds, and worse than backpropagation."""
    found = [accuracy(name, seed, 20) for seed in range(SEEDS)]
    mean = interval(found)
    print(f"{name}: {mean.mean:.1f} % [{mean.low:.1f}, {mean.high:.1f}]")
    assert mean.mean > 60
    above = paired([accuracy("bptt", seed, 20) for seed in range(SEEDS)], found)
    assert above.difference.mean > 0
