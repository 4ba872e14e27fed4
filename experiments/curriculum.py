"""A curriculum over time steps beside training at few steps from scratch; writes results/curriculum/curriculum.json.

python experiments/curriculum.py                         # or `make evidence-curriculum`; CI has a reduced run

`curricula/fsdd.yaml` over paired seeds: a small SpikeSCR on spoken digits at 40, 20 and 16 steps. The last stage is
compared with the same network at 16 steps (40 % of those of the first) that learns from scratch for as many epochs as
that stage, or as all stages together, and with one that begins with the same weights and has no teacher. All keep the
epoch that was best on validation data. Nothing is tuned; weight and temperature of the teacher are the authors'.
Runs are kept in `runs/evidence`, so that the script goes on where it was stopped.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from provenance import origin

from sandbox.config.curriculum import Curriculum
from sandbox.config.experiment import Experiment
from sandbox.config.parent import Parent
from sandbox.config.reading import from_dict
from sandbox.machine.files import write_json
from sandbox.runs.curriculum import run_curriculum
from sandbox.runs.inherited import resolved
from sandbox.runs.run import run
from sandbox.statistics import interval

HERE = Path(__file__).parent
RUNS = Path("runs") / "evidence"
EPOCHS, SEEDS = 4, 5
SHOWN = ("steps", "test", "validation", "sops", "operations")  # of a stage
KEPT = HERE / "results" / "curriculum" / "curriculum.json"
COMPARED = {  # a minus b
    "curriculum over scratch, epochs of the last stage": ("curriculum", "scratch, epochs of the last stage"),
    "curriculum over scratch, epochs of all stages": ("curriculum", "scratch, epochs of all stages"),
    "curriculum over the same weights without a teacher": ("curriculum", "same weights, no teacher"),
    "curriculum at few steps over its first stage at many": ("curriculum", "first stage, many steps"),
}


def plan(seed: int, epochs: int = EPOCHS) -> Curriculum:
    """Return the curriculum of a seed."""
    made: Curriculum = from_dict(Curriculum, yaml.safe_load((HERE / "curricula" / "fsdd.yaml").read_text()))
    return replace(made, experiment=replace(made.experiment, seed=seed, epochs=epochs))


def ran(experiment: Experiment, folder: Path) -> float:
    """Return the test accuracy of an experiment [%], which is run unless it is finished."""
    experiment = resolved(experiment)
    return 100 * float(run(experiment, folder / experiment.identity, indexed=False)["test"]["accuracy"])


def one(made: Curriculum, folder: Path) -> dict[str, Any]:
    """Return the test accuracies of a seed [%], and what the stages need."""
    chain = folder / made.identity
    found = run_curriculum(made, chain)
    stages, last = found["stages"], len(made.stages) - 1
    scratch = made.stage(last, None)
    before = Parent(str(chain / stages[-2]["folder"]), "weights")
    return {
        "curriculum": 100 * stages[-1]["test"],
        "first stage, many steps": 100 * stages[0]["test"],
        "scratch, epochs of the last stage": ran(scratch, folder),
        "scratch, epochs of all stages": ran(replace(scratch, epochs=len(made.stages) * scratch.epochs), folder),
        "same weights, no teacher": ran(made.stage(last, before), folder),
        "fewer": found["fewer"],
        "stages": [{name: row[name] for name in SHOWN} for row in stages],
    }


def differences(found: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return means of paired differences in points, with Student's 95 % interval."""
    gaps = {name: [seed[a] - seed[b] for seed in found] for name, (a, b) in COMPARED.items()}
    return {name: {k: round(v, 3) for k, v in interval(each)._asdict().items()} for name, each in gaps.items()}


def main() -> int:
    torch.set_num_threads(1)
    begun = origin("make evidence-curriculum")
    began, found = time.perf_counter(), list[dict[str, Any]]()
    for seed in range(SEEDS):
        found.append(one(plan(seed), RUNS / "curriculum"))
        said = (f"{name}: {value:.2f} %" for name, value in found[-1].items() if isinstance(value, float))
        print(f"seed {seed}", *said, sep="\n  ", flush=True)
        made = {
            **begun,
            "minutes": round((time.perf_counter() - began) / 60, 1),
            "epochs of a stage": EPOCHS,
            "test accuracy [%], and what the stages need, seed by seed": found,
            "differences [points]": differences(found) if len(found) > 1 else {},
        }
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        write_json(KEPT, made)  # with the seeds so far
    for name, each in made["differences [points]"].items():
        print(f"{name:55} {each['mean']:6.2f} [{each['low']:.2f}, {each['high']:.2f}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
