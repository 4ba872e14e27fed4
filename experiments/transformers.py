"""Tiny spiking transformers beside a spiking CNN of as many parameters; writes results/transformers.json.

python experiments/transformers.py                # or `make evidence-transformers`; goes on where it was stopped

Three questions, each over three paired seeds. Do Spikingformer and QKFormer keep up with the CNN, on the head of
CIFAR-10 and on events of moving digits? Do pools of currents (CML) beat pools of spikes? Does SVFormer tell which way a
digit moves, which no average of the frames tells? Images, counts of events and frames are halved to 16 x 16, and runs
are short, for two cores. The learning rate of each model is the best of three on validation samples, with a seed that
is not used again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from provenance import continued, gap
from torch import nn

import rules
from sandbox import make_model
from sandbox.machine.files import write_json
from sandbox.networks.models import convolutional
from sandbox.tasks import TASKS
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.loader import Loader
from sandbox.tasks.splits import Split

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results" / "transformers.json"
SEEDS, SEARCHED, RATES, BATCH = 3, 100, (0.01, 0.03, 0.1), 25
VIDEO = "moving_digits_video"
CHANNELS = (24, 40, 72)  # of the CNN: its parameters are within 10 % of those of both transformers
BESIDE = {"spikingformer": "cnn", "qkformer": "cnn", "spikingformer_cml": "spikingformer"}
LONGER = 16  # epochs on events, once for each model, to see whether differences are those of short runs
ALLOWED = 2.0  # points that a transformer may be behind the CNN
Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Setting:
    """How much a task is shortened: time steps, samples of each split, epochs of a run and of the search."""

    steps: int
    samples: tuple[int, int, int]
    epochs: int
    search_epochs: int
    options: dict[str, Any] = field(default_factory=dict)


SETTINGS = {
    "cifar10_head": Setting(4, (1500, 500, 1000), 3, 1),
    "moving_digits_events": Setting(
        4, (600, 500, 1000), 4, 2, {"steps": 4, "digits": "mnist", "train": 600, "duration": 75.0, "reach": 2}
    ),
    VIDEO: Setting(4, (2000, 400, 1000), 8, 2, {"steps": 4, "train": 2000, "validation": 400, "speed": 4}),
}
MODELS: dict[str, Callable[..., nn.Module]] = {
    "cnn": lambda shape, classes, steps, seed: convolutional(shape, classes, CHANNELS, seed=seed),
    **{
        name: partial(make_model, name, "tiny")
        for name in ("spikingformer", "spikingformer_cml", "qkformer", "svformer")
    },
}
ORDER = [(task, name) for task in list(SETTINGS)[:2] for name in ("cnn", "spikingformer", "qkformer")]
ORDER += [(VIDEO, "svformer")]
ORDER += [(task, "spikingformer_cml") for task in list(SETTINGS)[:2]]


@lru_cache
def samples(task: str, part: Part) -> Split:
    """Return samples `[n, T, C, 16, 16]` of a split and their classes."""
    setting = SETTINGS[task]
    data = TASKS[task](**setting.options).load()
    split = getattr(data, part)
    count = setting.samples[("train", "validation", "test").index(part)]
    x, y = split.take(torch.arange(count), torch.Generator())
    x = x if data.sequence else x[:, None].expand(-1, setting.steps, -1, -1, -1)
    return Split(F.avg_pool2d(x.flatten(0, 1).float(), 2).unflatten(0, x.shape[:2]), y)


def built(task: str, name: str, seed: int) -> nn.Module:
    """Return a model for a task."""
    split = samples(task, "train")
    return MODELS[name](tuple(split.x.shape[2:]), int(split.y.max()) + 1, SETTINGS[task].steps, seed=seed)


def accuracy(task: str, name: str, seed: int, rate: float, epochs: int, part: Part = "test") -> float:
    """Return the accuracy [%] on a split after some epochs of BPTT."""
    loader = Loader(samples(task, "train"), AsRecorded(), BATCH, seed=seed)
    rule = rules.compose("ce_mean", "bptt", "adam", plasticity_options={"lr": rate})
    schedule = rules.Cosine(epochs * len(loader))
    trainer = rules.Trainer(built(task, name, seed), rule, seed=seed, schedule=schedule, health=None)
    for _ in trainer.fit(loader, epochs):
        pass
    tested = Loader(samples(task, part), AsRecorded(), 250, shuffle=False, purpose="test")
    return round(100 * trainer.evaluate(tested)["accuracy"], 2)


def linear_of_the_average() -> float:
    """Return the accuracy [%] of least squares on the average of the frames of a video, in closed form."""
    train, test = samples(VIDEO, "train"), samples(VIDEO, "test")
    x, answers = (F.pad(split.x.mean(1).flatten(1).double(), (0, 1), value=1.0) for split in (train, test))
    wanted = F.one_hot(train.y).double()
    weights = torch.linalg.lstsq(x, wanted, driver="gelsd").solution
    return round(100 * float((answers @ weights).argmax(1).eq(test.y).double().mean()), 2)


def started() -> dict[str, Any]:
    """Return what an earlier run of these settings found, or an empty record."""
    settings = {task: {**asdict(each), "samples": list(each.samples)} for task, each in SETTINGS.items()}
    fields = "parameters", "validation accuracy in the search [%]", "learning rate", "test accuracy [%]", "seconds"
    made = continued(KEPT, "make evidence-transformers", settings, *fields)
    return made | {"batch": BATCH, "learning rates": list(RATES), "seed of the search": SEARCHED}


def differences(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Return paired differences [points], each a mean with its interval of 95 %, of what has all seeds."""
    made = {}
    for task, a in ORDER:
        b = BESIDE.get(a)
        one, other = found.get(task, {}).get(a, []), found.get(task, {}).get(b or "", [])
        if len(one) == len(other) == SEEDS:
            made[f"{task}: {a} - {b}"] = gap(one, other)
    return made


