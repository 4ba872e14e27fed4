"""Overhead of the health monitor and the cost ledger relative to training.

python benchmarks/ledger.py         # a minute; writes its section of README.md
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

import rules
from sandbox import LIF, LeakyIntegrator, build
from sandbox.ledger import Bill

INPUTS, HIDDEN, OUTPUTS, STEPS, SAMPLES = (784, 256, 10, 25, 128)
RULES = ("bptt", "readout_only")
EVERY = 100  # steps between health checks, as in runs
WATCHED, ALONE = rules.Health(every=EVERY), rules.Health(every=0)


def batch() -> rules.Batch:
    rng = torch.Generator().manual_seed(0)
    x = torch.rand(SAMPLES, INPUTS, generator=rng)
    return rules.Batch(x.expand(STEPS, SAMPLES, INPUTS), torch.randint(OUTPUTS, (SAMPLES,), generator=rng))


def trainer(rule: str, health: rules.Health) -> rules.Trainer:
    model = build((INPUTS,), OUTPUTS, (HIDDEN,), LIF(tau_mem=10.0), LeakyIntegrator(tau_mem=10.0))
    return rules.Trainer(model, rule, health=health)


def stretch(rule: str, health: rules.Health, shown: rules.Batch) -> Callable[[], None]:
    """Time a hundred steps, with one health check and the cost ledger, or without both."""
    learning, bill = trainer(rule, health), Bill()
    learning.step(shown)

    def steps() -> None:
        for _ in range(EVERY):
            info = learning.step(shown)
            if health is WATCHED:
                bill.add(info)

    return steps


def first(rule: str, shown: rules.Batch) -> tuple[float, float]:
    """Time the first step, which also measures memory, and the second [s]."""
    learning, seconds = trainer(rule, ALONE), []
    for _ in range(2):
        begun = time.perf_counter()
        learning.step(shown)
        seconds.append(time.perf_counter() - begun)
    return seconds[0], seconds[1]


def rows(rounds: int = 7) -> list[tuple[str, str, str, str, str]]:
    shown, found = batch(), []
    for rule in RULES:
        calls = [stretch(rule, health, shown) for health in (ALONE, WATCHED)]
        times = in_turn([stopwatch(call) for call in calls], rounds)
        alone = sorted(one for one, _ in times)[rounds // 2] / EVERY
        ratio = sorted(watched / plain for plain, watched in times)[rounds // 2]
        ones = sorted((one / two for one, two in (first(rule, shown) for _ in range(5))))
        found.append((f"`{rule}`", f"{alone * 1e3:.2f} ms", f"{ratio:.3f}", "<= 1.05", f"{ones[2]:.1f}"))
    return found


WORDS = f"""\
MNIST {INPUTS}-{HIDDEN}-{OUTPUTS}, T = {STEPS}, B = {SAMPLES}: {EVERY} steps with a health check, the count of work
on zeros and the cost ledger, against as many steps without; the ratio is the median over neighbouring calls. The
first step of a run also measures memory: the last column is its time, in steps.
"""


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    body = table(("rule", "a step", "watched / alone", "target", "first step"), rows())
    put("Health and the ledger", f"{WORDS}\n{body}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
