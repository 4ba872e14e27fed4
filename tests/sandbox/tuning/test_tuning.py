"""Tuning spends the same budget on every rule, never looks at the test split, and finds the same however it is run."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from sandbox.cli import main
from sandbox.cli.comparisons import found_lines
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.grid import Grid, read_grid
from sandbox.comparisons.table import operations
from sandbox.comparisons.verify import verify
from sandbox.config.registry import Choice
from sandbox.config.rule import FIRST_SEED, RuleConfig
from sandbox.report import write_report
from sandbox.report.tuning import means, place, title
from sandbox.runs import folder as folders
from sandbox.runs import preparing
from sandbox.runs.run import run
from sandbox.runs.verify import FAILS, HOLDS
from sandbox.tasks import Task, YinYang
from sandbox.tuning import study
from sandbox.tuning.plan import Tuning, begun, fresh
from sandbox.tuning.sampling import optuna_
from sandbox.tuning.storage import opened
from sandbox.tuning.study import Study
from sandbox.tuning.trial import TUNED, tunable, validated
from sandbox.tuning.tuned import as_yaml, tuned
from sandbox.tuning.tuning import tune
from tests.sandbox.runs.test_run import TINY, Stop

GUARDED = replace(TINY, task=replace(TINY.task, name="tests.guarded:Guarded"), epochs=1)
PLAN = Tuning(Grid([Comparison(GUARDED, ["bptt", RuleConfig("spsa", {"draws": 1})], seeds=1)]), trials=4, searches=2)


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
    budget = {"trials": 4, "seeds": 1, "searches": 2, "sampler": "tpe"}
    assert facts["budget"] == {**budget, "first_seed": FIRST_SEED, "random": 4}
    names = [name.partition("/")[2] for name in facts["studies"]]
    assert names == [f"{rule}/{search}" for rule in ("bptt", "spsa", "readout_only") for search in range(2)]
    for found in facts["studies"].values():
        heights = [trial["validation"] for trial in found["trials"]]
        assert len(heights) == 4
        assert found["best_so_far"] == [max(heights[: n + 1]) for n in range(4)]
        assert found["best"]["validation"] == max(heights)
        assert len({json.dumps(trial["options"]) for trial in found["trials"]}) == 4


def test_searches_have_their_own_proposals_seeds_and_validation_samples(whole, tmp_path):
    _, facts = whole
    first, second = (facts["studies"][f"{PLAN.grid.comparisons[0].identity}/bptt/{search}"] for search in range(2))
    assert [found["search"] for found in (first, second)] == [0, 1]
    assert not {json.dumps(each["options"]) for each in first["trials"]} & {
        json.dumps(each["options"]) for each in second["trials"]
    }
    studies = replace(PLAN, seeds=2).studies(tmp_path)[:2]
    assert [[run.seed - FIRST_SEED for run in each.runs({"lr": 0.1})] for each in studies] == [[0, 1], [2, 3]]
    (x, _), (other, _) = (each.load().validation for each in studies)
    assert not {tuple(row) for row in x.tolist()} & {tuple(row) for row in other.tolist()}
    assert all(len(each.load().test) == 0 for each in studies)


def test_a_worker_loads_the_data_of_a_task_once_for_all_searches(tmp_path, monkeypatch):
    """Outside of a worker, and for a task of the user's own, each search loads them anew."""
    asked = []
    load = YinYang.load
    monkeypatch.setattr(YinYang, "load", lambda self, data_dir: asked.append(self) or load(self, data_dir))
    monkeypatch.setattr(preparing, "_LAST", {})
    first, second = Tuning(Grid([Comparison(TINY, ["bptt"], seeds=1)]), trials=1, searches=2).studies(tmp_path)[:2]
    assert not torch.equal(first.load().validation.x, second.load().validation.x)
    assert len(asked) == 2
    monkeypatch.setattr(preparing.multiprocessing, "parent_process", object)
    kept = [each.load() for each in (first, second, second)]
    assert len(asked) == 3
    assert torch.equal(kept[1].train.x, kept[2].train.x)
    assert torch.equal(kept[0].validation.x, first.load().validation.x)


