"""Weights of one bit in a small spiking network on MNIST: shortcuts, teachers, steps; writes results/one_bit.json.

python experiments/one_bit.py                            # or `make evidence-one-bit`; CI has a reduced run

The tiny MS-ResNet of `sandbox.networks.models`, without shortcuts or with one around every convolution, whose first and
last weights stay in full precision; the first 2,000 training images, and the first 2,000 test images. A row differs in
one thing from the one that it is compared with, and shares its seeds. The learning rate is the best of three without a
teacher, on training images that are not used otherwise and with a seed apart; it is looked for with and without
shortcuts, and for both kinds of weights. Nothing else is tuned: weight and temperature of the teacher are the defaults.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
from provenance import origin
from torch import nn

import rules
from rules.objectives import SelfEnsemble
from rules.plasticity import Adam, Sign
from sandbox.machine.files import write_json
from sandbox.networks.models import ms_resnet
from sandbox.networks.parts import Stack, Stateless
from sandbox.statistics import interval
from sandbox.tasks import TASKS

ROOT = Path(__file__).parent.parent
SHAPE, CLASSES = (1, 28, 28), 10
SAMPLES, VALIDATED, TESTED, BATCH, EPOCHS, SEEDS = 2000, 1000, 2000, 50, 8, 5
RATES, TRIED = (0.01, 0.03, 0.1), 4  # learning rates, and epochs of the search
APART = 100  # seed of the search
TEACHER_RATE = 0.01

Rates = dict[str, float]  # by `Row.tuned`


@dataclass(frozen=True)
class Row:
    """A way of training; as published but for the size: a shortcut around each convolution, a teacher, two steps."""

    bits: Literal["1 bit", "full precision"] = "1 bit"
    around: Literal["each", "none"] = "each"
    teacher: Literal["", "ann", "self"] = ""
    steps: int = 2
    stages: int = 1  # 2: half of the epochs in full precision first

    @property
    def tuned(self) -> str:
        """What the learning rate is looked for."""
        return f"{self.bits}, shortcuts: {self.around}"


PLAIN = Row(around="none")
SHORT = Row()
TAUGHT = Row(teacher="ann")
STEPS = {"plain": PLAIN, "shortcuts": SHORT, "shortcuts, teacher": TAUGHT}  # of the ablation
FULL: dict[str, Any] = {"bits": "full precision"}
ROWS = {
    **STEPS,
    "shortcuts, self-ensemble": Row(teacher="self"),
    "shortcuts, teacher, two stages": Row(teacher="ann", stages=2),
    **{f"{name}, one step": replace(row, steps=1) for name, row in STEPS.items()},
    **{f"{name}, full precision": replace(row, **FULL) for name, row in STEPS.items()},
}
COMPARED = {  # a minus b
    "shortcuts": ("shortcuts", "plain"),
    "teacher": ("shortcuts, teacher", "shortcuts"),
    "self-ensemble": ("shortcuts, self-ensemble", "shortcuts"),
    "two stages": ("shortcuts, teacher, two stages", "shortcuts, teacher"),
    **{f"two steps, {name}": (name, f"{name}, one step") for name in STEPS},
    **{f"full precision, {name}": (f"{name}, full precision", name) for name in STEPS},
}


@lru_cache
def images(split: Literal["train", "validation", "test"], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images `[2, B, 1, 28, 28]`, the same at both steps, and their classes."""
    data = TASKS["mnist"]().load()
    part, start = (data.test, 0) if split == "test" else (data.train, SAMPLES * (split == "validation"))
    x = part.x[start : start + count].reshape(1, count, *SHAPE).expand(2, -1, -1, -1, -1)
    return x, part.y[start : start + count]


def batches(x: torch.Tensor, y: torch.Tensor, steps: int, size: int = BATCH) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(x[:steps, i : i + size], y[i : i + size]) for i in range(0, len(y), size)]


def fitted(model: nn.Module, rule: rules.LearningRule, loader: list[Any], epochs: int, seed: int) -> rules.Trainer:
    schedule = rules.Cosine(epochs * len(loader))
    trainer = rules.Trainer(model, rule, seed=seed, schedule=schedule, health=rules.Health(every=10**9))
    for _ in trainer.fit(loader, epochs):
        pass
    return trainer


