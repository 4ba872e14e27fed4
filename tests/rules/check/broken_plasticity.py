"""One deliberately broken plasticity for each check of their contract; nothing else is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rules.plasticity import SGD, SoftThreshold
from rules.plasticity.projected import ProjectedOptimizer

LR = 0.01


class Steps(torch.optim.Optimizer):
    """A good one: `w <- clip(w - lr g)`, with bounds that it states and random numbers of its own."""

    def __init__(self, params, lr=LR, seed=0):
        self.rng = torch.Generator().manual_seed(seed)
        super().__init__(params, {"lr": lr})

    def bounds(self, p):
        return torch.full_like(p, -1.0), torch.full_like(p, 1.0)

    def change(self, p, group):
        return -group["lr"] * p.grad

    def keep(self, p):
        p.clamp_(-1, 1)

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.add_(self.change(p, group))
                    self.keep(p)

    def state_dict(self):
        return super().state_dict() | {"rng": self.rng.get_state()}

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.rng.set_state(state["rng"])


class LeavesItsBounds(Steps):
    def keep(self, p):
        pass


class Fades(Steps):
    """Weights decay a little without saying so."""

    def change(self, p, group):
        return super().change(p, group) - 1e-5 * p


class GlobalDice(Steps):
    also = frozenset({"resumes bit-exactly"})  # what goes on elsewhere draws other numbers

    def change(self, p, group):
        return super().change(p, group) * torch.rand_like(p)


class UnseededDice(Steps):
    """A generator of its own, with a seed that nobody chose."""

    also = frozenset({"resumes bit-exactly"})
    made = 0

    def __init__(self, params):
        type(self).made += 1
        super().__init__(params, seed=self.made)

    def change(self, p, group):
        return super().change(p, group) * torch.empty_like(p).uniform_(generator=self.rng)


class ForgetsItsDice(Steps):
    """Draws go on from the seed after resuming."""

    def change(self, p, group):
        return super().change(p, group) * torch.empty_like(p).uniform_(generator=self.rng)

    def state_dict(self):
        return torch.optim.Optimizer.state_dict(self)

    def load_state_dict(self, state):
        torch.optim.Optimizer.load_state_dict(self, state)


class DeafToSchedules(Steps):
    """Remembers the rates of its groups from when they were made."""

    def __init__(self, params):
        super().__init__(params)
        self.rates = {p: group["lr"] for group in self.param_groups for p in group["params"]}

    def change(self, p, group):
        return -self.rates[p] * p.grad


class DeafToGroups(Steps):
    """Every group follows the rate of the first."""

    def change(self, p, group):
        return -self.param_groups[0]["lr"] * p.grad


class Uphill(Steps):
    def change(self, p, group):
        return group["lr"] * p.grad


class Latent(ProjectedOptimizer):
    """A good one: a soft threshold before latent weights."""

    def __init__(self, params):
        super().__init__(params, SoftThreshold(mu=0.1), SGD(LR))


class LosesItsLatent(Latent):
    """Goes on from the weights that were shown."""

    def load_state_dict(self, state):
        before = {p: p.detach().clone() for p in self._held()}
        super().load_state_dict(state)
        for p, shown in before.items():
            self.state[p]["latent"].copy_(shown)
            self._show(p)


class StartsItsThresholdAgain(Latent):
    """Remembers the latent weights and not how far the threshold had risen."""

    def load_state_dict(self, state):
        super().load_state_dict(state)
        for p in self._held():
            self.state[p]["memory"] = {**self.state[p]["memory"], "threshold": 0.0, "sum": 0.0}
            self._show(p)


class ShowsItsLatent(Latent):
    """Hands the latent weights to the model."""

    also = frozenset({"rests at zero gradient"})  # what it says of a reading is not what is read

    def _show(self, p):
        p.data.copy_(self.state[p]["latent"])


@dataclass(frozen=True)
class Recipe:
    """The recipe of any of the above, good or broken."""

    kind: type = Steps

    def __call__(self, parameters):
        return self.kind(parameters)


class NotPlainData:
    def __call__(self, parameters):
        return Steps(parameters)


@dataclass(frozen=True, eq=False)
class NeverEqual:
    def __call__(self, parameters):
        return Steps(parameters)


BROKEN = {
    "plain data": [NotPlainData(), NeverEqual()],
    "stays within bounds": [Recipe(LeavesItsBounds)],
    "rests at zero gradient": [Recipe(Fades)],
    "own generator": [Recipe(GlobalDice), Recipe(UnseededDice)],
    "resumes bit-exactly": [Recipe(ForgetsItsDice), Recipe(LosesItsLatent), Recipe(StartsItsThresholdAgain)],
    "heeds a scheduler": [Recipe(DeafToSchedules)],
    "heeds groups": [Recipe(DeafToGroups)],
    "moves against the gradient": [Recipe(Uphill)],
    "shows what it holds": [Recipe(ShowsItsLatent)],
}