def test_a_search_that_is_done_loads_no_data(whole, monkeypatch):
    folder, _ = whole
    monkeypatch.setattr(Study, "load", lambda self: pytest.fail("loaded"))
    seen = []
    PLAN.studies(folder)[0].work(lambda done, total: seen.append((done, total)))
    assert seen == [(4, 4)]


def test_each_trial_says_what_it_cost(whole, tmp_path):
    """As a run of the same settings counts it."""
    _, facts = whole
    study = facts["studies"][f"{PLAN.grid.comparisons[0].identity}/bptt/0"]
    cost = run(replace(TINY, epochs=1), tmp_path / "r")["cost"]
    assert all(trial["operations"] == operations(cost) for trial in study["trials"])
    assert all(trial["forwards"] == cost["forwards"] for trial in study["trials"])


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
    assert (states.count("COMPLETE"), states.count("FAIL")) == (24, 3)


def test_a_finished_tuning_is_not_tuned_again(whole, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    monkeypatch.setattr(study, "validated", lambda *a: pytest.fail("tuned again"))
    assert tune(PLAN, whole[0]) == whole[1]


def test_tuned_settings_are_a_comparison_again(whole):
    """Each seed learns with the options of its search; what was fixed is as it was given."""
    folder, facts = whole
    (comparison,) = read_grid(str(folder / "tuned.yaml")).comparisons
    assert comparison.experiment == GUARDED
    assert comparison.seeds == 2  # one was asked for, which is not enough for two searches
    assert [rule.options for rule in comparison.configs] == [{}, {"draws": 1}, {}]
    (given,) = PLAN.grid.comparisons
    for label, runs in comparison.experiments().items():
        found = [facts["studies"][f"{given.identity}/{label}/{search}"] for search in range(2)]
        assert [run.rule.search.number for run in runs] == [0, 1]
        assert [
            run.rule.options.items() >= each["best"]["options"].items() for run, each in zip(runs, found, strict=True)
        ]
        assert [run.rule.search.within for run in runs] == [each["within"] for each in found]
        assert [run.rule.search.trials for run in runs] == [4, 4]


def test_what_was_searched_and_what_was_fixed_is_written_beside_it(whole):
    text = (whole[0] / "tuned.yaml").read_text()
    head = "# Tuned by `sandbox tune` on validation data: 2 searches of 4 trials (tpe) of each rule, each trial with 1 seed."
    assert text.startswith(head)
    assert "#   seeds: 1 raised to 2, so that each search has equally many" in text
    assert re.search("#   bptt: searched lr; fixed .*window=None", text)
    assert re.search("#   spsa: searched .*; fixed .*draws=1", text)


def test_a_tuned_grid_can_be_tuned_again(whole):
    again = read_grid(str(whole[0] / "tuned.yaml"))
    with pytest.raises(ValueError, match=r"the rules of this grid were searched already: tune .*fresh\(grid\)"):
        Tuning(again)
    (comparison,) = Tuning(fresh(again)).grid.comparisons
    assert [(rule.name, rule.options) for rule in comparison.configs] == [
        ("bptt", {}),
        ("spsa", {"draws": 1}),
        ("readout_only", {}),
    ]


def test_several_comparisons_are_a_grid_again(tmp_path):
    two = Tuning(Grid([*PLAN.grid.comparisons, Comparison(TINY, ["bptt"])], "pair"), 1, searches=2)
    search = {"within": {"lr": [0.1, 1.0]}, "at_end": ["lr"], "trials": [{}], "best": {"options": {"lr": 0.98}}}
    found = {each.name: {**search, "search": each.search} for each in two.studies(tmp_path)}
    (tmp_path / "two.yaml").write_text(as_yaml(tuned(two, found), two))
    again = read_grid(str(tmp_path / "two.yaml"))
    assert again.name == "pair"
    assert [each.seeds for each in again.comparisons] == [2, 6]
    for each in again.comparisons:
        assert {search.setting for rule in each.configs for search in rule.searched} == {each.experiment.setting}
    assert all(run.rule.options["lr"] == 0.98 for each in again.comparisons for run in each.experiments()["bptt"])
    note = "#     search 2: lr = 0.98 is near an end of 0.1 to 1 after the last trial; better values may lie outside"
    assert note in (tmp_path / "two.yaml").read_text()


def test_a_folder_of_an_earlier_version_is_not_continued(tmp_path):
    earlier = {name: value for name, value in asdict(PLAN).items() if name not in ("searches", "sampler")}
    for name in "tu":
        (tmp_path / name).mkdir()
    folders.write_config(tmp_path / "t", "tuning", earlier)
    with pytest.raises(ValueError, match=r"was tuned by an earlier version, .* `sandbox report .*/t` shows it"):
        begun(tmp_path / "t")
    folders.write_config(tmp_path / "u", "tuning", asdict(PLAN))
    assert begun(tmp_path / "u") == PLAN


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"searches": 0}, "searches=0: give a whole number, at least 1"),
        ({"searches": 10**6}, "searches=1000000: give at most 100000"),
        ({"sampler": "tpee"}, "unknown sampler 'tpee'; nearest: 'tpe'; valid: random, stratified, tpe"),
    ],
)
def test_an_impossible_budget_is_refused(budget, message):
    with pytest.raises(ValueError, match=message):
        Tuning(PLAN.grid, **budget)


