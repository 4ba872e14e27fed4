"""A spiking language model that learns from a teacher, beside one that does not; writes results/spad.json.

python experiments/spad.py                  # or `make evidence-spad`; goes on where it was stopped

A BiSpikCLM of 108,000 weights learns the next character of Shakespeare: from the text alone, with spike-aware
distillation (SpAD), with SpAD in 70 % of the steps, and from the teacher's outputs and the text without what SpAD
compares inside. The teacher is a transformer of the same size that has learnt from the same text, one for each seed.
The learning rate with and without a teacher is the best of two, with a seed that is not used again; every run has its
own schedule, which ends with its last step. Three paired seeds. Weights, share and temperature of SpAD are defaults;
nothing else is searched.
"""

from __future__ import annotations

import math
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from provenance import continued, gap
from torch import nn

import rules
from rules.objectives.distillation import SpikeAwareDistillation
from rules.perplexity import Perplexity
from sandbox.machine.files import write_json
from sandbox.networks.language import Size, TokenModel
from sandbox.networks.models.bispikclm import bispikclm
from sandbox.networks.models.transformer import transformer
from sandbox.tasks.base import Dataset
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.loader import Loader
from sandbox.tasks.text.shakespeare import TinyShakespeare

KEPT = Path(__file__).parent / "results" / "spad.json"
SIZE = Size(depth=2, width=64, heads=4, ratio=4, context=64)
SEEDS, SEARCHED, RATES = 3, 100, (0.002, 0.005)
STEPS, BATCH, TIMES, CLIP, JUDGED = 1000, 8, 5, 1.0, 500  # JUDGED: blocks of the validation text
FEWER = 0.7  # of the steps, in which SpAD is claimed to get as far
NATS = 0.03  # by which it is claimed to end lower
ALONE = {"embedding": 0.0, "attention": 0.0, "hidden": 0.0}  # weights of the terms that look inside


class Variant(NamedTuple):
    """A way to learn: how a teacher is used, the share of the steps, and whose learning rate it has."""

    weights: dict[str, float] | None  # of SpAD; None for no teacher
    share: float
    searched_as: str


VARIANTS = {
    "text alone": Variant(None, 1.0, "text alone"),
    "SpAD": Variant({}, 1.0, "SpAD"),
    "SpAD, fewer steps": Variant({}, FEWER, "SpAD"),
    "outputs of the teacher": Variant(ALONE, 1.0, "SpAD"),
}
COMPARED = {
    "SpAD - text alone": ("SpAD", "text alone"),
    "SpAD, fewer steps - text alone": ("SpAD, fewer steps", "text alone"),
    "outputs of the teacher - text alone": ("outputs of the teacher", "text alone"),
    "SpAD - outputs of the teacher": ("SpAD", "outputs of the teacher"),
}


@lru_cache(maxsize=1)
def shakespeare() -> Dataset:
    """Return the text in blocks."""
    return TinyShakespeare(context=SIZE.context).load()


def learned(model: TokenModel, objective: rules.Objective, data: Dataset, rate: float, steps: int, seed: int) -> Any:
    """Train with BPTT and Adam, and return the validation losses [nats] behind some numbers of steps, the last first.

    Which blocks are seen follows the seed, the same for every way to learn.
    """
    rule = rules.LearningRule(objective, rules.BPTT(), rules.make("bptt", lr=rate).plasticity)
    trainer = rules.Trainer(model, rule, seed=seed, schedule=rules.Cosine(steps), clip=CLIP, health=None)
    blocks, curve, done = Loader(data.train, AsRecorded(), BATCH, seed=seed), {}, 0
    shown = {round(steps * part / TIMES) for part in range(1, TIMES + 1)}
    while done < steps:
        for batch in blocks:
            trainer.step(batch)
            done += 1
            if done in shown:
                curve[str(done)] = nats(trainer, data)
            if done == steps:
                break
    return curve


