"""Credit rules that are wrong in one known way, for a microscope to show, and one with feedback weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from rules.contract import CreditRule, Holding
from rules.credit.bptt import BPTT


@dataclass(frozen=True)
class Scaled(Holding):
    """A multiple of the credit of the wrapped rule."""

    credit: CreditRule = field(default_factory=BPTT)
    factor: float = 0.9

    def assign(self, model, objective, batch, state, rng):
        credit = self.credit.assign(model, objective, batch, state, rng)
        return credit._replace(grads={name: self.factor * g for name, g in credit.grads.items()})


@dataclass(frozen=True)
class OneLayer(Holding):
    """A multiple of the credit of the wrapped rule for one layer: -1 flips its sign, 0 silences it."""

    credit: CreditRule = field(default_factory=BPTT)
    layer: str = "0.weight"
    factor: float = -1.0

    def assign(self, model, objective, batch, state, rng):
        credit = self.credit.assign(model, objective, batch, state, rng)
        return credit._replace(grads={**credit.grads, self.layer: self.factor * credit.grads[self.layer]})


@dataclass(frozen=True)
class Sideways(Holding):
    """The credit of the wrapped rule, plus as much again orthogonal to it."""

    credit: CreditRule = field(default_factory=BPTT)

    def assign(self, model, objective, batch, state, rng):
        credit = self.credit.assign(model, objective, batch, state, rng)
        truth = BPTT().assign(model, objective, batch, (), torch.Generator()).grads
        return credit._replace(grads={name: g + turned(truth[name]) for name, g in credit.grads.items()})


@dataclass(frozen=True)
class Swapped(Holding):
    """What belongs to one layer goes to the other, of the same shape."""

    credit: CreditRule = field(default_factory=BPTT)
    layers: tuple[str, str] = ("0.weight", "2.weight")

    def assign(self, model, objective, batch, state, rng):
        credit = self.credit.assign(model, objective, batch, state, rng)
        a, b = self.layers
        return credit._replace(grads={**credit.grads, a: credit.grads[b], b: credit.grads[a]})


@dataclass(frozen=True)
class WithFeedback(Holding):
    """BPTT that claims to have feedback weights, which are its state."""

    credit: CreditRule = field(default_factory=BPTT)
    feedback_weights: tuple = ()

    def init(self, model, rng):
        return {name: weight.clone() for name, weight in self.feedback_weights}

    def assign(self, model, objective, batch, state, rng):
        return self.credit.assign(model, objective, batch, (), rng)._replace(state=state)

    def feedback(self, state):
        return state


def turned(g):
    """Something as long as g and across it."""
    other = torch.arange(g.numel(), dtype=g.dtype).view(g.shape).cos()
    across = other - (other * g).sum() / g.square().sum() * g
    return across * g.norm() / across.norm()
