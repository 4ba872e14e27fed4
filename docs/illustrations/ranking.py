"""Ranking of items from clicks, by a factorisation machine and a network that share embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rules

USERS, ITEMS, PLACES = 20, 30, 4  # three fields: who sees what, and where
FEATURES = USERS + ITEMS + PLACES  # numbered through; three of them are 1 in a row, the others 0


def interactions(v: Tensor) -> Tensor:
    """Return `sum_{i<j} <v_i, v_j>` in O(k n), `[..., n, k] -> [...]`, of vectors times the values of their features.

    sum_{i<j} <v_i, v_j> = 1/2 sum_f [(sum_i v_if)^2 - sum_i v_if^2]
    """
    return (v.sum(-2).square() - v.square().sum(-2)).sum(-1) / 2


class DeepFM(nn.Module):
    """A factorisation machine and a network on the same embeddings, which score both items of a pair."""

    def __init__(self, width: int = 4, hidden: int = 16) -> None:
        super().__init__()
        self.weight = nn.Embedding(FEATURES, 1)
        self.factors = nn.Embedding(FEATURES, width)
        self.deep = nn.Sequential(nn.Linear(3 * width, hidden), nn.ReLU(), nn.Linear(hidden, 1, bias=False))
        nn.init.normal_(self.weight.weight, std=0.1)
        nn.init.normal_(self.factors.weight, std=0.3)

    def score(self, row: Tensor) -> Tensor:
        """Return the score of each row of feature numbers, `[1, B, 3] -> [1, B]`."""
        v = self.factors(row)
        return self.weight(row).sum((-2, -1)) + interactions(v) + self.deep(v.flatten(-2))[..., 0]

    def forward(self, x: dict[str, Tensor]) -> Tensor:
        """Return the scores `[1, B, 2]` of the item that was clicked, and of the one that was passed over."""
        return torch.stack([self.score(x["clicked"]), self.score(x["passed"])], -1)


@dataclass(frozen=True)
class Pairwise(rules.Objective):
    """`-mean log sigma(s_clicked - s_passed)`: a clicked item should have the larger score (Rendle et al. 2009)."""

    def __call__(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        return self.each(run, batch).mean()

    def each(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        """Return the loss of each pair, `[B]`, so that rules that need it call the objective only once."""
        clicked, passed = run.output.mean(0).unbind(-1)
        return F.softplus(passed - clicked)

    def answers(self, run: rules.Run, batch: rules.Batch) -> tuple[Tensor, Tensor]:
        """Return both scores, every second pair turned round, and the place of the clicked one: ties count one half."""
        scores = run.output.mean(0)
        place = torch.arange(len(scores), device=scores.device) % 2
        return torch.where(place[:, None] == 1, scores.flip(-1), scores), place


def taste(row: Tensor) -> Tensor:
    """Return what a known factorisation machine, from which the clicks are drawn, thinks of rows."""
    rng = torch.Generator().manual_seed(1)
    v, w = torch.randn(FEATURES, 3, generator=rng), 0.5 * torch.randn(FEATURES, generator=rng)
    return w[row].sum(-1) + interactions(v[row])


def clicks(pairs: int, rng: torch.Generator) -> dict[str, Tensor]:
    """Return pairs of rows, `[1, pairs, 3]` each; a click is the likelier, the more the taste prefers the item."""
    user, item, place, away = (torch.randint(n, (1, pairs), generator=rng) for n in (USERS, ITEMS, PLACES, ITEMS - 1))
    both = item, (item + 1 + away) % ITEMS  # never the same
    first, second = (torch.stack([user, USERS + each, USERS + ITEMS + place], -1) for each in both)
    wins = torch.rand(1, pairs, generator=rng) < torch.sigmoid(taste(first) - taste(second))
    rows = torch.where(wins[..., None], first, second), torch.where(wins[..., None], second, first)
    return dict(zip(("clicked", "passed"), rows, strict=True))


def loader(batches: int, seed: int) -> list[rules.Batch]:
    """Return batches of 256 pairs, without labels: which of a pair is the better one is in the keys of x."""
    rng = torch.Generator().manual_seed(seed)
    return [rules.Batch(clicks(256, rng)) for _ in range(batches)]


def learned(rule: rules.LearningRule, epochs: int) -> float:
    """Return the share of new pairs in the right order, after a model has learned from 5,120 pairs by a rule."""
    torch.manual_seed(0)
    trainer = rules.Trainer(DeepFM(), replace(rule, objective=Pairwise()), seed=0)
    for _ in trainer.fit(loader(20, seed=2), epochs):
        pass
    return trainer.evaluate(loader(8, seed=3))["accuracy"]


def popular() -> float:
    """Return the same share for a list that is the same for everybody: items by their clicks less those passed over."""
    wins = torch.zeros(FEATURES)
    for batch in loader(20, seed=2):
        for key, sign in (("clicked", 1.0), ("passed", -1.0)):
            wins += sign * torch.bincount(batch.x[key][..., 1].flatten(), minlength=FEATURES)
    return in_order(lambda row: wins[row[..., 1]])


def in_order(score: Callable[[Tensor], Tensor]) -> float:
    """Return the share of new pairs that a score puts in the right order; ties count one half."""
    ahead = [score(batch.x["clicked"]) - score(batch.x["passed"]) for batch in loader(8, seed=3)]
    return float(torch.cat(ahead, 1).sign().add(1).div(2).mean())


RULES = {
    "bptt": (rules.make("bptt", lr=0.02), 10),  # backpropagation
    "fa": (rules.make("fa", lr=0.02), 10),  # errors go back through random weights
    "spsa": (rules.make("spsa", lr=0.05, optimizer="adam"), 5),  # forward passes alone
}

if __name__ == "__main__":
    print(f"chance 0.500, popular items {popular():.3f}, the taste itself {in_order(taste):.3f}")
    for name, (rule, epochs) in RULES.items():
        print(f"{name} {learned(rule, epochs):.3f}")