def nats(trainer: rules.Trainer, data: Dataset) -> float:
    """Return the cross-entropy [nats] of the next character, mean over the beginning of the validation text."""
    blocks = Loader(data.validation.first(JUDGED), AsRecorded(), 100, shuffle=False, purpose="validation")
    found = trainer.evaluate(blocks, measure=Perplexity("character"))
    return round(math.log(2) * found["bits_per_character"], 4)


@lru_cache(maxsize=1)
def teacher(seed: int, data: Dataset, steps: int = STEPS) -> tuple[nn.Module, float]:
    """Return a transformer that has learnt from the text, and its validation loss [nats]."""
    model = transformer((), data.classes, SIZE, seed=seed)
    return model, learned(model, rules.make("bptt", objective="ce_rate").objective, data, 0.005, steps, seed)[
        str(steps)
    ]


def student(variant: Variant, seed: int, rate: float, data: Dataset, steps: int = STEPS) -> dict[str, float]:
    """Return the validation losses [nats] of a student behind some numbers of steps."""
    taught = None if variant.weights is None else teacher(seed, data, steps)[0]
    objective = SpikeAwareDistillation(taught, variant.weights)
    model = bispikclm((), data.classes, SIZE, seed=seed)
    curve: dict[str, float] = learned(model, objective, data, rate, round(variant.share * steps), seed)
    return curve


def differences(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return differences of final losses [nats] with intervals; below 0 the first is better."""
    return {name: gap(found[a], found[b], 4) for name, (a, b) in COMPARED.items()}


def verdicts(gaps: dict[str, dict[str, float]]) -> dict[str, bool]:
    """Return what is claimed of SpAD, and whether it holds on average."""
    return {
        f"SpAD ends {NATS} nats lower": gaps["SpAD - text alone"]["mean"] <= -NATS,
        f"SpAD gets as far in {FEWER:.0%} of the steps": gaps["SpAD, fewer steps - text alone"]["mean"] <= 0,
    }


def main() -> None:
    """Search and run, and keep what is found after each run."""
    torch.set_num_threads(1)
    settings = {
        "text": str(TinyShakespeare(context=SIZE.context)),
        "model": str(SIZE),
        "steps": STEPS,
        "batch": BATCH,
        "blocks judged": JUDGED,
        "clip": CLIP,
        "learning rates": list(RATES),
        "seed of the search": SEARCHED,
    }
    fields = "learning rate", "validation loss in the search [nats]", "of the teacher [nats]"
    made = continued(KEPT, "make evidence-spad", settings, *fields, "validation loss [nats]", "curves", "seconds")
    for name in sorted({variant.searched_as for variant in VARIANTS.values()}):
        searched = made["validation loss in the search [nats]"].setdefault(name, {})
        for rate in RATES:
            if str(rate) not in searched:
                searched[str(rate)] = student(VARIANTS[name], SEARCHED, rate, shakespeare())[str(STEPS)]
                print(name, rate, searched[str(rate)], flush=True)
                write_json(KEPT, made)
        made["learning rate"][name] = min(RATES, key=lambda rate: searched[str(rate)])
    for seed in range(SEEDS):
        made["of the teacher [nats]"][str(seed)] = teacher(seed, shakespeare())[1]
        for name, variant in VARIANTS.items():
            found = made["validation loss [nats]"].setdefault(name, [])
            if len(found) == seed:
                begun = time.perf_counter()
                curve = student(variant, seed, made["learning rate"][variant.searched_as], shakespeare())
                found.append(curve[str(round(variant.share * STEPS))])
                made["curves"].setdefault(name, []).append(curve)
                made["seconds"].setdefault(name, []).append(round(time.perf_counter() - begun, 1))
                print(seed, name, found[-1], flush=True)
                write_json(KEPT, made)
    made["differences [nats]"] = differences(made["validation loss [nats]"])
    made["claims"] = verdicts(made["differences [nats]"])
    write_json(KEPT, made)
    print(*made["differences [nats]"].items(), *made["claims"].items(), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
