"""Attention with winners beside softmax and raw scores, on recall of values by their keys; writes results/recall/.

python experiments/recall.py 8           # pairs, or 16; `make evidence-recall` has both; goes on where it was stopped

Does a decoder whose attention lets winners take all look up as well as one with softmax, and better than one without
normalisation? Every kind has the same blocks, weights and steps. A pair of a key and its value is one token, so that
one layer can look a value up. The learning rate of each kind is the best of two, with a seed that is not used again.
Three paired seeds, and five at 16 pairs: two were added to all kinds because three left an interval open.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from provenance import continued, gap

import rules
from rules.objectives.labels import IGNORED
from sandbox.machine.files import write_json
from sandbox.networks.language import Size
from sandbox.networks.models.winner_take_all import wd_spikingformer

RESULTS = Path(__file__).parent / "results" / "recall"
KINDS = ("softmax", "wta", "top_k", "sparsemax", "raw")
SEARCHED, RATES = 100, (0.003, 0.01)
VALUES, BATCH = 8, 64


class Recall(NamedTuple):
    """So many pairs of so many keys, then keys that are asked for, to a length; steps of training, and seeds."""

    pairs: int
    keys: int
    length: int
    steps: int
    seeds: int

    @property
    def tokens(self) -> int:
        """Pairs and keys that there are."""
        return self.keys * VALUES + self.keys


TASKS = {"8": Recall(8, 16, 16, 1000, 3), "16": Recall(16, 16, 32, 800, 5)}


def sequences(task: Recall, count: int, dice: np.random.Generator) -> rules.Batch:
    """Draw sequences `[L, count]`: pairs of a key and a value, then keys, whose targets are their values."""
    x, y = np.zeros((task.length, count), dtype=np.int64), np.full((task.length, count), IGNORED)
    for sample in range(count):
        keys, values = dice.permutation(task.keys)[: task.pairs], dice.integers(VALUES, size=task.pairs)
        asked = dice.integers(task.pairs, size=task.length - task.pairs)
        x[:, sample] = [*(keys * VALUES + values), *(task.keys * VALUES + keys[asked])]
        y[task.pairs :, sample] = values[asked]
    return rules.Batch(torch.tensor(x), targets=torch.tensor(y))


def accuracy(task: Recall, kind: str, seed: int, rate: float) -> float:
    """Return the accuracy [%] on new sequences after training with BPTT on sequences that follow the seed."""
    size = Size(depth=1, width=64, heads=4, ratio=2, context=task.length)
    model = wd_spikingformer((), task.tokens, size, attention=kind, seed=seed)  # type: ignore[arg-type]
    rule = rules.compose("ce_rate", "bptt", "adam", plasticity_options={"lr": rate})
    trainer = rules.Trainer(model, rule, seed=seed, schedule=rules.Cosine(task.steps), clip=1.0, health=None)
    dice = np.random.default_rng(seed)
    for _ in range(task.steps):
        trainer.step(sequences(task, BATCH, dice))
    tested = sequences(task, 1000, np.random.default_rng([seed, 1]))
    return round(100 * trainer.evaluate([tested])["accuracy"], 2)


def differences(found: dict[str, list[float]]) -> dict[str, Any]:
    """Return paired differences from winner-take-all [points], each a mean with its interval of 95 %."""
    others = (kind for kind in KINDS if kind != "wta" and kind in found)
    return {f"wta - {kind}": gap(found["wta"], found[kind]) for kind in others}


def main(pairs: str) -> None:
    """Search and run every kind, and keep what is found after each run."""
    torch.set_num_threads(1)
    task, kept = TASKS[pairs], RESULTS / f"{pairs}_pairs.json"
    settings = {**task._asdict(), "values": VALUES, "batch": BATCH, "learning rates": list(RATES)}
    settings["seed of the search"] = SEARCHED
    del settings["seeds"]  # more of them add to what is kept
    fields = "accuracy in the search [%]", "learning rate", "test accuracy [%]", "seconds"
    made = continued(kept, "make evidence-recall", settings, *fields)
    kept.parent.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        searched = made["accuracy in the search [%]"].setdefault(kind, {})
        for rate in RATES:
            if str(rate) not in searched:
                searched[str(rate)] = accuracy(task, kind, SEARCHED, rate)
                write_json(kept, made)
        made["learning rate"][kind] = max(RATES, key=lambda rate: searched[str(rate)])
        found = made["test accuracy [%]"].setdefault(kind, [])
        while len(found) < task.seeds:
            begun = time.perf_counter()
            found.append(accuracy(task, kind, len(found), made["learning rate"][kind]))
            made["seconds"].setdefault(kind, []).append(round(time.perf_counter() - begun, 1))
            write_json(kept, made)
            print(kind, found, flush=True)
    made["differences [points]"] = differences(made["test accuracy [%]"])
    write_json(kept, made)
    print(*made["differences [points]"].items(), sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
