"""Retrieval of pictures by sentences and back, with a memory that both share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import rules

REGIONS, LONG, SEEN = 6, 7, 16  # regions of a picture, words of a sentence, numbers that describe a region
OBJECTS, STYLES, FILLERS, WIDTH, UNITS = 12, 4, 6, 24, 4
WORDS = OBJECTS + STYLES + FILLERS


class Stream(nn.Module):
    """Two layers that act on every region or word; it returns the features of both."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, entered: Tensor) -> list[Tensor]:
        """Return the features `[T, B, WIDTH]` of each layer."""
        first = entered + torch.relu(self.first(entered))
        return [first, first + torch.relu(self.second(first))]


class Memory(nn.Module):
    """Units that ask the features of one layer after the other what belongs to them, and keep a share of it.

    r_k = sum_t softmax_t(<Q u_k, f_t> / sqrt(WIDTH)) f_t,    g = sigma(G [u_k, r_k]),    u_k <- g r_k + (1 - g) u_k
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(UNITS, 1, WIDTH))  # the units before anything is seen
        self.query, self.gate = nn.Linear(WIDTH, WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, layers: list[Tensor]) -> Tensor:
        """Return the units `[UNITS, B, WIDTH]` after both layers."""
        units = self.start.expand(-1, layers[0].shape[1], -1)
        for f in layers:
            match = torch.einsum("kbd,tbd->kbt", self.query(units), f) / WIDTH**0.5
            read = torch.einsum("kbt,tbd->kbd", match.softmax(-1), f)
            gate = torch.sigmoid(self.gate(torch.cat([units, read], -1)))
            units = gate * read + (1 - gate) * units
        return units


class Retrieval(nn.Module):
    """Codes of pictures and of sentences; the memory of both is one module."""

    def __init__(self, remembers: bool = True) -> None:
        super().__init__()
        self.regions_in, self.words_in = nn.Linear(SEEN, WIDTH), nn.Embedding(WORDS, WIDTH)
        self.regions, self.words = Stream(), Stream()
        self.memory = Memory() if remembers else None
        size = WIDTH * (1 + UNITS) if remembers else WIDTH
        self.heads = nn.ModuleList([nn.Linear(size, WIDTH), nn.Linear(size, WIDTH)])

    def code(self, layers: list[Tensor], head: nn.Module) -> Tensor:
        """Return the code `[B, WIDTH]` of a picture or sentence."""
        held = [layers[-1].mean(0)]
        if self.memory is not None:
            held.append(self.memory(layers).transpose(0, 1).flatten(1))
        return head(torch.cat(held, -1))

    def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
        """Return the codes `[1, B, 2 WIDTH]` of regions `[REGIONS, B, SEEN]` and words `[LONG, B]`."""
        layers = self.regions(self.regions_in(x[0])), self.words(self.words_in(x[1]))
        return torch.cat([self.code(each, head) for each, head in zip(layers, self.heads, strict=True)], -1)[None]


def similarities(output: Tensor) -> Tensor:
    """Return the cosine of every picture with every sentence, `[B, B]`."""
    pictures, texts = F.normalize(output.mean(0).unflatten(-1, (2, WIDTH)), dim=-1).unbind(1)
    return pictures @ texts.T


@dataclass(frozen=True)
class Triplets(rules.Objective):
    """`1/(B (B - 1)) sum_{a, b != a} [m + S_ab - S_aa]_+ + [m + S_ba - S_aa]_+`: a pair is the more similar one.

    Args:
        margin: m, by how much it should be.
    """

    margin: float = 0.2

    def __call__(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        found = similarities(run.output)
        own, others = found.diagonal(), ~torch.eye(len(found), dtype=torch.bool, device=found.device)
        by_picture, by_text = F.relu(self.margin + found - own[:, None]), F.relu(self.margin + found - own)
        return (by_picture + by_text)[others].mean()

    def answers(self, run: rules.Run, batch: rules.Batch) -> tuple[Tensor, Tensor]:
        """Return what asks and what is found, in both directions: the accuracy is the mean recall at 1."""
        found = similarities(run.output)
        return torch.cat([found, found.T]), torch.arange(len(found), device=found.device).repeat(2)


def scenes(count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return regions and words of scenes: three objects in a style that colours all regions and has a word."""
    known = torch.Generator().manual_seed(1)  # how objects and styles look is always the same
    looks, colours = torch.randn(OBJECTS, SEEN, generator=known), torch.randn(STYLES, SEEN, generator=known)
    things = torch.rand(count, OBJECTS, generator=rng).argsort(-1)[:, :3]
    style = torch.randint(STYLES, (count, 1), generator=rng)
    clutter = torch.randn(count, REGIONS - 3, SEEN, generator=rng)
    regions = torch.cat([looks[things], clutter], 1) + colours[style]
    regions = regions + 0.3 * torch.randn(regions.shape, generator=rng)
    filling = OBJECTS + STYLES + torch.randint(FILLERS, (count, LONG - 4), generator=rng)
    words = torch.cat([things, OBJECTS + style, filling], 1)
    order = torch.rand(words.shape, generator=rng).argsort(-1)
    return regions.transpose(0, 1), words.gather(1, order).T


def loader(batches: int, seed: int) -> list[rules.Batch]:
    """Return batches of 32 pairs, without labels: the pair is in the same place of both parts of x."""
    rng = torch.Generator().manual_seed(seed)
    return [rules.Batch(scenes(32, rng)) for _ in range(batches)]


def learned(rule: rules.LearningRule, epochs: int, remembers: bool = True, seed: int = 0) -> float:
    """Return the mean recall at 1 in 512 new pairs, in batches of 32, after learning from 960 by a rule."""
    torch.manual_seed(seed)
    trainer = rules.Trainer(Retrieval(remembers), replace(rule, objective=Triplets()), seed=seed)
    for _ in trainer.fit(loader(30, seed=2), epochs):
        pass
    return trainer.evaluate(loader(16, seed=3))["accuracy"]


RULES = {
    "bptt": (rules.make("bptt", lr=5e-3), 4),  # backpropagation
    "kolen_pollack": (
        rules.make("kolen_pollack", lr=5e-3),
        4,
    ),  # errors go back through weights that learn on their own
}

if __name__ == "__main__":
    print(f"by chance {1 / 32:.3f}")
    for name, (rule, epochs) in RULES.items():
        print(f"{name} {learned(rule, epochs):.3f}, without a memory {learned(rule, epochs, remembers=False):.3f}")
