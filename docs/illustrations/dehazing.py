"""Removal of haze from pictures by a network that also learns which of two places is farther away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import log10

import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

import rules

SIZE, EVERY = 16, 4  # pixels of a side of a picture, and between the places whose order of depth is known
PIXELS = SIZE * SIZE
LIGHT, LEAST = 0.9, 0.1  # the light of the air, which is known here, and the least transmission that is undone


def hazy(clear: Tensor, depth: Tensor, beta: float | Tensor = 1.0) -> Tensor:
    """Return `[B, 3, H, W]` seen through haze, `I = J t + A (1 - t)` with `t = exp(-beta d)`, d of `[B, 1, H, W]`."""
    t = torch.exp(-beta * depth)
    return clear * t + LIGHT * (1 - t)


def dehazed(picture: Tensor, thickness: Tensor) -> Tensor:
    """Return `J = A + (I - A) / max(t, 0.1)`, where `t = exp(-thickness)` and the thickness is `beta d`."""
    return LIGHT + (picture - LIGHT) / torch.exp(-thickness).clamp(min=LEAST)


def network() -> nn.Sequential:
    """Return a network that says how thick the haze is at each pixel, `[B, 3, H, W] -> [B, H W]`."""
    near, wide = {"padding": 2}, {"padding": 6, "dilation": 3}
    layers = nn.Conv2d(3, 8, 5, **near), nn.ReLU(), nn.Conv2d(8, 8, 5, **wide), nn.ReLU(), nn.Conv2d(8, 1, 1)
    return nn.Sequential(*layers, nn.Softplus(), nn.Flatten())


def places(maps: Tensor) -> Tensor:
    """Return the values `[B, 16]` of maps `[B, H W]` at places on a grid."""
    return maps.unflatten(-1, (SIZE, SIZE))[:, EVERY // 2 :: EVERY, EVERY // 2 :: EVERY].flatten(1)


@dataclass(frozen=True)
class Dehazing(rules.Objective):
    """`mean |J' - J| + weight mean_{p, q: d_p > d_q} softplus(-(d'_p - d'_q))`, with d' what the network says.

    Of the depth nothing but its order enters. y `[B, 3 H W + 16]` holds the clear picture and the depth at the places.

    Args:
        weight: of the order; with `clear=False` it is all that is learned from.
        clear: whether clear pictures are shown.
    """

    weight: float = 0.1
    clear: bool = True

    def __call__(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        return self.each(run, batch).mean()

    def each(self, run: rules.Run, batch: rules.Batch) -> Tensor:
        """Return the loss of each picture, `[B]`."""
        found, (clear, depth) = run.output.mean(0), batch.y.split([3 * PIXELS, batch.y.shape[1] - 3 * PIXELS], 1)
        farther = (depth[:, :, None] > depth[:, None]).to(found.dtype)
        ahead = places(found)[:, :, None] - places(found)[:, None]
        order = (F.softplus(-ahead) * farther).sum((1, 2)) / farther.sum((1, 2)).clamp(min=1)
        copies = len(found) // len(batch.x)  # a rule may show several runs of one batch
        error = (self.picture(found, batch.x.repeat(copies, 1, 1, 1)) - clear).abs().mean(1)
        return error * self.clear + self.weight * order

    def picture(self, found: Tensor, seen: Tensor) -> Tensor:
        """Return the picture without haze, `[B, 3 H W]`."""
        return dehazed(seen, found.unflatten(-1, (1, SIZE, SIZE))).flatten(1)

    def answers(self, run: rules.Run, batch: rules.Batch) -> tuple[Tensor, Tensor]:
        """Return the picture without haze and the thickness at the places, and what would be right."""
        found = run.output.mean(0)
        return torch.cat([self.picture(found, batch.x), places(found)], 1), batch.y

    def measure(self) -> Quality:
        """Return a measure of both."""
        return Quality()


class Quality:
    """`psnr` [dB] of pictures between 0 and 1, and `order`, the share of pairs of places that are in their order."""

    def __init__(self) -> None:
        self.squares = self.pixels = self.right = self.pairs = 0.0

    def add(self, answers: Tensor, truth: Tensor) -> None:
        """Add rows of a picture and of values at places."""
        (found, said), (clear, depth) = (each.tensor_split([3 * PIXELS], 1) for each in (answers, truth))
        self.squares += float((found.clamp(0, 1) - clear).square().sum())
        self.pixels += clear.numel()
        farther = depth[:, :, None] > depth[:, None]
        ahead = (said[:, :, None] - said[:, None]).sign().add(1).div(2)  # ties count one half
        self.right += float(ahead[farther].sum())
        self.pairs += float(farther.sum())

    def report(self) -> dict[str, float]:
        """Return both numbers."""
        return {"psnr": -10 * log10(self.squares / self.pixels), "order": self.right / self.pairs}


@lru_cache
def photographs() -> Tensor:
    """Return two photographs that scikit-learn brings along, at a quarter of their size, `[2, 3, 106, 160]`."""
    pictures = torch.stack([torch.tensor(each) for each in load_sample_images().images]).permute(0, 3, 1, 2) / 255
    return F.avg_pool2d(pictures, 4)


def depths(count: int, rng: torch.Generator) -> Tensor:
    """Return depths from 0 to 2, `[count, 1, H, W]`: a ground that recedes, and a nearer block in front of it."""
    up, along = torch.linspace(1, 0, SIZE)[:, None], torch.linspace(-0.5, 0.5, SIZE)
    slope, tilt, far = torch.rand(3, count, 1, 1, generator=rng)
    ground = far + slope * up + (tilt - 0.5) * along
    left, top = torch.randint(1, SIZE - 6, (2, count, 1, 1), generator=rng)
    at = torch.arange(SIZE)
    block = (at >= left) & (at < left + 6) & (at[:, None] >= top) & (at[:, None] < top + 6)
    return torch.where(block, 0.3 * ground, ground).clamp(min=0)[:, None]


def loader(batches: int, seed: int, test: bool = False) -> list[rules.Batch]:
    """Return batches of 16 pieces of photographs in haze: of their left parts, or, to test, of their right parts."""
    rng, (height, width) = torch.Generator().manual_seed(seed), photographs().shape[-2:]
    start, end = (100, width - SIZE) if test else (0, 100 - SIZE)
    found = []
    for _ in range(batches):
        which, tops = torch.randint(2, (16,), generator=rng), torch.randint(height - SIZE, (16,), generator=rng)
        lefts = torch.randint(start, end + 1, (16,), generator=rng)
        cut = zip(which.tolist(), tops.tolist(), lefts.tolist(), strict=True)
        clear = torch.stack([photographs()[w, :, t : t + SIZE, s : s + SIZE] for w, t, s in cut])
        depth = depths(16, rng)
        known = torch.cat([clear.flatten(1), places(depth.flatten(1))], 1)
        found.append(rules.Batch(hazy(clear, depth), known))
    return found


def learned(rule: rules.LearningRule, epochs: int, objective: rules.Objective, seed: int = 0) -> dict[str, float]:
    """Return the quality in 256 pieces of the right parts, after learning from 480 of the left parts by a rule."""
    torch.manual_seed(seed)
    trainer = rules.Trainer(network(), replace(rule, objective=objective), seed=seed)
    for _ in trainer.fit(loader(30, seed=2), epochs):
        pass
    return trainer.evaluate(loader(16, seed=3, test=True))


def dark_channel(picture: Tensor) -> Tensor:
    """Return the thickness `[B, H W]` by the prior that some colour is dark around every place (He et al. 2009)."""
    dark = -F.max_pool2d(-picture.amin(1, keepdim=True), 5, 1, 2)
    return -torch.log((1 - 0.95 * dark / LIGHT).clamp(min=LEAST)).flatten(1)


def without_learning(thickness: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """Return the quality of a thickness that is computed from the picture."""
    quality = Quality()
    for batch in loader(16, seed=3, test=True):
        quality.add(*Dehazing().answers(rules.Run(thickness(batch.x)[None]), batch))
    return quality.report()


RULES = {
    "bptt": (rules.make("bptt", lr=0.01), 6),  # backpropagation
    "sequential_local": (
        rules.make("sequential_local", lr=0.01, optimizer="adam"),
        4,
    ),  # forward passes, layer by layer
}
LOSSES = {"both": Dehazing(), "pictures alone": Dehazing(weight=0.0), "order alone": Dehazing(clear=False)}

if __name__ == "__main__":
    found = {
        "the haze itself": without_learning(lambda x: torch.zeros(len(x), PIXELS)),
        "haze of one thickness": without_learning(lambda x: torch.full((len(x), PIXELS), 0.9)),
        "dark channel": without_learning(dark_channel),
        "bptt, both": learned(*RULES["bptt"], LOSSES["both"]),
        "bptt, order alone": learned(*RULES["bptt"], LOSSES["order alone"]),
        "sequential_local, both": learned(*RULES["sequential_local"], LOSSES["both"]),
    }
    for name, each in found.items():
        print(f"{name:24} {each['psnr']:4.1f} dB, order {each['order']:.3f}")
