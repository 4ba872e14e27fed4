"""Cost of a look through the credit microscope, in training steps.

python benchmarks/microscope.py         # a minute; writes its section of README.md
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from readme import machine, put, table
from timing import in_turn, stopwatch

import rules
from sandbox import LIF, LeakyIntegrator, build
from sandbox.microscope import Backpropagation, Microscope

SIZES = {  # inputs, hidden, outputs, steps, batch
    "Yin-Yang 4-30-3, T = 20, B = 100": (4, 30, 3, 20, 100),
    "MNIST 784-256-10, T = 25, B = 128": (784, 256, 10, 25, 128),
}
LOOKS = {  # rule, references, draws; at most `steps` steps
    "`bptt`, k = 1": ("bptt", ("bptt",), 8, 2),
    "`bptt`, k = 2": ("bptt", ("bptt", Backpropagation(window=1000)), 8, 3),
    "`node_perturbation`, k = 1, one draw": ("node_perturbation", ("bptt",), 1, 2),
    "`node_perturbation`, k = 1, 8 draws": ("node_perturbation", ("bptt",), 8, 9),
}


def rivals(size: tuple[int, ...], rule: str, microscope: Microscope) -> tuple[Callable[[], object], ...]:
    """Return a training step, and a look."""
    inputs, hidden, outputs, steps, samples = size
    rng = torch.Generator().manual_seed(0)
    x = 4 * torch.rand(samples, inputs, generator=rng)
    batch = rules.Batch(x.expand(steps, samples, inputs), torch.randint(outputs, (samples,), generator=rng))
    model = build((inputs,), outputs, (hidden,), LIF(tau_mem=10.0), LeakyIntegrator(tau_mem=10.0))
    trainer = rules.Trainer(model, rule)
    return lambda: trainer.step(batch), lambda: microscope.look(trainer, batch)


def rows(rounds: int = 15) -> list[tuple[str, str, str, str, str]]:
    found = []
    for place, size in SIZES.items():
        for name, (rule, references, draws, most) in LOOKS.items():
            calls = rivals(size, rule, Microscope(references=references, draws=draws))
            for call in calls:
                call()
            times = in_turn([stopwatch(call) for call in calls], rounds)
            step, look = (sorted(column)[rounds // 2] for column in zip(*times, strict=True))
            ratio = sorted(b / a for a, b in times)[rounds // 2]
            found.append(
                (f"{name}; {place}", f"{step * 1e3:.2f} ms", f"{look * 1e3:.2f} ms", f"{ratio:.2f}", f"<= {most}")
            )
    return found


WORDS = """\
Calls alternate between the sides; times are medians, ratios are medians over neighbouring calls. A look evaluates a
deterministic rule once, and each of k references once: 1 + k steps at most. A stochastic rule is evaluated once per
draw.
"""


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    body = table(("what", "a step", "a look", "ratio", "target"), rows())
    put("Looks through the microscope", f"{WORDS}\n{body}\n\n{machine('torch', 'numpy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
