"""Tuning spends the same budget on every rule, never looks at the test split, and finds the same however it is run."""

from __future__ import annotations

import csv
import html
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid, read_grid
from sandbox.config.experiment import RuleConfig
from sandbox.config.registry import Choice
from sandbox.report import write_report
from sandbox.report.tuning import means, place, title
from sandbox.runs import folder as folders
from sandbox.runs.run import run
from sandbox.tuning import study
from sandbox.tuning.storage import opened
from sandbox.tuning.study import FIRST_SEED, TUNED, Study, having, optuna_, tunable, validated
from sandbox.tuning.tuning import Tuning, as_yaml, tune, tuned
from tests.sandbox.runs.test_run import TINY, Stop

GUARDED = replace(TINY, task=replace(TINY.task, name="tests.guarded:Guarded"), epochs=1)
PLAN = Tuning(Grid([Comparison(GUARDED, ["bptt", RuleConfig("spsa", {"draws": 1})], seeds=1)]), trials=6)


def in_this_process(jobs, executor, progress, folder):
    for job in jobs:
        job.work(progress)
    return {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tuning that nothing interrupted."""
    folder = tmp_path_factory.mktemp("tuning") / "t"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
        return folder, tune(PLAN, folder)


def test_every_rule_has_the_budget_and_keeps_its_best(whole):
    _, facts = whole
    assert facts["budget"] == {"trials": 6, "seeds": 1, "first_seed": FIRST_SEED, "random": 4}
    names = [name.rpartition("/")[2] for name in facts["studies"]]
    assert names == ["bptt", "spsa", "readout_only"]
    for found in facts["studies"].values():
        heights = [trial["validation"] for trial in found["trials"]]
        assert len(heights) == 6
        assert found["best_so_far"] == [max(heights[: n + 1]) for n in range(6)]
        assert found["best"]["validation"] == max(heights)
        assert len({json.dumps(trial["options"]) for trial in found["trials"]}) == 6


def test_the_test_split_is_not_looked_at(whole, tmp_path):
    """The task of these tests raises whenever it is, and a run refuses it."""
    from sandbox.runs.run import run

    assert not list(whole[0].rglob("test.json"))
    with pytest.raises(ValueError, match="test: it is a Untouchable"):
        run(GUARDED, tmp_path / "r")


def test_trials_are_what_a_run_says_of_validation(whole):
    from sandbox.runs.run import run

    _, facts = whole
    first = next(iter(facts["studies"].values()))["trials"][0]
    plain = replace(GUARDED, task=replace(TINY.task), seed=FIRST_SEED, rule=RuleConfig("bptt", first["options"]))
    assert 100 * run(plain, whole[0].parent / "r")["validation"]["accuracy"] == first["validation"]


@pytest.mark.slow
def test_processes_do_not_change_what_is_found(whole, tmp_path):
    folder, _ = whole
    tune(PLAN, tmp_path / "t", jobs=2)
    assert (tmp_path / "t" / "tuning.json").read_bytes() == (folder / "tuning.json").read_bytes()
    assert (tmp_path / "t" / "tuned.yaml").read_bytes() == (folder / "tuned.yaml").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [1, 5])
def test_an_interrupted_trial_is_asked_for_again_and_counts_once(whole, tmp_path, monkeypatch, stop):
    """Cut short in a trial of each rule: what is found is what nothing interrupted."""
    folder, facts = whole
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    true, calls = study.validated, []

    def cut(experiment, data):
        calls.append(1)
        if len(calls) in (stop, stop + 5, stop + 11):
            raise Stop
        return true(experiment, data)

    monkeypatch.setattr(study, "validated", cut)
    for _ in range(3):
        with pytest.raises(Stop):
            tune(PLAN, tmp_path / "t")
    assert tune(PLAN, tmp_path / "t") == facts
    assert (tmp_path / "t" / "tuning.json").read_bytes() == (folder / "tuning.json").read_bytes()
    kept = opened("sqlite", tmp_path / "t")
    states = [t.state.name for s in kept.get_all_studies() for t in kept.get_all_trials(s._study_id)]
    assert (states.count("COMPLETE"), states.count("FAIL")) == (18, 3)


def test_a_finished_tuning_is_not_tuned_again(whole, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    monkeypatch.setattr(study, "validated", lambda *a: pytest.fail("tuned again"))
    assert tune(PLAN, whole[0]) == whole[1]


def test_tuned_settings_are_a_comparison_again(whole, tmp_path):
    folder, facts = whole
    (comparison,) = read_grid(str(folder / "tuned.yaml")).comparisons
    best = [found["best"]["options"] for found in facts["studies"].values()]
    assert [rule.options for rule in comparison.rules] == [best[0], {"draws": 1, **best[1]}, best[2]]
    assert comparison.experiment == GUARDED
    two = Tuning(Grid([*PLAN.grid.comparisons, Comparison(TINY, ["bptt"])], "pair"))
    found = {s.name: {"best": {"options": {"lr": 0.5}}} for s in two.studies(tmp_path)}
    (tmp_path / "two.yaml").write_text(as_yaml(tuned(two.grid, found), two))
    again = read_grid(str(tmp_path / "two.yaml"))
    assert again.name == "pair"
    assert all(rule.options["lr"] == 0.5 for comparison in again.comparisons for rule in comparison.rules)


def test_a_rule_with_another_plasticity_is_tuned_there():
    rule = RuleConfig("hzo", {"times": "shared"}, plasticity=Choice("adam", {"lr": 1.0}))
    found = having(rule, {"lr": 0.1, "momentum": 0.9})
    assert found.plasticity == Choice("adam", {"lr": 0.1})
    assert found.options == {"times": "shared"}


def test_a_rate_that_overflows_is_a_trial_like_any_other():
    wild = replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20)
    assert study.validated(wild, TINY.make_task().load()) == 0.0


def test_the_report_shows_budget_and_curves(whole):
    folder, facts = whole
    report = write_report(folder)
    assert [path.name for path in report.figures] == ["tuning.png"]
    rows = list(csv.DictReader((folder / "tuning.csv").open()))
    told = [trial["validation"] for _, found in sorted(facts["studies"].items()) for trial in found["trials"]]
    assert [float(row["validation_percent"]) for row in rows] == told
    assert "6 trials" in report.html.read_text()


def test_the_page_says_how_to_tune_again(whole, tmp_path):
    source = write_report(whole[0]).html.read_text()
    again = re.search(r"sandbox tune again\.yaml --trials (\d+) --seeds (\d+)</code>", source)
    shown = html.unescape(re.search(r"configuration</summary>\s*<pre><code>(.*?)</code>", source, re.S)[1])
    (tmp_path / "again.yaml").write_text(shown)
    assert Tuning(read_grid(str(tmp_path / "again.yaml")), *map(int, again.groups())).identity == PLAN.identity


@pytest.mark.slow
def test_the_command_line_tunes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    config = tmp_path / "c.yaml"
    config.write_text(as_yaml(PLAN.grid, PLAN))
    assert main(["tune", str(config), "--trials", "1", "--out", str(tmp_path), "--json"]) == OK
    facts = json.loads(capsys.readouterr().out)
    assert yaml.safe_load(Path(facts["tuned"]).read_text())["rules"][0]["name"] == "bptt"
    assert main(["resume", facts["folder"], "--json"]) == OK


@pytest.mark.slow
def test_the_command_line_names_what_it_leaves_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    (tmp_path / "c.yaml").write_text(as_yaml(UNFIT.grid, UNFIT))
    words = ["tune", str(tmp_path / "c.yaml"), "--trials", "1", "--out", str(tmp_path)]
    assert main(words) == BAD_INPUT
    assert "1 of 2 rules do not fit mnist1d" in capsys.readouterr().err
    assert main([*words, "--skip-unfit"]) == OK
    assert "/binary_stochastic: the input runs from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "papr"], "unknown preset 'papr'; nearest: 'paper'; valid: demo, paper, path/to/grid.yaml"),
        (["tune", "demo", "--trials", "0"], "trials=0: give a whole number, at least 1"),
        (["tune", "demo", "--jobs", "0"], "jobs=0: give the number of processes"),
    ],
)
def test_bad_input_is_answered(words, message, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path)]) == BAD_INPUT
    assert message in capsys.readouterr().err


UNFIT = Tuning(
    Grid([Comparison(replace(TINY, task=Choice("mnist1d"), epochs=1), ["binary_stochastic"], seeds=1)]), trials=1
)


@pytest.mark.slow
def test_rules_that_do_not_fit_are_left_out_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    with pytest.raises(ValueError, match="would run: readout_only; --skip-unfit runs only these"):
        tune(UNFIT, tmp_path / "t")
    assert not (tmp_path / "t" / "tuning.sqlite").exists()  # before anything ran
    facts = tune(UNFIT, tmp_path / "t", skip_unfit=True)
    (place,) = [comparison.identity for comparison in UNFIT.grid.comparisons]
    assert list(facts["studies"]) == [f"{place}/readout_only"]
    assert facts["unfit"][f"{place}/binary_stochastic"].startswith("the input runs from")
    (comparison,) = read_grid(str(tmp_path / "t" / "tuned.yaml")).comparisons
    assert [rule.name for rule in comparison.rules] == ["readout_only"]
    assert "does not fit: binary_stochastic on mnist1d" in write_report(tmp_path / "t").html.read_text()


@pytest.mark.slow
def test_a_baseline_that_does_not_fit_is_never_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.unfit", lambda plans, data: {"readout_only": "no"})
    with pytest.raises(ValueError, match="readout_only: no"):
        tune(PLAN, tmp_path / "t", skip_unfit=True)


@pytest.mark.slow
def test_rules_that_cannot_be_tuned_are_named_first(tmp_path):
    strange = Comparison(TINY, ["rules.recipes:backprop"])
    with pytest.raises(ValueError, match="rule 'rules.recipes:backprop' declares no search space"):
        tune(Tuning(Grid([strange])), tmp_path / "t")
    signed = replace(TINY, task=Choice("mnist1d"))
    with pytest.raises(ValueError, match=r"1 of 2 rules do not fit mnist1d:\n  binary_stochastic: the input runs from"):
        tune(Tuning(Grid([Comparison(signed, ["binary_stochastic"])])), tmp_path / "u")


OWN = """
import rules
from rules.spaces import Range


def sign(lr=0.01):
    return rules.make("bptt", lr=lr)


sign.space = {"lr": Range(1e-3, 1e-1, log=True)}
"""


def test_a_rule_in_a_folder_keeps_its_name(tmp_path, monkeypatch):
    """Its name has a slash, and so has the name of a study between comparison and rule."""
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(OWN)
    rule = "own/mine.py:sign"
    comparison = Comparison(replace(TINY, epochs=1), [rule], seeds=1)
    facts = tune(Tuning(Grid([comparison]), trials=1), tmp_path / "t")
    assert {place(facts, name) for name in facts["studies"]} == {
        (comparison.identity, "yinyang", rule),
        (comparison.identity, "yinyang", "readout_only"),
    }
    assert list(means(facts)) == [rule, "readout_only"]
    assert title(facts) == "tuning 2 rules on yinyang: 1 trials for each"
    assert rule in write_report(tmp_path / "t").html.read_text()
    (best,) = read_grid(str(tmp_path / "t" / "tuned.yaml")).comparisons
    assert [each.name for each in best.rules] == [rule, "readout_only"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"device": "cuda:99"}, "device='cuda:99': torch .* has no such device here"),
        ({"schedule": Choice("cosin")}, "unknown schedule 'cosin'; nearest: 'cosine'"),
    ],
)
def test_settings_of_training_are_checked_before_anything_is_written(setting, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tune(Tuning(Grid([Comparison(replace(TINY, **setting), ["bptt"])])), tmp_path / "t")
    assert not list(tmp_path.iterdir())


def test_a_trial_trains_as_the_run_would(tmp_path):
    """With its schedule, clipping and accumulation: the accuracy is that of the run, and not that without them."""
    settings = {"schedule": Choice("warm_up", {"updates": 10_000}), "clip": 1e-3, "accumulate": 2}
    experiment = replace(TINY, rule=RuleConfig("bptt", {"lr": 0.3}), **settings)
    data = tunable(experiment.load(None, TUNED))
    found = validated(experiment, data)
    assert found == 100 * run(experiment, tmp_path / "r")["validation"]["accuracy"]
    assert found != validated(replace(TINY, rule=experiment.rule), data)


def test_without_optuna_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ImportError, match=r"needs Optuna, which is not installed: pip install 'learning-rule-sandbox\[t"
    ):
        optuna_()


def test_a_study_in_use_is_left_alone(tmp_path, monkeypatch):
    """An orphan of an earlier call may still be at it; both would count the same trial."""
    monkeypatch.setattr(study, "PATIENCE", 0.0)
    one = Study("a/bptt", TINY, 1, 1, tmp_path)
    with folders.locked(one.folder), pytest.raises(folders.FolderInUse):
        one.work(lambda done, total: None)
