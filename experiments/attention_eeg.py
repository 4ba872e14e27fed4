"""S2M-Former with two views of simulated attention, beside one view and no fusion; writes results/attention_eeg/.

python experiments/attention_eeg.py               # or `make evidence-attention`; goes on where it was stopped
python experiments/attention_eeg.py longer        # each variant once, for more epochs, into longer.json

Three paired seeds, each of data and of weights. Does the model of both views beat that of the better single view by
five points, and does it lose without SGCM and MPTM? The model is "tiny", the spatial view has eight components, and
runs are short, for one core. The learning rate of each variant is the best of three on validation windows, with a seed
that is not used again. The level of responses in the task was chosen by linear models of both views, before these runs.
"""

from __future__ import annotations

import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from provenance import continued, gap
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rules
from sandbox.machine.files import read_json, write_json
from sandbox.networks.models import s2m_former
from sandbox.networks.parts import Stack
from sandbox.tasks.attention_eeg import AttentionEEG
from sandbox.tasks.base import Dataset
from sandbox.tasks.encode import Constant
from sandbox.tasks.loader import Loader

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results" / "attention_eeg" / "evidence.json"
LONGER = KEPT.with_name("longer.json")
SEEDS, SEARCHED, RATES = 3, 100, (0.003, 0.01, 0.03)
EPOCHS, SEARCH_EPOCHS, MORE_EPOCHS, BATCH, STEPS = 5, 2, 12, 32, 4
TASK: dict[str, Any] = {"components": 8, "train": 40}
SHAPES = {"spatial": (8, 128), "frequency": (5, 32, 32)}
CLAIMED = 5.0  # points by which both views are to beat the better one


class Variant(NamedTuple):
    """A model: its branches, and whether they are fused."""

    branches: tuple[str, ...]
    fusion: bool = True

    @property
    def view(self) -> str:
        """Of the task."""
        return self.branches[0] if len(self.branches) == 1 else "both"


VARIANTS = {
    "both views": Variant(("spatial", "frequency")),
    "spatial view": Variant(("spatial",)),
    "frequency view": Variant(("frequency",)),
    "both views, no fusion": Variant(("spatial", "frequency"), fusion=False),
}


@lru_cache(maxsize=4)
def data(view: str, seed: int) -> Dataset:
    """Return the windows of a seed in a view."""
    return AttentionEEG(**TASK, view=view, seed=seed).load()  # type: ignore[arg-type]


def built(name: str, seed: int) -> Stack:
    """Return a model."""
    variant = VARIANTS[name]
    shapes = tuple(SHAPES[branch] for branch in variant.branches)
    given = shapes if len(shapes) > 1 else shapes[0]
    return s2m_former(given, 2, "tiny", branches=variant.branches, fusion=variant.fusion, seed=seed)


def accuracy(name: str, seed: int, rate: float, epochs: int, part: str = "test") -> float:
    """Return the accuracy [%] on a split after some epochs of BPTT."""
    found = data(VARIANTS[name].view, seed)
    loader = Loader(found.train, Constant(STEPS), BATCH, seed=seed)
    rule = rules.compose("ce_mean", "bptt", "adam", plasticity_options={"lr": rate})
    schedule = rules.Cosine(epochs * len(loader))
    trainer = rules.Trainer(built(name, seed), rule, seed=seed, schedule=schedule, health=None)
    for _ in trainer.fit(loader, epochs):
        pass
    tested = Loader(getattr(found, part), Constant(STEPS), 100, shuffle=False, purpose="test")
    return round(100 * trainer.evaluate(tested)["accuracy"], 2)


def linear(seed: int) -> dict[str, float]:
    """Return test accuracies [%] of logistic regression on logarithms of variances, on maps, and on both."""
    seen = {}
    for view in SHAPES:
        parts = data(view, seed)
        x = [split.x.numpy() for split in (parts.train, parts.test)]
        seen[view] = [np.log(each.var(-1)).reshape(len(each), -1) if view == "spatial" else flat(each) for each in x]
    seen["both"] = [np.concatenate(each, 1) for each in zip(seen["spatial"], seen["frequency"], strict=True)]
    y = [split.y.numpy() for split in (parts.train, parts.test)]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    return {view: round(100 * model.fit(a, y[0]).score(b, y[1]), 2) for view, (a, b) in seen.items()}


