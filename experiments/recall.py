"""Attention with winners beside softmax and raw scores, on recall of values by their keys; writes results/recall.json.

python experiments/recall.py                # or `make evidence-recall`; goes on where it was stopped

Does a decoder whose attention lets winners take all look up as well as one with softmax, and better than one without
normalisation? Every kind has the same blocks, weights and steps. A pair of a key and its value is one token, so that
one layer can look a value up. The learning rate of each kind is the best of two, with a seed that is not used again;
three paired seeds.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import rules
from rules.objectives.labels import IGNORED
from sandbox.machine.files import read_json, write_json
from sandbox.networks.language import Size
from sandbox.networks.models.winner_take_all import wd_spikingformer
from sandbox.statistics import paired

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "experiments" / "results" / "recall.json"
KINDS = ("softmax", "wta", "top_k", "sparsemax", "raw")
SEEDS, SEARCHED, RATES = 3, 100, (0.003, 0.01)
KEYS, VALUES, PAIRS, LENGTH, BATCH, STEPS = 16, 8, 8, 16, 64, 1000
TOKENS = KEYS * VALUES + KEYS
SIZE = Size(depth=1, width=64, heads=4, ratio=2, context=LENGTH)


def sequences(count: int, dice: np.random.Generator) -> rules.Batch:
    """Draw sequences `[L, count]`: pairs of a key and a value, then keys, whose targets are their values."""
    x, y = np.zeros((LENGTH, count), dtype=np.int64), np.full((LENGTH, count), IGNORED)
    for sample in range(count):
        keys, values = dice.permutation(KEYS)[:PAIRS], dice.integers(VALUES, size=PAIRS)
        asked = dice.integers(PAIRS, size=LENGTH - PAIRS)
        x[:, sample] = [*(keys * VALUES + values), *(KEYS * VALUES + keys[asked])]
        y[PAIRS:, sample] = values[asked]
    return rules.Batch(torch.tensor(x), targets=torch.tensor(y))


def accuracy(kind: str, seed: int, rate: float, steps: int = STEPS) -> float:
    """Return the accuracy [%] on new sequences after some steps of BPTT; training sequences follow the seed."""
    model = wd_spikingformer((), TOKENS, SIZE, attention=kind, seed=seed)  # type: ignore[arg-type]
    rule = rules.compose("ce_rate", "bptt", "adam", plasticity_options={"lr": rate})
    trainer = rules.Trainer(model, rule, seed=seed, schedule=rules.Cosine(steps), clip=1.0, health=None)
    dice = np.random.default_rng(seed)
    for _ in range(steps):
        trainer.step(sequences(BATCH, dice))
    return round(100 * trainer.evaluate([sequences(1000, np.random.default_rng([seed, 1]))])["accuracy"], 2)


def started() -> dict[str, Any]:
    """Return what an earlier run of these settings found, or an empty record."""
    revision = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    settings = {"keys": KEYS, "values": VALUES, "pairs": PAIRS, "length": LENGTH, "batch": BATCH, "steps": STEPS}
    made: dict[str, Any] = {
        "command": "make evidence-recall",
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, one thread",
        "settings": settings,
        "learning rates": list(RATES),
        "seed of the search": SEARCHED,
        "accuracy in the search [%]": {},
        "learning rate": {},
        "test accuracy [%]": {},
        "seconds": {},
    }
    if KEPT.exists() and (known := read_json(KEPT))["settings"] == settings:
        made = known
    made["revisions"] = sorted({*made.get("revisions", []), revision})
    return made


def differences(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return paired differences from winner-take-all [points], each a mean with its interval of 95 %."""
    made = {}
    for other in KINDS:
        if other != "wta" and len(found.get("wta", [])) == len(found.get(other, [])) == SEEDS:
            each = paired(found["wta"], found[other]).difference._asdict()
            made[f"wta - {other}"] = {key: round(value, 2) for key, value in each.items()}
    return made


def main() -> None:
    """Search and run every kind, and keep what is found after each run."""
    torch.set_num_threads(1)
    made = started()
    for kind in KINDS:
        searched = made["accuracy in the search [%]"].setdefault(kind, {})
        for rate in RATES:
            if str(rate) not in searched:
                searched[str(rate)] = accuracy(kind, SEARCHED, rate)
                write_json(KEPT, made)
        made["learning rate"][kind] = max(RATES, key=lambda rate: searched[str(rate)])
        found = made["test accuracy [%]"].setdefault(kind, [])
        while len(found) < SEEDS:
            begun = time.perf_counter()
            found.append(accuracy(kind, len(found), made["learning rate"][kind]))
            made["seconds"].setdefault(kind, []).append(round(time.perf_counter() - begun, 1))
            made["differences [points]"] = differences(made["test accuracy [%]"])
            write_json(KEPT, made)
            print(kind, found, flush=True)


if __name__ == "__main__":
    sys.exit(main())
