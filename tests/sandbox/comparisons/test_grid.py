"""Several tasks in one folder, one ranking over them, and presets that are complete and fit."""

from __future__ import annotations

import copy
import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml

from rules import RULES
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.admission import unfit
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid, grid_from, presets, read_grid, run_grid
from sandbox.comparisons.ranking import THRESHOLDS, format_overall, make_overall
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.report import write_report
from sandbox.runs import folder as folders
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.statistics import bootstrap, interquartile_mean
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import TINY

ONE = replace(TINY, epochs=1)
FAST = RuleConfig("bptt", {"lr": 0.1})
PAIR = Grid([Comparison(TINY, [FAST], seeds=2), Comparison(replace(ONE, task=Choice("digits")), [FAST], seeds=2)])


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A grid of two tasks."""
    folder = tmp_path_factory.mktemp("grid") / "g"
    return folder, run_grid(PAIR, folder)


@pytest.mark.slow
def test_one_folder_holds_every_task_and_one_index_every_run(ran):
    folder, overall = ran
    assert list(overall["tasks"].values()) == ["yinyang", "digits"]
    assert {row["folder"].split("/")[0] for row in index.rows(folder.parent)} == {"g"}
    assert [row["status"] for row in index.rows(folder.parent)] == ["done"] * 8
    before = (folder / "overall.json").read_bytes()
    run_grid(PAIR, folder)
    assert (folder / "overall.json").read_bytes() == before


@pytest.mark.slow
def test_its_report_has_a_profile_with_its_numbers(ran):
    folder, overall = ran
    for name in overall["tasks"]:
        write_report(folder / name)
    report = write_report(folder)
    assert [path.name for path in report.figures] == ["ranking.png", "profile.png"]
    rows = list(csv.DictReader((folder / "profile.csv").open()))
    assert len(rows) == 2 * len(THRESHOLDS)
    page = report.html.read_text()
    assert all(f'href="./{name}/report.html"' in page for name in overall["tasks"])
    assert "no intervals: 2 seeds" in page


def scored(accuracies: dict[str, list[float]], chance: float) -> dict:
    """A table as far as a ranking reads it."""
    rows = [
        {
            "rule": rule,
            "accuracies": found,
            "seeds": len(found),
            "area": None,
            "test_evaluations": 1,
            "accuracy": [float(np.mean(found)), None, None],
        }
        for rule, found in accuracies.items()
    ]
    return {"task": "t", "baseline": "readout_only", "chance": chance, "rows": rows}


EASY = {"ours": [90.0, 91.0, 95.0, 92.0], "readout_only": [80.0, 81.0, 79.0, 82.0]}
HARD = {"ours": [30.0, 32.0, 29.0, 31.0], "readout_only": [30.5, 28.0, 27.0, 26.5]}


def test_the_ranking_is_an_interquartile_mean_of_normalised_scores():
    overall = make_overall({"easy": scored(EASY, 10.0), "hard": scored(HARD, 25.0)})
    best = {"easy": np.mean(EASY["ours"]), "hard": np.mean(HARD["ours"])}
    for row in overall["rows"]:
        strata = [
            [100 * (a - chance) / (best[name] - chance) for a in table[row["rule"]]]
            for name, table, chance in (("easy", EASY, 10.0), ("hard", HARD, 25.0))
        ]
        assert row["score"] == pytest.approx(list(bootstrap(*strata, statistic=interquartile_mean)))
        shares = [np.mean(np.concatenate(strata) > threshold) for threshold in THRESHOLDS]
        assert [share[0] for share in row["profile"]] == pytest.approx(shares)
    assert [row["rule"] for row in overall["rows"]] == ["ours", "readout_only"]
    assert overall["rows"][0]["verdict"] == "above readout_only"  # eight pairs, of which one disagrees a little


def test_swapped_labels_change_the_ranking():
    swapped = {"ours": EASY["readout_only"], "readout_only": EASY["ours"]}
    overall = make_overall({"a": scored(swapped, 10.0), "b": scored(swapped, 10.0)})
    assert [row["rule"] for row in overall["rows"]] == ["readout_only", "ours"]
    assert overall["rows"][1]["verdict"] == "below readout_only"


def test_a_rule_that_is_not_on_every_task_is_not_ranked():
    more = {**copy.deepcopy(EASY), "there_alone": [99.0] * 4}
    overall = make_overall({"a": scored(more, 10.0), "b": scored(HARD, 25.0)})
    assert [row["rule"] for row in overall["rows"]] == ["ours", "readout_only"]
    assert "not ranked, since not on every task: there_alone" in format_overall(overall)


def test_tasks_at_chance_are_not_ranked():
    overall = make_overall({"a": scored(EASY, 95.0), "b": scored(EASY, 10.0)})
    assert overall["pairs"] == 4
    assert "left out of the ranking, since no rule is above chance: t" in format_overall(overall)
    with pytest.raises(ValueError, match="no rule is above chance on any task, so there is nothing to rank"):
        make_overall({"a": scored(EASY, 95.0)})


def test_what_does_not_fit_is_named_for_all_tasks_before_anything_runs(tmp_path):
    plans = [
        replace(c, rules=["bptt", "tests.sandbox.comparisons.test_comparison:impossible"]) for c in PAIR.comparisons
    ]
    with pytest.raises(ValueError, match=r"(?s)1 of 3 rules do not fit yinyang.*1 of 3 rules do not fit digits"):
        run_grid(Grid(plans), tmp_path / "g")
    assert not list(tmp_path.rglob("result.json"))


@pytest.mark.slow
def test_a_failed_run_leaves_the_other_tasks_their_tables(tmp_path):
    wild = Comparison(replace(TINY, epochs=20), [RuleConfig("bptt", {"lr": 3e37})], seeds=1)
    fine = Comparison(replace(ONE, task=Choice("digits")), ["bptt"], seeds=1)
    with pytest.raises(RunFailed, match="1 of 2 runs failed"):
        run_grid(Grid([wild, fine]), tmp_path / "g")
    assert (tmp_path / "g" / fine.identity / "table.json").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"comparisons": []}, r"comparisons=\[\]: give at least one"),
        ({"comparisons": [{"seeds": 1}, {"seeds": 1}]}, "a grid has the same comparison twice"),
        ({"comparison": [], "comparisons": []}, "unknown key of a grid 'comparison'; nearest: 'comparisons'"),
        ({"comparisons": [{"sedes": 1}]}, "nearest: 'seeds'"),
    ],
)
def test_misspelt_grids_are_answered(content, message):
    with pytest.raises(ValueError, match=message):
        grid_from(content)


LATER = {  # than the grid, which took 39 minutes; they are compared in experiments/feedback_mnist1d.yaml
    *("fa", "dfa", "sdfa", "drtp", "usf", "brsf", "frsf", "weight_mirror", "kolen_pollack"),
    *("rtrl", "snap1", "uoro", "eprop", "ostl", "otpe", "ottt", "sltt", "decolle", "three_factor"),
}


def test_the_paper_has_every_rule_of_its_time_on_four_tasks():
    grid = read_grid("paper")
    assert [c.experiment.task.name for c in grid.comparisons] == ["yinyang", "mnist1d", "digits", "mnist"]
    for comparison in grid.comparisons:
        assert set(comparison.experiments()) == set(RULES) - LATER
        assert comparison.seeds == 10
    assert set(presets()) == {"demo", "paper"}


@pytest.mark.parametrize("name", ["paper", "demo"])
def test_presets_hold_the_best_of_their_tuning(name):
    """Every rule on every task had the same number of trials, and has the settings of the best of them."""
    kept = files.read_json(ROOT / "experiments" / "results" / name / "tuning.json")
    best = {}
    for study, found in kept["studies"].items():
        assert len(found["trials"]) == kept["budget"]["trials"] == 10
        best[tuple(re.split("-|/", study)[1::2])] = found["best"]["options"]
    for comparison in read_grid(name).comparisons:
        for label, (first, *_) in comparison.experiments().items():
            tuned = best.pop((comparison.experiment.task.name, label))
            assert first.rule.options.items() >= tuned.items(), (comparison.experiment.task.name, label)
    assert not best


def test_every_rule_of_the_demo_takes_a_step():
    for comparison in read_grid("demo").comparisons:
        plans = {label: first for label, (first, *_) in comparison.experiments().items()}
        assert unfit(plans, comparison.experiment.make_task().load()) == {}


@pytest.mark.slow
def test_a_preset_is_named_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "mine.yaml"
    content = {
        "comparisons": [
            {
                "experiment": {"task": {"name": "yinyang", "options": {"train": 100}}, "epochs": 1},
                "rules": ["readout_only"],
                "seeds": 1,
            }
        ]
    }
    path.write_text(yaml.safe_dump(content))
    assert main(["compare", "--preset", str(path), "--out", str(tmp_path / "runs")]) == OK
    out = capsys.readouterr().out
    assert "all tasks" in out
    folder = next((tmp_path / "runs").glob("mine-*"))
    assert folders.kind_of(folder) == "grid"
    assert main(["resume", str(folder)]) == OK
    assert main(["compare", "--preset", "demo", "--seeds", "3", "--out", str(tmp_path)]) == BAD_INPUT
    assert "--preset demo brings its own settings: leave out the others" in capsys.readouterr().err
