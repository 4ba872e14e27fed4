"""The big grid: every rule that fits on six tasks, each tuned anew for every seed, under two optimizers.

python experiments/paper.py tune [TASK ...]    # settings into results/paper/TASK/; about 15 minutes a task
python experiments/paper.py grid               # the presets paper and quick from these, the runs, tables and figures

Both continue where they were stopped. Each seed is a replicate of the whole procedure: a search of its own, on a
validation set of its own, and then a run. `bptt again` is `bptt` tuned once more: their difference is the resolution.
"""

from __future__ import annotations

import shutil
import time
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from evidence import HERE, RUNS, grid, keep

from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import PRESETS, Grid
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import read_json, write_atomically, write_json
from sandbox.machine.plain_yaml import dump_yaml, read_yaml
from sandbox.tuning.tuning import Tuning, tune

KEPT = HERE / "results" / "paper"
SEEDS = 13  # of a rule; as many searches
TRIALS = 4  # of a search
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
}
PLAIN = {"optimizer": "sgd", "momentum": 0.0}  # for feedback that follows the weights
GRID = HERE / "grid"
TASKS = ("yinyang", "mnist1d", "randman", "store_recall", "sequential_mnist", "nmnist_small")  # files in GRID

LAYERED = {"times": "shared"}  # probes of all steps at once
DEVICES = ("binary_stochastic", "binary_stochastic_ideal", "bptt_on_memristor")  # which bring their own plasticity
RULES: dict[str, tuple[str, dict[str, Any]]] = {  # flat rules take about as many forward passes a step, 16
    "bptt": ("bptt", {}),
    "bptt again": ("bptt", {}),
    "bptt window 1": ("bptt", {"window": 1}),
    **{name: (name, {}) for name in ("tet", "tcl", "stcl", "supcon_per_step", *DEVICES)},
    **{name: (name, LAYERED) for name in ("hzo", "layerwise_zo", "sequential_local")},
    "spsa": ("spsa", {"draws": 8}),
    "node_perturbation": ("node_perturbation", {"draws": 8, "noise": "float32"}),
    "forward_gradient": ("forward_gradient", {"draws": 4}),
    "coordinate_wise": ("coordinate_wise", {}),
    "evolution_strategy": ("evolution_strategy", {"population": 16}),
    **{name: (name, {}) for name in ("fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "weight_mirror")},
    **{name: (name, {}) for name in ("kolen_pollack", "snap1", "uoro", "eprop", "ostl", "otpe", "ottt", "sltt")},
    **{name: (name, {}) for name in ("decolle", "three_factor", "readout_only")},
}
QUICK_TASKS = ("yinyang", "randman", "store_recall")
QUICK_RULES = ("bptt", "bptt again", "bptt window 1", "eprop", "dfa", "hzo", "node_perturbation", "readout_only")
HEADS = {
    "paper": "Every rule that fits on six tasks, thirteen seeds, each with settings from a search of its own.",
    "quick": "Eight rows of the grid `paper` on three of its tasks, with the same settings and seeds.",
}


def planned(task: str) -> Comparison:
    """Return the comparison on a task before tuning: each rule under each optimizer, where it has one."""
    experiment: Experiment = from_dict(Experiment, read_yaml(GRID / f"{task}.yaml"))
    return Comparison(experiment, list(rules()), SEEDS)


def rules() -> Iterable[RuleConfig]:
    """Yield every rule of the grid."""
    for label, (name, options) in RULES.items():
        called = None if label == name else label
        if name in DEVICES:
            bits = Choice("stochastic_binary") if name.startswith("binary") else None
            yield RuleConfig(name, dict(options), readout=bits, label=called)
        else:
            for variant, optimizer in OPTIMIZERS.items():
                given = PLAIN if (name, variant) == ("kolen_pollack", "sgd") else optimizer
                yield RuleConfig(name, {**options, **given}, variant=variant, label=called)


def tuned(task: str, jobs: int) -> None:
    """Tune all rules on a task, and keep settings and trials."""
    begun = time.perf_counter()
    tuning = Tuning(Grid([planned(task)], f"paper-{task}"), TRIALS, searches=SEEDS)
    folder = RUNS / tuning.identity
    tune(tuning, folder, jobs=jobs, skip_unfit=True)
    minutes = (time.perf_counter() - begun) / 60
    place = KEPT / task
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "tuned.yaml", place)
    shutil.copy(folder / "tuning.json", place)
    made = read_json(folder / "provenance.json")
    command = f"python experiments/paper.py tune {task}"
    write_json(place / "tuning_provenance.json", {"command": command, "minutes": round(minutes, 1), **made})
    print(f"{task}: {minutes:.1f} minutes", flush=True)


def presets() -> None:
    """Write the presets `paper` and `quick` from the settings that were kept."""
    kept = {task: read_yaml(KEPT / task / "tuned.yaml") for task in TASKS}
    write_preset("paper", list(kept.values()))
    write_preset("quick", [only(kept[task], QUICK_RULES) for task in QUICK_TASKS])


def only(comparison: dict[str, Any], rows: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of a comparison with some of its rows."""
    return {**comparison, "rules": [rule for rule in comparison["rules"] if rule.get("label", rule["name"]) in rows]}


def write_preset(name: str, comparisons: list[dict[str, Any]]) -> None:
    """Write a grid that comes with the project."""
    head = (
        f"# {HEADS[name]}\n# Made by `python experiments/paper.py grid` from experiments/results/paper/*/tuned.yaml.\n"
    )
    body = dump_yaml({"name": name, "comparisons": comparisons}, default_flow_style=None, width=120)
    write_atomically(PRESETS / f"{name}.yaml", head + body)


def main() -> None:
    parser = ArgumentParser(description="tune, or run, the big grid")
    parser.add_argument("part", choices=("tune", "grid"))
    parser.add_argument("tasks", nargs="*", default=list(TASKS), help="to tune; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    given = parser.parse_args()
    if given.part == "tune":
        for task in given.tasks:
            tuned(task, given.jobs)
        return
    presets()
    begun = time.perf_counter()
    done = grid("paper")
    minutes = round((time.perf_counter() - begun) / 60, 1)
    for name, folder, text in done:
        kept = keep(name, folder, text, "python experiments/paper.py grid")
        made = read_json(kept / "provenance.json")
        write_json(kept / "provenance.json", {**made, "minutes_of_all": minutes})


if __name__ == "__main__":
    main()
