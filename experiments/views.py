"""Three views of SpikCommander beside each alone, on spoken digits; writes results/views.json.

python experiments/views.py                 # or `make evidence-views`; goes on where it was stopped

Does attention with the local gate, the global gate and the value beat attention with one of them? And does the
feed-forward part with context (SCR-MLP) beat the same part whose depthwise convolution weighs one step, and sees no
neighbours in time? The model is "tiny", at 32 steps of 20 ms, for one core. The learning rate of each variant is the
best of two on validation data, with a seed that is not used again; five paired seeds, of weights and of batches. Tests
are on voices that were trained on, and, with the same rates, on a voice that is new, where accuracies are not as near
to 100 %. All variants hold the same modules; weights that a view alone leaves out have no gradient, and are not counted
as used.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch
from provenance import continued, gap

import rules
from sandbox.machine.files import write_json
from sandbox.networks.models import spikcommander
from sandbox.networks.models.spikcommander import SIZES
from sandbox.networks.parts import Stack
from sandbox.networks.temporal_gates import VIEWS
from sandbox.tasks.base import Dataset
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.fsdd import FSDD
from sandbox.tasks.loader import Loader

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results" / "views.json"
SEEDS, SEARCHED, RATES = 5, 100, (0.01, 0.03)
EPOCHS, BATCH = 12, 50
TASKS = {"known voices": FSDD(hop=20.0, steps=32), "new voices": FSDD(hop=20.0, steps=32, split="speakers")}
CHANNELS, CLASSES = 40, 10


class Variant(NamedTuple):
    """Views of attention, and the steps that the feed-forward part weighs."""

    views: tuple[str, ...] = VIEWS
    context: int = SIZES["tiny"].context


WHOLE = "three views"
VARIANTS = {
    WHOLE: Variant(),
    "local alone": Variant(("local",)),
    "global alone": Variant(("global",)),
    "value alone": Variant(("value",)),
    "three views, plain MLP": Variant(context=1),
}


@lru_cache(maxsize=2)
def data(voices: str) -> Dataset:
    """Return the recordings as spikes."""
    return TASKS[voices].load()


def built(name: str, seed: int) -> Stack:
    """Return a model."""
    views, context = VARIANTS[name]
    return spikcommander((CHANNELS,), CLASSES, replace(SIZES["tiny"], context=context), views=views, seed=seed)


def used(name: str) -> int:
    """Return the number of parameters in tensors that have a gradient other than zero."""
    model = built(name, 0)  # in training mode: statistics that are not learned yet would leave it silent
    x = (torch.rand(32, 20, CHANNELS, generator=torch.Generator().manual_seed(0)) < 0.15).float()
    model(x).output.softmax(-1)[..., ::2].sum().backward()
    return sum(p.numel() for p in model.parameters() if p.grad is not None and p.grad.any())


def accuracy(voices: str, name: str, seed: int, rate: float, part: str = "test", epochs: int = EPOCHS) -> float:
    """Return the accuracy [%] on a split after some epochs of BPTT."""
    loader = Loader(data(voices).train, AsRecorded(), BATCH, seed=seed)
    rule = rules.make("bptt", objective="kdcl", lr=rate)
    schedule = rules.Cosine(epochs * len(loader))
    trainer = rules.Trainer(built(name, seed), rule, seed=seed, schedule=schedule, health=None)
    for _ in trainer.fit(loader, epochs):
        pass
    tested = Loader(getattr(data(voices), part), AsRecorded(), 300, shuffle=False, purpose="test")
    return round(100 * trainer.evaluate(tested)["accuracy"], 2)


def started() -> dict[str, Any]:
    """Return what an earlier run of these settings found, or an empty record."""
    settings = {
        "tasks": {voices: asdict(task) for voices, task in TASKS.items()},
        "size": "tiny",
        "epochs": EPOCHS,
        "batch": BATCH,
        "learning rates": list(RATES),
        "seed of the search": SEARCHED,
    }
    fields = "validation accuracy in the search [%]", "learning rate", "test accuracy [%]"
    made = continued(KEPT, "make evidence-views", settings, *fields)
    made["parameters"] = {name: sum(p.numel() for p in built(name, 0).parameters()) for name in VARIANTS}
    made["parameters that are used"] = {name: used(name) for name in VARIANTS}
    made.setdefault("seconds of a core", 0.0)
    return made


def differences(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """Return paired differences [points] between the whole model and every other, with intervals of 95 %."""
    whole = found[WHOLE]
    others = {name: values for name, values in found.items() if name != WHOLE and len(values) == SEEDS}
    return {f"{WHOLE} - {name}": gap(whole, values) for name, values in others.items()}


def verdicts(gaps: dict[str, dict[str, float]]) -> dict[str, str]:
    """Return for every difference whether its interval is above zero, below it, or has it inside."""
    return {
        name: "ahead" if gap["low"] > 0 else "behind" if gap["high"] < 0 else "not told apart"
        for name, gap in gaps.items()
    }


def main() -> None:
    """Search, run and save, a run at a time."""
    torch.set_num_threads(1)
    made = started()
    begun, before = time.process_time(), made["seconds of a core"]

    def save(*said: object) -> None:
        found = made["test accuracy [%]"].items()
        made["differences [points]"] = {voices: differences(each) for voices, each in found}
        made["verdicts"] = {voices: verdicts(gaps) for voices, gaps in made["differences [points]"].items()}
        made["seconds of a core"] = round(before + time.process_time() - begun, 1)
        write_json(KEPT, made)
        print(*said, file=sys.stderr, flush=True)

    for name in VARIANTS:
        searched = made["validation accuracy in the search [%]"].setdefault(name, {})
        for rate in RATES:
            if str(rate) not in searched:
                searched[str(rate)] = accuracy("known voices", name, SEARCHED, rate, "validation")
                save(name, rate, searched[str(rate)])
        made["learning rate"][name] = max(RATES, key=lambda rate: searched[str(rate)])
    for voices, seed, name in product(TASKS, range(SEEDS), VARIANTS):
        known = made["test accuracy [%]"].setdefault(voices, {}).setdefault(name, [])
        if len(known) == seed:
            known.append(accuracy(voices, name, seed, made["learning rate"][name]))
            save(voices, name, seed, known[-1])
    save("finished")


if __name__ == "__main__":
    main()