@lru_cache(maxsize=1)
def teacher(seed: int, samples: int, epochs: int) -> nn.Module:
    """Return a trained convolutional network of rectified units, the same at every step."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts: list[nn.Module] = []
        for inputs, outputs in ((1, 16), (16, 32)):
            parts += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
        model = Stack([Stateless(nn.Sequential(*parts, nn.Flatten(), nn.Linear(32 * 49, CLASSES)))], SHAPE)
    fitted(model, rules.make("bptt", lr=TEACHER_RATE), batches(*images("train", samples), 1), epochs, seed)
    return model


def learned(row: Row, seed: int, rates: Rates, samples: int = SAMPLES, epochs: int = EPOCHS) -> nn.Module:
    """Return a trained network, with the weights that it shows."""
    objective: rules.Objective = rules.OBJECTIVES["ce_mean"]()
    if row.teacher:
        objective = SelfEnsemble(teacher=teacher(seed, samples, epochs) if row.teacher == "ann" else None)
    model = ms_resnet(SHAPE, CLASSES, around=row.around, seed=seed)
    loader = batches(*images("train", samples), row.steps)
    first = replace(row, **FULL)
    stages = [row] if row.stages == 1 else [first, row]
    for stage in stages:
        rate = rates[stage.tuned]
        plasticity = Sign(lr=rate) if stage.bits == "1 bit" else Adam(lr=rate)
        rule = rules.LearningRule(objective, rules.BPTT(), plasticity)
        fitted(model, rule, loader, epochs // row.stages, seed)
    return model


@torch.no_grad()
def accuracies(model: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> list[float]:
    """Return the accuracy [%] of the mean over steps, and of each step alone."""
    model.eval()
    output = torch.cat([model(each).output for each, _ in batches(x, y, steps, 250)], 1)
    return [100 * int((each.argmax(-1) == y).sum()) / len(y) for each in (output.mean(0), *output)]


def search() -> dict[str, dict[str, float]]:
    """Return the validation accuracy [%] at each learning rate, for what a rate is looked for."""
    kinds = [Row(bits, around) for bits, around in product(("1 bit", "full precision"), ("none", "each"))]
    shown = images("validation", VALIDATED)
    return {
        row.tuned: {
            str(rate): accuracies(learned(row, APART, {row.tuned: rate}, epochs=TRIED), *shown, row.steps)[0]
            for rate in RATES
        }
        for row in kinds
    }


def differences(found: dict[str, list[list[float]]]) -> dict[str, dict[str, float]]:
    """Return means of paired differences in points, with Student's 95 % interval."""
    pairs = {name: [a[0] - b[0] for a, b in zip(found[x], found[y], strict=True)] for name, (x, y) in COMPARED.items()}
    for name, runs in found.items():
        if len(runs[0]) > 2:
            pairs[f"mean over steps, {name}"] = [mean - max(steps) for mean, *steps in runs]
    return {name: {k: round(v, 3) for k, v in interval(each)._asdict().items()} for name, each in pairs.items()}


def main() -> int:
    torch.set_num_threads(1)
    begun = origin("make evidence-one-bit")
    began = time.perf_counter()
    tried = search()
    rates = {name: float(max(each, key=lambda rate: each[rate])) for name, each in tried.items()}
    print(*(f"{name}: {each}" for name, each in tried.items()), sep="\n", flush=True)
    found: dict[str, list[list[float]]] = {name: [] for name in ROWS}
    taught: list[float] = []
    made: dict[str, Any] = {}
    for seed in range(SEEDS):
        taught.append(accuracies(teacher(seed, SAMPLES, EPOCHS), *images("test", TESTED), 1)[0])
        for name, row in ROWS.items():
            found[name].append(accuracies(learned(row, seed, rates), *images("test", TESTED), row.steps))
            print(f"seed {seed}  {name:40} {' '.join(f'{each:.2f}' for each in found[name][-1])} %", flush=True)
        made = {
            **begun,
            "minutes": round((time.perf_counter() - began) / 60, 1),
            "samples": SAMPLES,
            "epochs": EPOCHS,
            "validation accuracy at learning rates [%]": tried,
            "learning rates": rates,
            "test accuracy of the teachers [%]": taught,
            "test accuracy [%]: of the mean over steps, of each step": found,
            "differences [points]": differences(found),
        }
        write_json(ROOT / "experiments" / "results" / "one_bit.json", made)  # with the seeds so far
    for name, each in made["differences [points]"].items():
        print(f"{name:50} {each['mean']:6.2f} [{each['low']:.2f}, {each['high']:.2f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
