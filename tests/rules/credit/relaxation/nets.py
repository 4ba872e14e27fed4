"""Small chains in float64, and gradients by autograd to compare with."""

from __future__ import annotations

import torch
from torch import nn

import rules

ACTIVE = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "relu": nn.ReLU, "gelu": nn.GELU}


def chain(sizes=(4, 6, 5, 3), active=nn.Tanh, last=False, scale=1.0, seed=0):
    """Dense layers with activations between them, and behind the last one if `last`."""
    parts = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        parts += [nn.Linear(inputs, outputs), active()]
    net = nn.Sequential(*(parts if last else parts[:-1])).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(scale * torch.randn(p.shape, generator=rng, dtype=p.dtype) / p.shape[-1] ** 0.5)
    return net


def batch(inputs=4, classes=3, samples=7, steps=None, seed=1):
    """Random features and classes; with `steps`, sequences."""
    rng = torch.Generator().manual_seed(seed)
    lead = (samples,) if steps is None else (steps, samples)
    x = torch.randn(*lead, inputs, generator=rng, dtype=torch.float64)
    return rules.Batch(x, torch.randint(classes, (samples,), generator=rng))


def assign(credit, model, seen, objective="ce_mean", state=(), seed=3):
    """The credit of a batch."""
    objective = rules.OBJECTIVES[objective]() if isinstance(objective, str) else objective
    return credit.assign(model, objective, seen, state, torch.Generator().manual_seed(seed))


def backpropagated(model, seen, objective="ce_mean"):
    """The gradients by BPTT."""
    return assign(rules.BPTT(), model, seen, objective).grads


def flat(grads):
    """All gradients as one vector, by name."""
    return torch.cat([grads[name].flatten() for name in sorted(grads)])


def apart(grads, wanted):
    """The relative distance of two dicts of gradients."""
    assert grads.keys() == wanted.keys()
    return float((flat(grads) - flat(wanted)).norm() / flat(wanted).norm())


def slope(sizes, errors):
    """The slope of a straight line through the logarithms: the order of an error in a size."""
    x, y = (torch.tensor(values, dtype=torch.float64).log() for values in (sizes, errors))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (x * x).sum())
