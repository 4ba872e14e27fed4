"""Small models and shorthands that the tests of layered zero-order rules share."""

from __future__ import annotations

import torch
from torch import nn

from rules.check import toy
from rules.contract import Batch
from rules.credit.bptt import BPTT
from rules.credit.zero_order import orthogonal_

QUADRATIC = toy.Quadratic(target=0.3)


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(model, seed=0):
    """Weights and biases of a model in float64, from a seed."""
    toy.fill(model, seed)
    return model.double()


def mlp(widths, activation=nn.Tanh, seed=0):
    """nn.Linear layers with an activation between them."""
    parts = [part for i, o in zip(widths, widths[1:]) for part in (nn.Linear(i, o), activation())]
    return drawn(nn.Sequential(*parts[:-1]), seed)


def deep(depth, width=32, activation=nn.Tanh, gain=1.0, seed=0):
    """Orthogonal layers of one width."""
    parts = [part for _ in range(depth) for part in (nn.Linear(width, width), activation())]
    return orthogonal_(nn.Sequential(*parts[:-1]).double(), dice(seed), gain)


def inputs(*shape, seed=1):
    return torch.randn(*shape, generator=dice(seed), dtype=torch.float64)


def assign(rule, model, x, y=None, objective=QUADRATIC, seed=0):
    return rule.assign(model, objective, Batch(x, y), rule.init(model, dice()), dice(seed))


def flat(grads):
    return torch.cat([grads[name].flatten() for name in sorted(grads)])


def error(rule, model, x, truth=None):
    """The distance of the rule's gradient from backpropagation's, relative to its size."""
    true = assign(truth or BPTT(), model, x).grads
    mine = assign(rule, model, x).grads
    assert mine.keys() == rule.parameters(model).keys()
    true = {name: true[name] for name in mine}
    return float((flat(mine) - flat(true)).norm() / flat(true).norm())


def rms_of(model, parameters):
    """The root mean square of each parameter; of the weights of its module for a bias."""
    owners = {id(p): module for module in model.modules() for p in module.parameters(recurse=False)}
    found = {}
    for name, p in parameters.items():
        bias = name.rpartition(".")[2] == "bias"
        found[name] = float((owners[id(p)].weight if bias else p).detach().square().mean().sqrt())
    return found


class Noisy(nn.Sequential):
    """A model whose signals are read with noise of standard deviation `sigma`."""

    sigma = 0.0

    def read(self, signal, generator):
        return signal + self.sigma * torch.randn(signal.shape, generator=generator, dtype=signal.dtype)


def noisy(model, sigma):
    model = Noisy(*model)
    model.sigma = sigma
    return model
