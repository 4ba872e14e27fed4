"""R-STDP finds the better arm of a bandit that pays two observations later."""

from __future__ import annotations

import pytest
import torch

import rules
import sandbox
from sandbox.environments import Bandit, Episodes, learn, play
from sandbox.neurons import LIF


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_r_stdp_solves_the_bandit(seed):
    """A mean reward above 0.6 where chance is 0 and the best is 0.8; options were found on seeds from 100 on."""
    arms = (0.9, 0.1) if seed % 2 == 0 else (0.1, 0.9)
    world, cell = Bandit(arms, delay=2, copies=8), LIF(tau_mem=5.0)
    net = sandbox.build((1,), 2, (), cell, cell, seed=seed)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        net.layers[0].synapse.weight.copy_(3 + 0.2 * torch.randn(2, 1, generator=rng))
        net.layers[0].synapse.bias.zero_()
    rule = rules.make("r_stdp", lr=0.02, a_minus=0.7, baseline="mean")
    trainer = rules.Trainer(net, rule, seed=seed, health=rules.Health(every=0))
    learn(world, trainer, Episodes(number=700, explore=0.3), seed=seed)
    assert float(play(world, net, Episodes(number=20), seed=seed + 1000).mean()) > 0.6
