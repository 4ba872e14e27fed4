"""Answers at each step travel through runs, comparisons, tables, tuning and reports; so do classes of trials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from sandbox.cli import main
from sandbox.cli.options import OK
from sandbox.comparisons.comparison import Comparison, compare, format_table
from sandbox.comparisons.grid import Grid
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.reading import from_dict
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.report import write_report
from sandbox.tuning.tuning import Tuning, tune

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
CURVES = Choice("pattern_generation", {"steps": 12, "train": 4, "outputs": 2})
TRIALS = Choice(
    "cue_accumulation",
    {
        "cues": 1,
        "cue": 5,
        "interval": 5,
        "wait": 6,
        "recall": 3,
        "rate": 500.0,
        "train": 20,
        "validation": 8,
        "test": 8,
    },
)
SHORT = [
    *("--encoder.name", "as_recorded", "--network.hidden", "[5r]", "--epochs", "1", "--batch_size", "2", "--json"),
]


def experiment(task):
    return Experiment(task, Choice("as_recorded"), network=NetworkConfig(hidden=["5r"]), epochs=1, batch_size=4)


def test_curves_from_the_command_line(tmp_path, capsys):
    task = yaml.safe_dump({"name": CURVES.name, "options": CURVES.options}, default_flow_style=True)
    words = ["run", "--task", task, *SHORT, "--rule.objective.name", "mse", "--out", str(tmp_path)]
    assert main(words) == OK
    result = json.loads(capsys.readouterr().out)
    assert {"r2", "rmse", "loss"} <= result["test"].keys()
    assert not any(name.startswith("r2_at_") for name in result["test"])  # answers of steps are no latency


@pytest.mark.parametrize(
    ("task", "measure"), [(CURVES, "r2"), pytest.param(TRIALS, "accuracy", marks=pytest.mark.slow)]
)
def test_a_comparison_its_table_and_its_report(task, measure, tmp_path):
    rules = ["bptt", RuleConfig("bptt", {"window": 1}, label="window 1"), "readout_only"]
    found = compare(Comparison(experiment(task), rules, seeds=2), tmp_path / "c", jobs=1)
    assert (found["measure"], len(found["rows"])) == (measure, 3)
    assert found["linear"] is not None
    assert "window 1" in format_table(found)
    assert "window 1" in write_report(tmp_path / "c").html.read_text()


@pytest.mark.slow
def test_tuning_selects_curves_by_r2(tmp_path):
    plan = Tuning(Grid([Comparison(experiment(CURVES), ["readout_only"], seeds=1)]), trials=2, searches=1)
    found = tune(plan, tmp_path / "t", jobs=1)
    assert "r2" in json.dumps(found)


@pytest.mark.parametrize("path", [*EXPERIMENTS.glob("memory/*.yaml"), *EXPERIMENTS.glob("published/*.yaml")], ids=str)
def test_configurations_are_valid(path):
    plan = from_dict(Comparison, yaml.safe_load(path.read_text()))
    for runs in plan.experiments().values():
        runs[0].check()


def test_every_measured_gap_has_its_configuration():
    found = json.loads((EXPERIMENTS / "results" / "memory" / "memory.json").read_text())
    assert set(found) == {path.stem for path in EXPERIMENTS.glob("memory/*.yaml")}
    for one in found.values():
        low, high = one["gap"]["low"], one["gap"]["high"]
        verdict = "credit through time" if low > 0 else "worse through time" if high < 0 else "within noise"
        assert one["verdict"] == verdict
        assert one["seeds"] >= 5