def test_voices_that_are_held_out_are_held_out_in_every_search(tmp_path, monkeypatch):
    data = TINY.load()
    for exchangeable, same in ((True, False), (False, True)):
        monkeypatch.setattr(YinYang, "exchangeable", exchangeable)
        found = Study("a/bptt/1", TINY, 1, 1, tmp_path, search=1).load()
        assert torch.equal(found.validation.x, data.validation.x) == same


def test_a_rule_with_another_plasticity_is_tuned_there():
    rule = RuleConfig("hzo", {"times": "shared"}, plasticity=Choice("adam", {"lr": 1.0}))
    found = rule.having({"lr": 0.1, "momentum": 0.9})
    assert found.plasticity == Choice("adam", {"lr": 0.1})
    assert found.options == {"times": "shared"}


def test_a_rate_that_overflows_is_a_trial_like_any_other():
    wild = replace(TINY, rule=RuleConfig("bptt", {"lr": 3e37}), epochs=20)
    found = validated(wild, TINY.make_task().load())
    assert found.validation == 0.0
    assert found.cost.forwards > 0


def test_the_report_shows_budget_and_curves(whole):
    folder, facts = whole
    report = write_report(folder)
    assert [path.name for path in report.figures] == ["tuning.png", "tuning_operations.png"]
    rows = list(csv.DictReader((folder / "tuning.csv").open()))
    told = [trial["validation"] for _, found in sorted(facts["studies"].items()) for trial in found["trials"]]
    assert [float(row["validation_percent"]) for row in rows] == told
    assert "2 searches of 4 trials" in report.html.read_text()


def test_an_edited_setting_is_found(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "t")
    assert {found.state for found in verify(tmp_path / "t")["."]} == {HOLDS}
    path = tmp_path / "t" / "tuned.yaml"
    path.write_text(re.sub(r"lr: [\d.e-]+", "lr: 0.0123", path.read_text(), count=1))
    (seal,) = (found for found in verify(tmp_path / "t")["."] if found.what == "seal")
    assert (seal.state, seal.why) == (
        FAILS,
        "tuned.yaml is not the file that the run left at its end: it was edited or exchanged",
    )


