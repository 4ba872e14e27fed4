"""A step with projected weights against a step of the optimizer that moves their latent ones, 1000-1000-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from readme import machine, put, table
from timing import paired
from torch import nn

import rules
from rules.plasticity import Levels, Magnitude, Sign, SoftThreshold
from rules.plasticity.projected import Projected

BATCH, TARGET = 128, "<= 1.3"
NAMES: dict[str, Projected] = {
    "soft thresholds": SoftThreshold(mu=1e-4),
    "levels, 4 bits": Levels(bits=4, ends=True),
    "signs": Sign(ends=True),
    "masks by magnitude": Magnitude(0.9),
}


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 10))


def training(plasticity: Callable[..., torch.optim.Optimizer]) -> Callable[[], object]:
    """Return a whole step of the Trainer: forward, backward, update."""
    rng = torch.Generator().manual_seed(1)
    batch = torch.randn(BATCH, 1000, generator=rng), torch.randint(0, 10, (BATCH,), generator=rng)
    health = rules.Health(every=10**9)
    trainer = rules.Trainer(network(), replace(rules.make("bptt"), plasticity=plasticity), health=health)
    trainer.step(batch)
    return lambda: trainer.step(batch)


def alone(plasticity: Callable[..., torch.optim.Optimizer], like: Projected | None = None) -> Callable[[], object]:
    """Return a step of the optimizer alone, on the same gradients; with `like`, on what that passes to latent weights.

    The square roots of Adam take several times longer where gradients have always been 0, so an inner optimizer is
    measured on the gradients that it gets inside of the other.
    """
    model, rng = network(), torch.Generator().manual_seed(2)
    held = list(model.parameters())
    gradients = [0.01 * torch.randn(p.shape, generator=rng) for p in held]
    if like is not None:
        others = list(network().parameters())
        optimizer = like(others)
        for n, p in enumerate(others):
            if p in optimizer.state:
                state = optimizer.state[p]
                gradients[n] = like.pull(gradients[n], state["latent"], state["memory"])
    optimizer = plasticity(held)
    for p, gradient in zip(held, gradients, strict=True):
        p.grad = gradient
    return optimizer.step


def rows(rounds: int = 31) -> list[tuple[str, str, str, str, str]]:
    found = []
    for name, projected in NAMES.items():
        inner = projected.recipe()
        pairs = {
            f"a step of the Trainer, {name}": (training(inner), training(projected)),
            f"the optimizer alone, {name}": (alone(inner, projected), alone(projected)),
        }
        for what, (theirs, ours) in pairs.items():
            for call in (theirs, ours):
                call()
            a, b, ratio = paired(theirs, ours, rounds)
            found.append((what, f"{1e3 * a:.2f} ms", f"{1e3 * b:.2f} ms", f"{ratio:.2f}", TARGET))
    return found


WORDS = f"""\
A network 1000-1000-10 under backpropagation, batches of {BATCH}, one thread; all matrices are projected. The inner
optimizer is SGD with momentum for soft thresholds, otherwise Adam. Calls alternate between the sides; times are
medians, ratios are medians over neighbouring calls. The optimizer alone is measured on equal gradients of the latent
weights.
"""


def main() -> None:
    torch.set_num_threads(1)
    body = table(("what", "inner", "projected", "ratio", "target"), rows())
    print(body)
    put("Projected weights", f"{WORDS}\n{body}\n\n{machine('torch', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
