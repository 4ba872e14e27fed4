"""Binary stochastic learning against backpropagation of the same network: a training step, and an epoch of MNIST.

python benchmarks/binary_stochastic.py         # a minute; writes its section of README.md
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from readme import machine, put, table
from timing import paired

import rules
from rules.recipes import backprop
from sandbox import build
from sandbox.comparisons.comparison import Comparison
from sandbox.config.reading import from_dict
from sandbox.neurons import StochasticBinary
from sandbox.runs.preparing import prepare

HERE = Path(__file__).parent
BATCH = 128


def training_step(rule: rules.LearningRule) -> Callable[[], object]:
    """Return a step of the 784-500-10 network on images whose pixels are on as often as those of MNIST."""
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(1, BATCH, 784, generator=rng) * (torch.rand(1, BATCH, 784, generator=rng) < 0.2)
    y = torch.randint(10, (BATCH,), generator=rng)
    net = build((784,), 10, (500,), StochasticBinary(), StochasticBinary())
    trainer = rules.Trainer(net, rule)
    return lambda: trainer.step((x, y))


def rows() -> list[tuple[str, str, str, str, str]]:
    found = []
    for name, rule, target in (
        ("ideal weights", rules.make("binary_stochastic_ideal"), "<= 2.5"),
        ("noisy soft bounds, counter", rules.make("binary_stochastic"), "<= 2.5"),
        ("noisy soft bounds, every pulse at once", rules.make("binary_stochastic", store="direct"), "-"),
    ):
        calls = [training_step(backprop()), training_step(rule)]
        for call in calls:
            call()
        plain, ours, ratio = paired(*calls, rounds=31, each=5)
        what = f"`Trainer.step`, 784-500-10, B = {BATCH}: {name}"
        found.append((what, f"{plain * 1e3:.2f} ms", f"{ours * 1e3:.2f} ms", f"{ratio:.2f}", target))
    return found


def epoch() -> tuple[str, str, str, str, str]:
    """Time one epoch of the comparison on MNIST with batches of 32, as in `make evidence`."""
    plan = from_dict(Comparison, yaml.safe_load((HERE.parent / "experiments" / "binary_mnist.yaml").read_text()))
    seconds = []
    for label in ("backprop", "binary_stochastic"):
        experiment = replace(plan.experiments()[label][0], epochs=1)
        trainer, train = prepare(experiment, experiment.load())
        begun = time.perf_counter()
        for _ in trainer.fit(train):
            pass
        seconds.append(time.perf_counter() - begun)
    plain, ours = seconds
    return ("an epoch of MNIST, B = 32", f"{plain:.0f} s", f"{ours:.0f} s", f"{ours / plain:.2f}", "ours < 60 s")


WORDS = """\
Backpropagation runs on the same network, with probabilities in place of bits, and SGD. Calls alternate between the
sides, on two threads; times are medians, ratios are medians over neighbouring calls. On both sides the neurons draw
random numbers, although a smooth pass does not use them.
"""


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(2)
    body = table(("what", "backpropagation", "binary stochastic", "ratio", "target"), [*rows(), epoch()])
    put("Binary stochastic learning", f"{WORDS}\n{body}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
