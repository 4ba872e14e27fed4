"""A step of `MemristorOptimizer` against a step of Adam, on the weights of a layer for MNIST."""

from __future__ import annotations

from collections.abc import Callable

import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

from rules.plasticity.memristor import (
    AccumulateAndCarry,
    Direct,
    MemristorOptimizer,
    Positional,
    SoftBounds,
    WeightStore,
)

SHAPE = (500, 784)
TARGET = "<= 4"
ACTIVE, SIGNED = 0.2, 0.16  # share of inputs that are 1 and of errors that are not 0: 3 % of weights per sample
NOISY = SoftBounds(
    dw_min=0.002,
    dw_min_dtod=0.3,
    dw_min_std=3.75,
    up_down_dtod=0.01,
    w_max_dtod=0.3,
    w_min_dtod=0.3,
    write_noise=56.0,
    read_noise=0.01,
    cell_noise=0.01,
)


def whole_gradients(samples: int, count: int) -> list[torch.Tensor]:
    """Draw sums over a batch of signed errors times one-bit inputs, as in binary stochastic learning."""
    rng, (outputs, inputs) = torch.Generator().manual_seed(0), SHAPE
    found = []
    for _ in range(count):
        s = (torch.rand(samples, inputs, generator=rng) < ACTIVE).float()
        e = (torch.rand(samples, outputs, generator=rng) < SIGNED).float()
        e *= torch.randint(0, 2, e.shape, generator=rng) * 2.0 - 1
        found.append(e.T @ s)
    return found


def stepper(optimizer: torch.optim.Optimizer, gradients: list[torch.Tensor]) -> Callable[[], object]:
    """Return a call that takes one step for each gradient."""
    (parameter,) = optimizer.param_groups[0]["params"]

    def steps() -> None:
        for gradient in gradients:
            parameter.grad = gradient
            optimizer.step()

    return steps


def layer() -> list[torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(0.05 * torch.randn(SHAPE, generator=rng))]


def on_device(store: WeightStore) -> MemristorOptimizer:
    return MemristorOptimizer(layer(), NOISY, store, seed=0)


def rows(rounds: int = 7, count: int = 20) -> list[tuple[str, str, str, str, str]]:
    """Measure the time per weight and step over the steps of two carries at the counter's defaults."""
    stores = {
        "counter before the device (defaults)": AccumulateAndCarry(),
        "every pulse at once": Direct(),
        "three digits": Positional(period=count),
    }
    found = []
    for samples in (1, 128):
        gradients = whole_gradients(samples, count)
        calls = [stepper(torch.optim.Adam(layer()), gradients)]
        calls += [stepper(on_device(store), gradients) for store in stores.values()]
        for call in calls:
            call()
        times = in_turn([stopwatch(call) for call in calls], rounds)
        middle = len(times) // 2
        each = 1e9 / (gradients[0].numel() * count)
        adam = sorted(row[0] for row in times)[middle] * each
        for number, name in enumerate(stores, 1):
            ours = sorted(row[number] for row in times)[middle] * each
            ratio = sorted(row[number] / row[0] for row in times)[middle]
            what = f"pulses of a batch of {samples}, {name}"
            found.append((what, f"{adam:.1f} ns", f"{ours:.1f} ns", f"{ratio:.2f}", TARGET))
    return found


WORDS = """\
Time per weight and step. Calls alternate between the sides; times are medians, ratios are medians over neighbouring
calls. 392 000 weights on soft bounds with spread between cells and noise of pulses and writing get integer
gradients, as in binary stochastic learning. Read noise belongs to the forward pass and is not part of a step.
"""


def main() -> None:
    torch.set_num_threads(1)
    body = table(("what", "Adam", "ours", "ratio", "target"), rows())
    put("Weights in memristors", f"{WORDS}\n{body}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
