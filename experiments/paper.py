"""The grids that come as presets: every rule that fits on six tasks, and eight rows with more searches on three.

python experiments/paper.py tune [--grids GRID ...] [--tasks TASK ...]    # settings into results/GRID/TASK/, presets
python experiments/paper.py run [--grids GRID ...]                        # runs, tables, figures of the presets

GRID is paper or quick, both by default. Both commands continue where they were stopped. Each rule is tuned and run
under each optimizer. A replicate of the whole procedure is a search of tuning, on a validation set of its own, with the
seeds that learn by what it found. `bptt again` is `bptt` tuned once more: their difference is the resolution.
"""

from __future__ import annotations

import math
import shutil
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from evidence import HERE, RUNS, keep

from sandbox.comparisons.comparison import Comparison, format_table
from sandbox.comparisons.grid import PRESETS, Grid, read_grid, run_grid
from sandbox.comparisons.ranking import format_overall
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import read_json, write_atomically, write_json
from sandbox.machine.plain_yaml import dump_yaml, read_yaml
from sandbox.tuning.plan import Tuning
from sandbox.tuning.storage import SQLITE, opened
from sandbox.tuning.tuning import tune

FILES = HERE / "grid"  # what the runs of each task share
JOBS = 2  # processes of runs
TRIALS = 4  # of a search, one in each quarter of a range
COORDINATES = 4  # for 8 forward passes and one of the weights as they are
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "momentum": 0.9},
}
PLAIN = {"optimizer": "sgd", "momentum": 0.0}  # for feedback that follows the weights

