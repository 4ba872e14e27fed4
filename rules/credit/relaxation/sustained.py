"""Networks that keep themselves active, by feedback so strong that they rest in states of their own."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from rules.diagnostics.health import Finding
from rules.models.chain import Chain

SWEEPS = 8  # of a power iteration, two at a time: the gain is then within a few per cent, from below
DRIVEN = 4.0  # drives are tried up to here, in steps of 0.02
MOST = 1.5  # gain above which chains of tanh on digits gave up their input; up to 1.4 they learned


def feedback_gain(chain: Chain) -> float:
    """Return by how much activity grows in a sweep of all layers, without input, where activations are steepest.

        s_l <- max f' (W_l s_{l-1} + W_{l+1}^T s_{l+1}),    s_0 = 0

    It is the largest eigenvalue of these sweeps, by power iteration from random numbers that are the same each time.
    Above 1 a state in which units are where they are steepest is unstable.

    >>> from torch import nn
    >>> from rules.models.chain import links_of
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2, bias=False), nn.Tanh())
    >>> _ = nn.init.eye_(net[2].weight)  # which passes activity up, and down again
    >>> round(feedback_gain(links_of(net, "doctest")), 6)
    1.0
    """
    slopes, states = [], []
    rng = torch.Generator().manual_seed(0)
    for link in chain.links:
        drives = torch.linspace(-DRIVEN, DRIVEN, 401).to(link.weight)[:, None].expand(-1, len(link.weight))
        slopes.append(link.sloped(drives)[1].amax(0, keepdim=True))
        states.append(torch.randn(1, len(link.weight), generator=rng).to(link.weight))
    growth = 0.0
    for _ in range(SWEEPS):
        twice = _swept(chain, _swept(chain, states, slopes), slopes)  # an eigenvalue comes with its negative
        growth = _size(twice) / _size(states)
        if not 0 < growth < math.inf:
            return growth
        states = [entry / _size(twice) for entry in twice]
    return math.sqrt(growth)


def self_sustained(chain: Chain) -> Iterator[Finding]:
    """Yield the finding that a network keeps itself active."""
    gain = feedback_gain(chain)
    if gain > MOST:
        yield Finding(
            "self-sustained",
            "the chain",
            gain,
            f"weights that act both ways amplify activity by {gain:.2f} in a sweep, so that it settles into states of "
            "its own, whatever comes in",
            f"scale the weights by {0.9 / gain:.2f} or less (gain, an option of the model perceptron), use fewer "
            "layers, or activations with a smaller slope, such as nn.Hardsigmoid",
        )


def _swept(chain: Chain, states: list[Tensor], slopes: list[Tensor]) -> list[Tensor]:
    """Return the states after a sweep of all layers at once."""
    after = []
    for number, (link, slope) in enumerate(zip(chain.links, slopes, strict=True)):
        total = torch.zeros_like(states[number])
        if number:
            total = total + states[number - 1] @ link.weight.T
        if number + 1 < len(states):
            total = total + states[number + 1] @ chain.links[number + 1].weight
        after.append(slope * total)
    return after


def _size(states: list[Tensor]) -> float:
    return float(torch.stack([entry.norm() for entry in states]).norm())