def test_what_ends_near_an_end_is_said_on_the_command_line():
    search = {"search": 1, "within": {"lr": [0.1, 1.0]}, "at_end": ["lr"], "trials": [{"validation": 50.0}]}
    study = {**search, "best": {"validation": 50.0, "options": {"lr": 0.98}}}
    lines = found_lines({"studies": {"c/bptt/1": study}, "budget": {"searches": 1}})
    assert lines == [
        "  c/bptt/1: 50.00 % with {'lr': 0.98}",
        "    search 2: lr = 0.98 is near an end of 0.1 to 1 after the last trial; better values may lie outside",
        "one search: the error of tuning is not in the intervals of a comparison; --searches 3 puts it there",
    ]
    assert found_lines({"studies": {"c/bptt/1": {**study, "at_end": []}}, "budget": {"searches": 2}}) == lines[:1]
    alike = {**study, "at_end": [], "trials": [{"validation": 50.0}] * 2}
    assert found_lines({"studies": {"c/bptt/1": alike}, "budget": {"searches": 2}}) == [
        lines[0],
        "    all its trials ended alike, so nothing was chosen, and the first is kept",
    ]


def test_the_page_says_how_to_tune_again(whole, tmp_path):
    source = write_report(whole[0]).html.read_text()
    words = r"sandbox tune again\.yaml --trials (\d+) --seeds (\d+) --searches (\d+) --sampler (\w+)</code>"
    *numbers, sampler = re.search(words, source).groups()
    shown = html.unescape(re.search(r"configuration</summary>\s*<pre><code>(.*?)</code>", source, re.S)[1])
    (tmp_path / "again.yaml").write_text(shown)
    assert Tuning(read_grid(str(tmp_path / "again.yaml")), *map(int, numbers), sampler).identity == PLAN.identity


@pytest.mark.slow
def test_the_command_line_tunes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    config = tmp_path / "c.yaml"
    config.write_text(as_yaml(PLAN.grid, PLAN))
    budget = ["--trials", "1", "--searches", "1", "--sampler", "random"]
    assert main(["tune", str(config), *budget, "--out", str(tmp_path)]) == OK
    assert "one search: the error of tuning is not in the intervals" in capsys.readouterr().out
    assert main(["tune", str(config), *budget, "--out", str(tmp_path), "--json"]) == OK
    facts = json.loads(capsys.readouterr().out)
    assert yaml.safe_load(Path(facts["tuned"]).read_text())["rules"][0]["name"] == "bptt"
    assert main(["resume", facts["folder"], "--json"]) == OK


@pytest.mark.slow
def test_the_command_line_names_what_it_leaves_out(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    (tmp_path / "c.yaml").write_text(as_yaml(UNFIT.grid, UNFIT))
    words = ["tune", str(tmp_path / "c.yaml"), "--trials", "1", "--searches", "1", "--out", str(tmp_path)]
    assert main(words) == BAD_INPUT
    assert "1 of 2 rules do not fit mnist1d" in capsys.readouterr().err
    assert main([*words, "--skip-unfit"]) == OK
    assert "/binary_stochastic: the input runs from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tune", "papr"], "unknown preset 'papr'; nearest: 'paper'; valid: demo, paper, quick, path/to/grid.yaml"),
        (["tune", "demo", "--trials", "0"], "trials=0: give a whole number, at least 1"),
        (["tune", "demo", "--searches", "0"], "searches=0: give a whole number, at least 1"),
        (
            ["tune", "demo", "--sampler", "grid"],
            "unknown sampler 'grid'; nearest: 'stratified'; valid: random, stratified, tpe",
        ),
        (["tune", "demo", "--jobs", "0"], "jobs=0: give the number of processes"),
    ],
)
def test_bad_input_is_answered(words, message, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path)]) == BAD_INPUT
    assert message in capsys.readouterr().err


UNFIT = Tuning(
    Grid([Comparison(replace(TINY, task=Choice("mnist1d"), epochs=1), ["binary_stochastic"], seeds=1)]),
    trials=1,
    searches=1,
)


