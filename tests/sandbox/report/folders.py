"""Finished folders of a grid and of a tuning, without learning anything."""

from __future__ import annotations

from dataclasses import asdict

from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid
from sandbox.comparisons.ranking import make_overall
from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.machine import files
from sandbox.runs import folder as folders
from sandbox.tuning.tuning import Tuning

RULES = ("bptt", "spsa", "readout_only")
GRID = Grid([Comparison(Experiment(task=Choice(name)), list(RULES), seeds=2) for name in ("yinyang", "digits")])
MADE = {"python": "3.11.2", "versions": {"torch": "2.13.0"}}


def table(task):
    """A table with everything that a ranking reads."""
    cost = dict.fromkeys(("forwards", "backwards", "layer_evaluations", "synaptic_operations"), 3.0)
    rows = [
        {
            "rule": rule,
            "seeds": 2,
            "accuracies": [50.0 + number, 52.0 + number],
            "accuracy": [51.0 + number, 40.0, 60.0],
            "validation": [51.0 + number, 40.0, 60.0],
            "over_baseline": None if rule == "readout_only" else [1.0, None, None],
            "verdict": None if rule == "readout_only" else "above readout_only",
            "area": None,
            "parameters_trained": 9,
            "cost": cost,
            "health": [],
        }
        for number, rule in enumerate(RULES)
    ]
    return {
        "task": task,
        "baseline": "readout_only",
        "linear": None,
        "chance": 10.0,
        "measure": "accuracy",
        "rows": rows,
    }


def write_grid(folder, grid=GRID):
    """A finished grid; returns its ranking."""
    folder.mkdir()
    folders.write_config(folder, "grid", asdict(grid))
    overall = make_overall({each.identity: table(each.experiment.task.name) for each in grid.comparisons})
    files.write_json(folder / "overall.json", overall)
    files.write_json(folder / "provenance.json", MADE)
    return overall


def write_tuning(folder, grid=GRID):
    """A finished tuning of three trials; returns its facts."""
    folder.mkdir()
    folders.write_config(folder, "tuning", asdict(Tuning(grid, 3)))
    trials = [{"options": {"lr": 0.1 * n, "kind": "x"}, "validation": 50.0 + n} for n in range(3)]
    study = {"trials": trials, "best": {"trial": 2, **trials[2]}, "best_so_far": [50.0, 51.0, 52.0]}
    facts = {
        "budget": {"trials": 3, "seeds": 1, "first_seed": 1000, "random": 4},
        "tasks": {each.identity: each.experiment.task.name for each in grid.comparisons},
        "unfit": {},
        "studies": {f"{each.identity}/{rule}": study for each in grid.comparisons for rule in RULES},
    }
    files.write_json(folder / "tuning.json", facts)
    files.write_json(folder / "provenance.json", MADE)
    return facts
