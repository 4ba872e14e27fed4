"""One deliberately broken credit rule for each check of the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rules.contract import Cost
from rules.credit.bptt import BPTT


def true_credit(model, objective, batch, rng):
    return BPTT().assign(model, objective, batch, (), rng)


class NotPlainData(BPTT):
    """Keeps a setting that equality does not see."""

    def __init__(self):
        super().__init__()
        object.__setattr__(self, "secret", object())

    __hash__ = None

    def __eq__(self, other):
        return self is other


@dataclass(frozen=True)
class Touches(BPTT):
    """Leaves the gradient behind in p.grad."""

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        for name, p in model.named_parameters():
            p.grad = credit.grads[name]
        return credit


@dataclass(frozen=True)
class WrongShape(BPTT):
    """Gives transposed gradients."""

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        return credit._replace(grads={name: g.T[None] for name, g in credit.grads.items()})


@dataclass(frozen=True)
class GlobalDice(BPTT):
    """Draws from torch's global generator."""

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        kept = torch.get_rng_state()
        noisy = {name: g + 0.1 * torch.randn(g.shape) for name, g in credit.grads.items()}
        torch.set_rng_state(kept)  # so that only the check made for it can notice
        return credit._replace(grads=noisy)


@dataclass(frozen=True)
class DividesByNorm(BPTT):
    """Normalises a gradient that may be zero."""

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        return credit._replace(grads={name: g / g.norm() for name, g in credit.grads.items()})


@dataclass(frozen=True)
class AsksTooMuch(BPTT):
    """Declares layers and never looks at them."""

    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "layers"})


@dataclass(frozen=True)
class AsksTooLittle(BPTT):
    """Uses autograd without declaring it."""

    needs: ClassVar[frozenset[str]] = frozenset()


@dataclass(frozen=True)
class TwiceAsLong(BPTT):
    """Points the right way with twice the size: neither exact nor unbiased."""

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        return credit._replace(grads={name: 2 * g for name, g in credit.grads.items()})


@dataclass(frozen=True)
class TwiceAsLongOnAverage(TwiceAsLong):
    """The same, claimed to be unbiased."""

    claim: ClassVar[str] = "unbiased"


@dataclass(frozen=True)
class Unbiased(BPTT):
    """A good rule: the true gradient with noise of mean zero."""

    claim: ClassVar[str] = "unbiased"

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        noisy = {k: g + 0.1 * torch.randn(g.shape, generator=rng, dtype=g.dtype) for k, g in credit.grads.items()}
        return credit._replace(grads=noisy)


@dataclass(frozen=True)
class Uphill(BPTT):
    """Ascends, and claims to descend."""

    claim: ClassVar[str] = "descent"

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        return credit._replace(grads={name: -g for name, g in credit.grads.items()})


@dataclass(frozen=True)
class Forgetful(BPTT):
    """A momentum kept beside the state, where no checkpoint finds it."""

    seen: ClassVar[list[float]] = []

    def init(self, model, rng):
        self.seen.clear()
        return ()

    def assign(self, model, objective, batch, state, rng):
        credit = true_credit(model, objective, batch, rng)
        self.seen.append(1.0)
        return credit._replace(grads={name: g * len(self.seen) for name, g in credit.grads.items()})


@dataclass(frozen=True)
class BeginsAnew(BPTT):
    """Says that it continues, and drops the state at the end of a window."""

    def assign(self, model, objective, batch, state, rng):
        return true_credit(model, objective, batch, rng)._replace(carry=None)


@dataclass(frozen=True)
class CutsBetweenWindows(BPTT):
    """Says that its windows add up, and follows no error from one to the one before."""

    continues = "traces"


@dataclass(frozen=True)
class Freeloader(BPTT):
    """Reports a cost of zero."""

    def assign(self, model, objective, batch, state, rng):
        return true_credit(model, objective, batch, rng)._replace(cost=Cost())


BROKEN: dict[str, list[type]] = {
    "plain data": [NotPlainData],
    "changes nothing": [Touches],
    "gradients fit the parameters": [WrongShape],
    "same seed same credit": [GlobalDice],
    "survives silence": [DividesByNorm],
    "needs are honest both ways": [AsksTooMuch, AsksTooLittle],
    "claim holds": [TwiceAsLong, TwiceAsLongOnAverage, Uphill],
    "resumes bit-exactly": [Forgetful],
    "windows add up": [BeginsAnew, CutsBetweenWindows],
    "cost is counted": [Freeloader],
}