@pytest.mark.slow
def test_rules_that_do_not_fit_are_left_out_where_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    with pytest.raises(ValueError, match="would run: readout_only; --skip-unfit runs only these"):
        tune(UNFIT, tmp_path / "t")
    assert not (tmp_path / "t" / "tuning.sqlite").exists()  # before anything ran
    facts = tune(UNFIT, tmp_path / "t", skip_unfit=True)
    (place,) = [comparison.identity for comparison in UNFIT.grid.comparisons]
    assert list(facts["studies"]) == [f"{place}/readout_only/0"]
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


@pytest.mark.parametrize(
    ("option", "space", "message"),
    [
        ("draws", "Range(1, 3)", "does not take what its space has, draws=1.66.*: .*draws.* whole number.*Options"),
        (
            "speed",
            "Range(1, 3)",
            "does not take what its space has, speed=1: unknown option .* 'speed'; valid: lr, draws",
        ),
        ("lr", "Range(-1.0, 1.0)", "does not take what its space has, lr=-1.0: .*lr"),
    ],
)
def test_a_space_that_the_rule_cannot_take_is_refused_before_the_first_trial(option, space, message, tmp_path):
    own = OWN.replace("lr=0.01", "lr=0.1, draws=1").replace('"bptt", lr=lr', '"spsa", lr=lr, draws=draws')
    (tmp_path / "mine.py").write_text(f"{own.partition('sign.space')[0]}sign.space = {{{option!r}: {space}}}\n")
    comparison = Comparison(replace(TINY, epochs=1), [f"{tmp_path}/mine.py:sign"], seeds=1)
    with pytest.raises(ValueError, match=message):
        tune(Tuning(Grid([comparison]), trials=1, searches=1), tmp_path / "t")


def test_a_rule_in_a_folder_keeps_its_name(tmp_path, monkeypatch):
    """Its name has a slash, and so has the name of a study between comparison and rule."""
    monkeypatch.setattr("sandbox.tuning.tuning.run_all", in_this_process)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(OWN)
    rule = "own/mine.py:sign"
    comparison = Comparison(replace(TINY, epochs=1), [rule], seeds=1)
    facts = tune(Tuning(Grid([comparison]), trials=1, searches=2), tmp_path / "t")
    assert {place(facts, name) for name in facts["studies"]} == {
        (comparison.identity, "yinyang", each, search) for each in (rule, "readout_only") for search in (0, 1)
    }
    assert list(means(facts)) == [rule, "readout_only"]
    assert title(facts) == "tuning 2 rules on yinyang: 2 searches of 1 trials for each"
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
    found = validated(experiment, data).validation
    assert found == 100 * run(experiment, tmp_path / "r")["validation"]["accuracy"]
    assert found != validated(replace(TINY, rule=experiment.rule), data).validation


def test_samples_that_cannot_be_dealt_anew_are_named_before_anything_runs(tmp_path):
    x, y = torch.rand(40, 5, 2), torch.arange(40) % 2
    pair = torch.rand(10, 6, 2), torch.arange(10) % 2
    task = Task.from_arrays(x, y, validation=pair, sequence=True, name="waves")
    plan = Grid([Comparison(replace(TINY, task=task, encoder=Choice("still")), ["bptt"], seeds=1)])
    with pytest.raises(ValueError, match=r"task 'waves': training samples of shape \[5, 2\] .* --searches 1"):
        tune(Tuning(plan, trials=1, searches=2), tmp_path / "t")
    assert not (tmp_path / "t" / "tuning.sqlite").exists()


def test_without_optuna_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ImportError, match=r"needs Optuna, which is not installed: pip install 'learning-rule-sandbox\[t"
    ):
        optuna_()


def test_a_study_in_use_is_left_alone(tmp_path, monkeypatch):
    """An orphan of an earlier call may still be at it; both would count the same trial."""
    monkeypatch.setattr(study, "PATIENCE", 0.0)
    one = Study("a/bptt/0", TINY, 1, 1, tmp_path)
    with folders.locked(one.folder), pytest.raises(folders.FolderInUse):
        one.work(lambda done, total: None)