def flat(x: Any) -> Any:
    """Return maps in a row, every second place of them."""
    return x[:, :, ::2, ::2].reshape(len(x), -1)


def started() -> dict[str, Any]:
    """Return what an earlier run of these settings found, or an empty record."""
    settings = {
        "task": f"{AttentionEEG(**TASK)}",
        "size": "tiny",
        "epochs": EPOCHS,
        "epochs of the search": SEARCH_EPOCHS,
        "batch": BATCH,
        "steps": STEPS,
        "learning rates": list(RATES),
        "seed of the search": SEARCHED,
    }
    fields = "validation accuracy in the search [%]", "learning rate", "test accuracy [%]", "logistic regression [%]"
    made = continued(KEPT, "make evidence-attention", settings, *fields)
    made["parameters"] = {name: sum(p.numel() for p in built(name, 0).parameters()) for name in VARIANTS}
    made.setdefault("seconds of a core", 0.0)
    return made


def differences(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return paired differences [points] between both views and each other variant, with intervals of 95 %."""
    whole = found["both views"]
    others = {name: values for name, values in found.items() if name != "both views"}
    others["the better single view"] = [
        max(each) for each in zip(found["spatial view"], found["frequency view"], strict=True)
    ]
    return {f"both views - {name}": gap(whole, values) for name, values in others.items()}


def verdicts(gaps: dict[str, Any]) -> dict[str, bool]:
    """Return what is claimed, and whether it holds on average."""
    better, apart = gaps["both views - the better single view"], gaps["both views - both views, no fusion"]
    return {
        f"both views beat the better one by {CLAIMED:g} points": better["mean"] >= CLAIMED,
        "both views lose without SGCM and MPTM": apart["mean"] > 0,
    }


def longer() -> None:
    """Run each variant with seed 0 for more epochs at the learning rate that was found, and save."""
    rates = read_json(KEPT)["learning rate"]
    known = read_json(LONGER) if LONGER.exists() else {}
    found = known["test accuracy [%]"] if known.get("epochs") == MORE_EPOCHS else {}
    for name in VARIANTS:
        if name not in found:
            found[name] = accuracy(name, 0, rates[name], MORE_EPOCHS)
            print(name, found[name], file=sys.stderr, flush=True)
        command = "python experiments/attention_eeg.py longer"
        write_json(LONGER, {"command": command, "epochs": MORE_EPOCHS, "seed": 0, "test accuracy [%]": found})


def main() -> None:
    """Search, run and save, a run at a time."""
    made = started()
    begun, before = time.process_time(), made["seconds of a core"]

    def save() -> None:
        made["seconds of a core"] = round(before + time.process_time() - begun, 1)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        write_json(KEPT, made)

    for name in VARIANTS:
        searched = made["validation accuracy in the search [%]"].setdefault(name, {})
        for rate in RATES:
            if str(rate) not in searched:
                searched[str(rate)] = accuracy(name, SEARCHED, rate, SEARCH_EPOCHS, "validation")
                print(name, rate, searched[str(rate)], file=sys.stderr, flush=True)
                save()
        made["learning rate"][name] = max(RATES, key=lambda rate: searched[str(rate)])
    for seed in range(SEEDS):
        for name in VARIANTS:
            known = made["test accuracy [%]"].setdefault(name, [])
            if len(known) == seed:
                known.append(accuracy(name, seed, made["learning rate"][name], EPOCHS))
                print(name, seed, known[-1], file=sys.stderr, flush=True)
                save()
        made["logistic regression [%]"].setdefault(str(seed), linear(seed))
    made["differences [points]"] = differences(made["test accuracy [%]"])
    made["claims"] = verdicts(made["differences [points]"])
    save()


if __name__ == "__main__":
    torch.set_num_threads(1)
    longer() if sys.argv[1:] == ["longer"] else main()
