"""Finished runs without learning anything, and tables of them."""

from __future__ import annotations

from sandbox.comparisons.linear import Scale
from sandbox.comparisons.table import make_table
from sandbox.runs.finished import FinishedRun

COST = {"forwards": 3, "backwards": 0, "layer_evaluations": 3, "synaptic_operations": 400}


def run_of(label, seed, right, *, samples=1000, search=None, options=None, name=None, curve=(0.3, 0.5, 0.6)):
    """A run with `right` of its answers right; each epoch costs 200 operations."""
    share = {"accuracy": right / samples, "loss": 1.0, "samples": float(samples)}
    lines = [
        {"epoch": epoch, "validation_accuracy": height, "synaptic_operations": 200 * epoch}
        for epoch, height in enumerate(curve)
    ]
    result = {
        **dict.fromkeys(("test", "validation", "train"), share),
        "cost": COST,
        "health": [],
        "parameters_trained": 9,
    }
    rule = {"name": name or label, "options": options or {}, "label": None if name is None else label, "search": search}
    return FinishedRun(label, seed, lines, result, {}, 1, config={"seed": seed, "epochs": 2, "rule": rule})


def found(number, lr=0.1, at_end=(), **more):
    """The search of a run, as it is in its configuration."""
    return {
        "options": {"lr": lr, **more},
        "within": {"lr": [0.001, 1.0], **{name: [0.0, 0.9] for name in more}},
        "at_end": list(at_end),
        "trials": 10,
        "number": number,
    }


def table_of(runs, task="digits", **more):
    """The table of runs, by label."""
    return make_table(task, runs, Scale(60.0, 10.0, "accuracy"), **more)
