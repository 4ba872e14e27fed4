"""What these tests share: a small model, a batch, gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

import rules
from rules.plasticity import SGD, Levels, Magnitude, Sign, SoftThreshold

FOUR = {
    "soft_threshold": SoftThreshold(mu=0.02, lr=0.05),
    "levels": Levels(bits=3, lr=0.01),
    "sign": Sign(lr=0.01),
    "magnitude": Magnitude(0.6, begin=3, end=9, lr=0.01),
}
PLAIN = SGD(0.1)  # without momentum, so that a step is one line


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))


def batches(count, seed=0):
    """Points of three classes, which a linear read-out of six numbers tells apart."""
    rng = torch.Generator().manual_seed(seed)
    middles = 1.5 * torch.randn(3, 6, generator=torch.Generator().manual_seed(7))
    for _ in range(count):
        y = torch.randint(0, 3, (32,), generator=rng)
        yield middles[y] + 0.5 * torch.randn(32, 6, generator=rng), y


def trainer(plasticity, rule="bptt", model=None, **options):
    composed = replace(rules.make(rule), plasticity=plasticity)
    return rules.Trainer(net() if model is None else model, composed, seed=0, **options)


def weight(*shape, seed=0, size=0.1, dtype=torch.float32):
    return nn.Parameter(size * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype))


def stepped(optimizer, p, gradient):
    p.grad = gradient
    optimizer.step()
