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


def write_tuning(folder, grid=GRID, earlier=False):
    """A finished tuning of two searches of three trials, or of one as earlier versions wrote it; returns its facts."""
    folder.mkdir()
    folders.write_config(folder, "tuning", asdict(Tuning(grid, 3, searches=1 if earlier else 2)))
    names = [f"{each.identity}/{rule}" for each in grid.comparisons for rule in RULES]
    budget = {"trials": 3, "seeds": 1, "first_seed": 1000, "random": 4}
    facts = {
        "budget": budget if earlier else {**budget, "searches": 2, "sampler": "tpe"},
        "tasks": {each.identity: each.experiment.task.name for each in grid.comparisons},
        "unfit": {},
        "studies": {name: trials() for name in names}
        if earlier
        else {f"{name}/{search}": searched(search) for name in names for search in range(2)},
    }
    files.write_json(folder / "tuning.json", facts)
    files.write_json(folder / "provenance.json", MADE)
    return facts


def trials(**more):
    """The trials of a search, the last of which is the best."""
    found = [{"options": {"lr": 0.1 * n, "kind": "x"}, "validation": 50.0 + n, **more} for n in range(3)]
    return {"trials": found, "best": {"trial": 2, **found[2]}, "best_so_far": [50.0, 51.0, 52.0]}


def searched(search):
    """A search whose trials say what they cost, and which ended near the end of a range."""
    where = {"within": {"lr": [0.01, 0.2], "kind": ["x", "y"]}, "grown": [], "at_end": ["lr"]}
    return {"search": search, **where, **trials(operations=1000 * (search + 1), forwards=10)}