def verdict(gap: dict[str, float], allowed: float) -> str:
    """Return whether an interval lies above, or below, minus so many points."""
    if gap["low"] > -allowed:
        return "yes"
    return "no" if gap["high"] < -allowed else "open"


def table(kept: dict[str, Any]) -> str:
    """Return the table of the documentation."""
    lines = [
        "| task | model | parameters | learning rate | test accuracy [%] | beside | difference [points] | keeps up |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task, name in sorted(ORDER, key=lambda each: list(SETTINGS).index(each[0])):
        found = kept["test accuracy [%]"][task][name]
        row = [f"`{task}`", f"`{name}`", f"{kept['parameters'][task][name]:,}", f"{kept['learning rate'][task][name]}"]
        row += [", ".join(f"{each:.1f}" for each in found)]
        gap = kept["differences [points]"].get(f"{task}: {name} - {BESIDE.get(name)}")
        if gap:
            asked = verdict(gap, ALLOWED) if BESIDE[name] == "cnn" else ""
            row += [f"`{BESIDE[name]}`", f"{gap['mean']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}]", asked]
        else:
            row += ["", "", ""]
        lines.append(" | ".join(["", *row, ""]).strip())
    return "\n".join(lines)


def search(kept: dict[str, Any], task: str, name: str) -> float:
    """Return the best of the learning rates, looking only for those that are not known."""
    known = kept["validation accuracy in the search [%]"].setdefault(task, {}).setdefault(name, {})
    for rate in RATES:
        if str(rate) not in known:
            epochs = SETTINGS[task].search_epochs
            known[str(rate)] = accuracy(task, name, SEARCHED, rate, epochs, "validation")
            write_json(KEPT, kept)
    return max(RATES, key=lambda rate: known[str(rate)])


def main() -> int:
    torch.set_num_threads(1)
    kept = started()
    kept["linear model of the average [%]"] = linear_of_the_average()
    for task, name in ORDER:
        kept["parameters"].setdefault(task, {})[name] = sum(p.numel() for p in built(task, name, 0).parameters())
        rate = search(kept, task, name)
        kept["learning rate"].setdefault(task, {})[name] = rate
        found = kept["test accuracy [%]"].setdefault(task, {}).setdefault(name, [])
        spent = kept["seconds"].setdefault(task, {}).setdefault(name, [])
        for seed in range(len(found), SEEDS):
            began = time.perf_counter()
            found.append(accuracy(task, name, seed, rate, SETTINGS[task].epochs))
            spent.append(round(time.perf_counter() - began, 1))
            kept["differences [points]"] = differences(kept["test accuracy [%]"])
            write_json(KEPT, kept)
        print(f"{task:21} {name:24} lr {rate:<6} {' '.join(f'{each:.1f}' for each in found)} %", flush=True)
    late = kept.setdefault(f"validation accuracy on events after {LONGER} epochs [%]", {})
    for name in ("cnn", "spikingformer", "qkformer"):
        if name not in late:
            rate = kept["learning rate"]["moving_digits_events"][name]
            late[name] = accuracy("moving_digits_events", name, SEARCHED, rate, LONGER, "validation")
            write_json(KEPT, kept)
    print(table(kept))
    print(f"events after {LONGER} epochs, seed {SEARCHED}, validation: {late}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
