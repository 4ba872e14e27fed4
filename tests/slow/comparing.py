"""The comparisons of `experiments/`, made small enough for CI."""

from __future__ import annotations

from dataclasses import replace

import yaml

from sandbox.comparisons.comparison import BASELINE, Comparison, compare, compared_runs, format_table
from sandbox.config.reading import from_dict
from sandbox.runs.finished import by_rule
from tests.conftest import ROOT


def plan(name, labels, seeds=3, task=None, **changes):
    """Some rules of a comparison, over so many seeds; `task` has further options of its task, `changes` of its runs.

    The baseline always runs; where it is not among the labels nobody asks how well, and it has one epoch.
    """
    whole = from_dict(Comparison, yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text()))
    idle = [replace(rule, epochs=1) for rule in whole.rules if rule.name == BASELINE and BASELINE not in labels]
    kept = [rule for rule in whole.rules if (rule.label or rule.name) in labels] + idle
    experiment = replace(whole.experiment, **changes)
    options = {**experiment.task.options, **(task or {})}
    experiment = replace(experiment, task=replace(experiment.task, options=options))
    return replace(whole, rules=kept, experiment=experiment, seeds=seeds)


def run(comparison, folder):
    """Run it, print its table, and return the finished runs by rule."""
    print("\n" + format_table(compare(comparison, folder, jobs=2)))
    return by_rule(compared_runs(folder))


def accuracies(runs):
    """Test accuracies in percent by rule, seed by seed."""
    return {rule: [100 * one.result["test"]["accuracy"] for one in found] for rule, found in runs.items()}