LAYERED = {"times": "shared"}  # probes of all steps at once
ONE_BIT = {"binarise_input": False}
CONTRAST = ("tcl", "stcl", "supcon_per_step")  # every step of a sample with every other: left out for many steps
LEFT_OUT = {  # for their cost, many times that of any other rule of the task; what does not fit leaves itself out
    "randman": CONTRAST,
    "sequential_mnist": CONTRAST,
    "nmnist_small": ("uoro",),  # a trace of each of 90,000 weights and sample
}
DEVICES = ("binary_stochastic", "binary_stochastic_ideal", "bptt_on_memristor")  # which bring their own plasticity
ROWS: dict[str, tuple[str, dict[str, Any]]] = {  # flat rules take about as many forward passes a step, 8
    "bptt": ("bptt", {}),
    "bptt again": ("bptt", {}),
    "bptt window 1": ("bptt", {"window": 1}),
    **{name: (name, {}) for name in ("tet", "tcl", "stcl", "supcon_per_step", "bptt_on_memristor")},
    **{name: (name, ONE_BIT) for name in ("binary_stochastic", "binary_stochastic_ideal")},
    **{name: (name, LAYERED) for name in ("hzo", "layerwise_zo", "sequential_local")},
    "spsa": ("spsa", {"draws": 4}),
    "node_perturbation": ("node_perturbation", {"draws": 4, "noise": "float32"}),
    "forward_gradient": ("forward_gradient", {"draws": 2}),
    "coordinate_wise": ("coordinate_wise", {}),  # of COORDINATES weights a step
    "evolution_strategy": ("evolution_strategy", {"population": 8}),
    **{name: (name, {}) for name in ("fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "weight_mirror")},
    **{name: (name, {}) for name in ("kolen_pollack", "snap1", "uoro", "eprop", "ostl", "otpe", "ottt", "sltt")},
    **{name: (name, {}) for name in ("decolle", "three_factor", "readout_only")},
}


class Plan(NamedTuple):
    """A grid: its tasks, which are files in `FILES`, its rows, the searches of each rule, and seeds.

    The draws of a search depend on all that is known of a comparison when it is tuned, the number of seeds among it:
    `seeds` stay what they were, so that tuning can be repeated, and `runs` of them are run.
    """

    about: str
    tasks: tuple[str, ...]
    rows: tuple[str, ...]
    searches: int
    seeds: int
    runs: int


PLANS = {
    "paper": Plan(
        "Every rule that fits on six tasks, five searches of each under two optimizers, one seed for each search.",
        ("yinyang", "mnist1d", "randman", "store_recall", "sequential_mnist", "nmnist_small"),
        tuple(ROWS),
        5,
        10,
        5,
    ),
    "quick": Plan(
        "Eight rows on three tasks, thirteen searches of each under two optimizers, so that pairs can be told apart.",
        ("yinyang", "randman", "store_recall"),
        ("bptt", "bptt again", "bptt window 1", "eprop", "dfa", "hzo", "node_perturbation", "readout_only"),
        13,
        13,
        13,
    ),
}


def planned(name: str, task: str) -> Comparison:
    """Return the comparison of a grid on a task, before tuning."""
    plan = PLANS[name]
    experiment: Experiment = from_dict(Experiment, read_yaml(FILES / f"{task}.yaml"))
    return Comparison(experiment, list(rules(name, task, experiment)), plan.seeds)


def rules(grid_: str, task: str, experiment: Experiment) -> Iterator[RuleConfig]:
    """Yield the rules of a grid on a task, under each optimizer if they have one."""
    for row in PLANS[grid_].rows:
        if row in LEFT_OUT.get(task, ()):
            continue
        name, options = ROWS[row]
        if name == "coordinate_wise":
            options = {"sparsity": math.ceil(1e6 * (1 - COORDINATES / weights(experiment))) / 1e6}
        label = None if row == name else row
        if name in DEVICES:
            bits = Choice("stochastic_binary") if name.startswith("binary") else None
            yield RuleConfig(name, dict(options), readout=bits, label=label)
            continue
        for variant, optimizer in OPTIMIZERS.items():
            given = PLAIN if (name, variant) == ("kolen_pollack", "sgd") else optimizer
            yield RuleConfig(name, {**options, **given}, variant=variant, label=label)


def weights(experiment: Experiment) -> int:
    """Return the number of weights of the network."""
    data = experiment.load()
    return sum(each.numel() for each in experiment.network.make(data.shape, data.outputs, 0).parameters())


def tuned(name: str, task: str, jobs: int) -> None:
    """Tune all rules of a grid on a task, and keep settings and trials."""
    part = Grid([planned(name, task)], f"{name}-{task}")
    tuning = Tuning(part, TRIALS, searches=PLANS[name].searches, sampler="stratified")
    folder = RUNS / tuning.identity
    tune(tuning, folder, jobs=jobs, skip_unfit=True)
    minutes = round(spent(folder) / 60 / jobs, 1)
    place = HERE / "results" / name / task
    place.mkdir(parents=True, exist_ok=True)
    for file in ("tuned.yaml", "tuning.json"):
        shutil.copy(folder / file, place)
    command = f"python experiments/paper.py tune --grids {name} --tasks {task}"
    made = {"command": command, "minutes": minutes, **read_json(folder / "provenance.json")}
    write_json(place / "tuning_provenance.json", made)
    print(f"{name}, {task}: {minutes} minutes", flush=True)


def spent(folder: Path) -> float:
    """Return the seconds of all trials, whenever they were run."""
    kept = opened(SQLITE, folder)
    trials = (trial for study in kept.get_all_studies() for trial in kept.get_all_trials(study._study_id))
    return sum(trial.duration.total_seconds() for trial in trials if trial.duration)


def is_tuned(name: str) -> bool:
    """Tell whether the settings of every task of a grid were kept."""
    return all((HERE / "results" / name / task / "tuned.yaml").exists() for task in PLANS[name].tasks)


def preset(name: str) -> str:
    """Return the text of the preset of a grid, from the settings that were kept."""
    plan, kept = PLANS[name], HERE / "results" / name
    tuned_ = [{**read_yaml(kept / task / "tuned.yaml"), "seeds": plan.runs} for task in plan.tasks]
    content = {"name": name, "comparisons": tuned_}
    made = f"Made by `python experiments/paper.py tune --grids {name}` from experiments/results/{name}/*/tuned.yaml."
    return f"# {plan.about}\n# {made}\n{dump_yaml(content, default_flow_style=None, width=120)}"


def finished(name: str) -> list[tuple[str, Path, str]]:
    """Run a preset as `sandbox compare --preset` does; return the ranking, and each of its comparisons."""
    preset = read_grid(name)
    folder = RUNS / preset.identity
    overall = run_grid(preset, folder, jobs=JOBS)
    parts: dict[str, dict[str, Any]] = overall["tables"]
    tables = [(f"{name}/{table['task']}", folder / part, format_table(table)) for part, table in parts.items()]
    return [(name, folder, format_overall(overall)), *tables]


def run(name: str) -> None:
    """Run the preset of a grid, and keep what the pages quote."""
    for part, folder, text in finished(name):  # stored last, so that no run sees a revision with changed files
        kept = keep(part, folder, text, f"python experiments/paper.py run --grids {name}")
        seconds = sum(read_json(path)["seconds"] for path in folder.rglob("timing.json"))  # of runs, whenever they were
        minutes = round(seconds / 60 / JOBS, 1)
        write_json(kept / "provenance.json", {**read_json(kept / "provenance.json"), "minutes": minutes})


def main() -> None:
    parser = ArgumentParser(description="tune or run the grids that come as presets")
    parser.add_argument("what", choices=("tune", "run"))
    parser.add_argument("--grids", nargs="+", choices=[*PLANS], default=[*PLANS], help="both by default")
    parser.add_argument("--tasks", nargs="+", help="to tune; all by default")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes of tuning")
    given = parser.parse_args()
    for name in given.grids:
        if given.what == "run":
            run(name)
            continue
        for task in given.tasks or PLANS[name].tasks:
            tuned(name, task, given.jobs)
        if is_tuned(name):
            write_atomically(PRESETS / f"{name}.yaml", preset(name))


if __name__ == "__main__":
    main()
