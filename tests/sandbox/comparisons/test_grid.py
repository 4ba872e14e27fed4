"""Several tasks in one folder, one ranking over them, and presets that are complete and fit."""

from __future__ import annotations

import copy
import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import yaml
from scipy import stats

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.admission import unfit
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid, grid_from, presets, read_grid, run_grid
from sandbox.comparisons.ranking import THRESHOLDS, format_overall, make_overall
from sandbox.comparisons.verdicts import sentences
from sandbox.comparisons.verify import _overall
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.report import write_report
from sandbox.report.grid import ranking_message
from sandbox.runs import folder as folders
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.runs.verify import FAILS, HOLDS
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


def test_where_no_rule_is_above_chance_there_is_no_ranking():
    """Eight unanimous seeds could tell; these are chance itself, within noise, and the mean of one is above it."""
    rng = np.random.default_rng(0)
    noise = {rule: list(rng.normal(10.2, 2.0, 8)) for rule in ("ours", "readout_only")}
    overall = make_overall({"a": scored(noise, 10.0)})
    assert overall["rows"] == []
    assert max(np.mean(values) for values in noise.values()) > 10.0
    assert format_overall(overall).splitlines() == [
        "no rule is above chance on any task, so there is no ranking",
        "left out of the ranking, since no rule is above chance: t (one-sided signed ranks over seeds, adjusted by "
        "Holm for all rules)",
    ]
    above = {"ours": [12.0 + n for n in range(8)], "readout_only": noise["readout_only"]}
    assert make_overall({"a": scored(above, 10.0)})["at_chance"] == []


def test_a_task_whose_chance_is_not_known_is_left_out():
    overall = make_overall({"a": {**scored(EASY, 10.0), "chance": None}, "b": {**scored(EASY, 10.0), "task": "u"}})
    assert list(overall["tasks"]) == ["b"]
    assert "left out of the ranking, since chance is not known: t" in format_overall(overall)


def searched(accuracies, searches):
    """A table whose seeds share so many searches."""
    table = scored(accuracies, 10.0)
    for row in table["rows"]:
        row["searches"] = [n % searches for n in range(row["seeds"])]
    return table


def test_a_ranking_is_over_searches_within_each_task():
    """Twelve seeds on each of two tasks, six searches each: twelve replicates, by hand."""
    rng = np.random.default_rng(1)
    values = [
        {"ours": list(rng.normal(80.0, 2.0, 12)), "readout_only": list(rng.normal(78.5, 2.0, 12))} for _ in range(2)
    ]
    overall = make_overall({str(n): searched(each, 6) for n, each in enumerate(values)})
    assert (overall["pairs"], overall["over"]) == (12, "searches")
    best = [max(map(np.mean, each.values())) for each in values]
    means = {
        rule: [
            np.reshape(100 * (np.array(each[rule]) - 10) / (top - 10), (2, 6)).mean(0)
            for each, top in zip(values, best)
        ]
        for rule in ("ours", "readout_only")
    }
    wanted = bootstrap(*means["ours"], statistic=interquartile_mean)
    assert overall["rows"][0]["score"] == pytest.approx(list(wanted))
    differences = np.concatenate(means["ours"]) - np.concatenate(means["readout_only"])
    assert overall["rows"][0]["p_adjusted"] == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)
    assert "interquartile mean over 2 tasks and their searches, 12 in all" in format_overall(overall)


def test_verdicts_of_tasks_stand_beside_that_of_all():
    tables = {"easy": scored(EASY, 10.0), "hard": {**scored(HARD, 25.0), "task": "u"}}
    for name, words in (("easy", "above readout_only"), ("hard", "not distinguishable from readout_only")):
        tables[name]["rows"][0]["verdict"] = words
    overall = make_overall(tables)
    assert overall["rows"][0]["verdicts"] == {
        "easy": "above readout_only",
        "hard": "not distinguishable from readout_only",
    }
    assert sentences(overall) == [
        "on t: ours is above readout_only",
        "on u: no rule is above readout_only; not distinguishable from it: ours",
        "on these 2 tasks together: ours is above readout_only; not above it on u: ours",
    ]
    assert all(sentence in format_overall(overall) for sentence in sentences(overall))
    assert ranking_message(overall) == "ours has the highest score on these 2 tasks; ours is above readout_only"


def test_rules_that_coincide_everywhere_have_one_rank():
    twice = {**EASY, "same": [value - 0.5 for value in EASY["ours"]]}
    table = scored(twice, 10.0)
    table["rows"][-1] |= {"coincides": "ours"}
    overall = make_overall({"a": table, "b": copy.deepcopy(table)})
    text = format_overall(overall).splitlines()
    assert text[2].startswith("1     ours = same")
    assert text[3].startswith("2     readout_only")


def test_tasks_judged_by_r2_are_ranked_from_zero():
    overall = make_overall({"a": {**scored(EASY, 0.0), "measure": "r2"}})
    assert "chance is 0 for R2 on t" in format_overall(overall)


NEW = ("over", "tests_of_chance", "without_chance")


@pytest.mark.parametrize("earlier", [False, True])
def test_a_ranking_follows_from_its_tables_whatever_their_order(tmp_path, earlier):
    """Files have their names in alphabetical order; an earlier version wrote less, and p less exactly."""
    tables = {"z": scored(EASY, 10.0), "a": scored(HARD, 25.0)}
    overall = make_overall(tables)
    if earlier:
        overall = {name: each for name, each in overall.items() if name not in NEW}
        kept = ("rule", "score", "profile", "verdict", "effect", "accuracies", "area")
        overall["rows"] = [{name: row[name] for name in kept} | {"p_adjusted": 0.011} for row in overall["rows"]]
    for name, table in tables.items():
        (tmp_path / name).mkdir()
        files.write_json(tmp_path / name / "table.json", table)
    files.write_json(tmp_path / "overall.json", overall)
    assert _overall(tmp_path)[0] == HOLDS
    overall["rows"][0]["score"][1] += 1.0
    files.write_json(tmp_path / "overall.json", overall)
    assert _overall(tmp_path)[0] == FAILS


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


def test_the_presets_are_these():
    assert set(presets()) == {"demo", "paper", "quick"}


def test_the_demo_holds_the_best_of_its_tuning():
    """Every rule on every task had the same number of trials, and has the settings of the best of them."""
    kept = files.read_json(ROOT / "experiments" / "results" / "demo" / "tuning.json")
    best = {}
    for study, found in kept["studies"].items():
        assert len(found["trials"]) == kept["budget"]["trials"] == 10
        best[tuple(re.split("-|/", study)[1::2])] = found["best"]["options"]
    for comparison in read_grid("demo").comparisons:
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
