"""Cells that compete learn MNIST by STDP without labels; writes results/diehl_cook.json.

python experiments/diehl_cook.py            # or `make evidence-diehl-cook`; goes on where it was stopped

A layer of 100 cells (`diehl_cook`) sees 10,000 training digits once, as Poisson spikes over 100 ms, and learns by pairs
of spikes, with thresholds that adapt and weights of a constant sum. Then it is read in two ways that are fitted to the
same digits: each cell stands for the class it answers most, and a linear classifier of the rates. Beside it are the
same network before learning, one whose thresholds are fixed, and one without inhibition. Accuracy is that of the 10,000
test digits, over three seeds. The settings were found with seed 101 on 6,000 training digits, judged on 3,000 others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from provenance import continued, gap

import rules
from sandbox.machine.files import write_json
from sandbox.networks.models import diehl_cook
from sandbox.statistics.intervals import interval as across
from sandbox.tasks.base import Dataset
from sandbox.tasks.encode import Poisson
from sandbox.tasks.loader import Loader
from sandbox.tasks.mnist import MNIST

KEPT = Path(__file__).parent / "results" / "diehl_cook.json"
SEEDS, DIGITS, CELLS, BATCH = 3, 10_000, 100, 8
WANTED = 75.0  # % that is to be reached with these cells and digits; with 60,000 digits 82.9 are published
SPIKES = Poisson(steps=100, max_rate=128.0)
LEARNING = {
    "lr": 0.02,
    "a_minus": 0.0,
    "pairing": "nearest",
    "homeostasis": 2.0,
    "target": 1.0,
    "normalise": True,
    "high": 1.0,
}


class Variant(NamedTuple):
    """A way to learn: the options of the rule and of the network that differ, and whether it learns at all."""

    rule: dict[str, Any] = {}  # noqa: RUF012 -- never written to
    network: dict[str, Any] = {}  # noqa: RUF012 -- never written to
    learns: bool = True


VARIANTS = {
    "STDP": Variant(),
    "before learning": Variant(learns=False),
    "fixed thresholds": Variant({"homeostasis": 0.0, "target": 0.0}),
    "no inhibition": Variant(network={"inhibition": 1e-6}),
}


def accuracies(
    variant: Variant, seed: int, data: Dataset, digits: int = DIGITS, cells: int = CELLS
) -> dict[str, float]:
    """Return the accuracy [%] on the test digits by each read-out, after one look at so many digits."""
    train = data.train.first(digits)
    found = {}
    rule = rules.make("stdp", **{**LEARNING, **variant.rule})
    trainer = rules.Trainer(diehl_cook(cells=cells, seed=seed, **variant.network), rule, seed=seed, health=None)
    learned = Loader(train, SPIKES, BATCH, seed=seed)
    if variant.learns:
        for _ in trainer.fit(learned):
            pass
    for name in ("assignment", "probe"):
        read = rules.LearningRule(rules.OBJECTIVES[name](), rule.credit, rule.plasticity)
        reader = rules.Trainer(trainer.model, read, seed=seed, health=None)
        reader.fit_read_out(Loader(train, SPIKES, 250, shuffle=False, seed=seed, purpose="read-out"))
        test = Loader(data.test, SPIKES, 250, shuffle=False, seed=seed, purpose="test")
        found[name] = round(100 * reader.evaluate(test)["accuracy"], 2)
    return found


def figures(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return means with intervals of 95 % over seeds, and what each part adds, pair by pair."""
    by = {f"{name}, {read}": [each[read] for each in rows] for name, rows in found.items() for read in rows[0]}
    ours = by["STDP, assignment"]
    return {
        "accuracy [%]": {name: interval(values) for name, values in by.items()},
        "differences of assignment [points]": {
            f"STDP - {name}": gap(ours, by[f"{name}, assignment"]) for name in found if name != "STDP"
        },
    }


def interval(values: list[float]) -> dict[str, float]:
    """Return the mean with its interval of 95 %."""
    return {
        name: round(value, 2) for name, value in across(values)._asdict().items() if name in ("mean", "low", "high")
    }


def main() -> None:
    """Run what is missing, and write the record after each seed."""
    torch.set_num_threads(1)
    data = MNIST().load()
    settings = {"seeds": SEEDS, "digits": DIGITS, "cells": CELLS, "batch": BATCH, "rule": LEARNING}
    made = continued(KEPT, "python experiments/diehl_cook.py", settings, "seeds")
    for name, variant in VARIANTS.items():
        for seed in range(SEEDS):
            if str(seed) not in made["seeds"].setdefault(name, {}):
                made["seeds"][name][str(seed)] = accuracies(variant, seed, data)
                print(name, seed, made["seeds"][name][str(seed)], flush=True)
                write_json(KEPT, made)
    found = {name: [rows[str(seed)] for seed in range(SEEDS)] for name, rows in made["seeds"].items()}
    write_json(KEPT, {**made, **figures(found)})


if __name__ == "__main__":
    main()
