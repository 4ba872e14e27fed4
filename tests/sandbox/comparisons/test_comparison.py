"""A comparison rejects misleading input and damaged runs, and names them."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import rules
from rules.contract import CreditRule
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.comparisons.admission import Unfit, unfit
from sandbox.comparisons.comparison import Comparison, Planned, compare, compared_runs, format_table
from sandbox.comparisons.gather import gather
from sandbox.comparisons.linear import scale_of
from sandbox.comparisons.table import make_table
from sandbox.comparisons.verify import verify
from sandbox.config.experiment import MicroscopeConfig, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.report import write_report
from sandbox.runs import index
from sandbox.runs.book import RunFailed
from sandbox.runs.finished import by_rule
from sandbox.runs.preparing import prepare
from sandbox.runs.run import run
from sandbox.runs.seal import write_seal
from sandbox.runs.verify import HOLDS
from sandbox.statistics import area, verdicts
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import TINY

ONE = replace(TINY, epochs=1)
PLAN = Comparison(ONE, [RuleConfig("bptt", {"lr": 0.1}), "spsa"], seeds=3)


class Impossible(CreditRule):
    """Finds out at its first step that it cannot learn here."""

    claim = "descent"

    def assign(self, model, objective, batch, state, rng):
        raise ValueError("this model has no soul")


def impossible():
    """A rule that fits no model."""
    return replace(rules.make("bptt"), credit=Impossible())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished comparison and its table."""
    folder = tmp_path_factory.mktemp("compared") / "c"
    return folder, compare(PLAN, folder, jobs=2)


@pytest.fixture
def mine(made, tmp_path):
    """A copy to be spoilt."""
    shutil.copytree(made[0], tmp_path / "c")
    return tmp_path / "c"


def place(folder, rule, seed):
    (found,) = folder.glob(f"yinyang-{rule}-s{seed}-*")
    return found


def test_rows_say_what_statistics_says(made):
    folder, table = made
    by_rule = {row["rule"]: row for row in table["rows"]}
    reference = by_rule["readout_only"]["accuracies"]
    found = verdicts(reference, {r: by_rule[r]["accuracies"] for r in ("bptt", "spsa")}, "readout_only")
    for rule, verdict in found.items():
        assert by_rule[rule]["verdict"] == verdict.words
        assert by_rule[rule]["over_baseline"] == list(verdict.difference)
        assert by_rule[rule]["effect"] == verdict.effect
        heights = []
        for seed in range(3):
            lines = [
                json.loads(line) for line in (place(folder, rule, seed) / "metrics.jsonl").read_text().splitlines()
            ]
            heights.append(area([e["epoch"] for e in lines], [100 * e["validation_accuracy"] for e in lines]))
        assert by_rule[rule]["area"][0] == pytest.approx(sum(heights) / 3)
    assert "too few seeds: with 3 no difference can reach p < 0.05; at least 7 are needed" in format_table(table)
    assert "no intervals" not in format_table(table)


def test_swapped_labels_change_the_table(mine):
    before = files.read_json(mine / "table.json")
    a, b = place(mine, "bptt", 0), place(mine, "readout_only", 0)
    one, two = (files.read_json(path / "result.json") for path in (a, b))
    files.write_json(a / "result.json", two)
    files.write_json(b / "result.json", one)
    write_seal(a)
    write_seal(b)
    after = compare(PLAN, mine)
    assert after["rows"][0]["over_baseline"] != before["rows"][0]["over_baseline"]


def test_a_rule_that_does_not_fit_is_named_before_anything_runs(tmp_path, capsys):
    plan = replace(PLAN, rules=["bptt", "tests.sandbox.comparisons.test_comparison:impossible"])
    with pytest.raises(Unfit) as error:
        compare(plan, tmp_path / "c")
    assert str(error.value) == (
        "1 of 3 rules do not fit yinyang:\n  tests.sandbox.comparisons.test_comparison:impossible: this model has no soul\n"
        "would run: bptt, readout_only; --skip-unfit runs only these"
    )
    assert not list(tmp_path.rglob("result.json"))


def test_a_baseline_that_does_not_fit_cannot_be_left_out():
    said = str(Unfit("yinyang", {"readout_only": "tied"}, ["bptt"], "readout_only"))
    assert said.endswith("readout_only is what all others are compared with, so that it cannot be left out")
    assert "--skip-unfit" not in said


def test_a_reason_is_one_line_whatever_the_message():
    """What a model does not offer is listed line by line; in a table and its notes it is one line."""
    settings = replace(PLAN.experiment, rule=RuleConfig("eprop"), network=NetworkConfig(model=Choice("perceptron")))
    (reason,) = unfit({"eprop": settings}, PLAN.experiment.load()).values()
    assert reason.startswith("the rule (TET x Online) needs what Sequential does not offer")
    assert "cells: layers made of" in reason
    assert "\n" not in reason


@pytest.mark.slow
def test_the_rest_is_run_where_asked_for(tmp_path, capsys):
    plan = replace(PLAN, rules=["tests.sandbox.comparisons.test_comparison:impossible"], seeds=1)
    table = compare(plan, tmp_path / "c", skip_unfit=True)
    assert [row["rule"] for row in table["rows"]] == ["readout_only"]
    assert (
        "left out, does not fit: tests.sandbox.comparisons.test_comparison:impossible: this model has no soul"
        in format_table(table)
    )
    assert "this model has no soul" in write_report(tmp_path / "c").html.read_text()


@pytest.mark.parametrize("rules_", [["binary_stochastic"], ["hzo", "bptt"]])
def test_needs_are_asked_for_with_their_reason(tmp_path, rules_):
    """A model that offers a gradient alone."""
    plain = replace(ONE, network=NetworkConfig(model=Choice("tests.sandbox.comparisons.test_comparison:black_box")))
    with pytest.raises(Unfit, match=rf"{rules_[0]}: .* needs what BlackBox does not offer"):
        compare(Comparison(plain, rules_, seeds=1), tmp_path / "c")


def test_a_network_too_large_to_be_looked_at_is_reported_before_anything_runs(tmp_path):
    """Finite differences ask twice for each weight: a hundred hidden units are 700 of them."""
    close = MicroscopeConfig(references=[Choice("differences", {"largest": 600})])
    wide = replace(TINY, network=NetworkConfig(hidden=[100]), microscope=close)
    with pytest.raises(Unfit, match="this model has 700 in its weight matrices, more than largest=600"):
        compare(Comparison(wide, ["bptt"], seeds=1), tmp_path / "c")
    assert not list(tmp_path.glob("c/yinyang*"))


def black_box(shape, classes, *, seed):
    """A model that offers a gradient and nothing else."""
    import torch

    class BlackBox(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = torch.nn.Linear(shape[0], 8), torch.nn.Linear(8, classes)

        def forward(self, x):
            return self.out(torch.relu(self.hidden(x)))

    torch.manual_seed(seed)
    return BlackBox()


@pytest.mark.parametrize("file", ["result.json", "metrics.jsonl", "test.json", "config.yaml", "provenance.json"])
def test_a_damaged_run_is_named_and_the_earlier_table_kept(mine, file):
    spoilt, before = place(mine, "spsa", 1), (mine / "table.json").read_bytes()
    (spoilt / file).write_text("{half")
    with pytest.raises(ValueError, match=rf"1 run is damaged, so the table was not written.*\n  {spoilt.name}: "):
        compare(PLAN, mine)
    assert (mine / "table.json").read_bytes() == before
    assert (spoilt / file).read_text() == "{half"
    assert {row["status"] for row in index.rows(mine.parent, rule="spsa")} == {"done", "damaged"}


def test_a_run_that_is_damaged_while_others_run_leaves_no_table(mine):
    (mine / "table.json").unlink()
    data = PLAN.experiment.load()
    places = {"spsa": {0: place(mine, "spsa", 0)}}
    (places["spsa"][0] / "result.json").write_text("{half")
    with pytest.raises(RunFailed, match="1 run is damaged, so the table was not written"):
        Planned(PLAN, mine, data, places, [], {}, False, False).conclude({})
    assert not (mine / "table.json").exists()


def test_the_remedy_of_a_damaged_run_works(mine, tmp_path, capsys):
    """Its command can be copied from the message, whatever the folder is called."""
    folder = mine.rename(tmp_path / "my runs & co")
    spoilt, before = place(folder, "spsa", 1), files.read_json(place(folder, "spsa", 2) / "result.json")
    (spoilt / "result.json").write_text("{half")
    for name in (spoilt, folder):
        assert main(["resume", str(name)]) == BAD_INPUT
        said = capsys.readouterr().err
        assert "remove it and run `sandbox resume" in said
        assert shlex.split(said.split("`")[1]) == ["sandbox", "resume", str(folder)]
    shutil.rmtree(spoilt)
    assert compare(PLAN, folder)["seeds"] == [0, 1, 2]
    assert files.read_json(place(folder, "spsa", 2) / "result.json") == before


@pytest.mark.parametrize("begun", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_finished_run_under_another_name_is_not_made_again(mine, begun, capsys):
    right, other = place(mine, "spsa", 1), mine / "the good one"
    before = (mine / "table.json").read_bytes()
    right.rename(other)
    if begun:
        right.mkdir()
        shutil.copy(other / "config.yaml", right)
    assert main(["resume", str(mine)]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "a finished run is in" in said
    assert not (right / "result.json").exists()
    assert (mine / "table.json").read_bytes() == before
    assert "give the folder its own name back" in " ".join(finding.why for finding in verify(mine)["."])
    subprocess.run(said.splitlines()[-1], shell=True, check=True)
    assert main(["resume", str(mine)]) == OK
    assert json.loads((mine / "table.json").read_bytes()) == json.loads(before)
    assert {finding.state for finding in verify(mine)["."]} == {HOLDS}


def revise(folder, revision):
    made_by = files.read_json(folder / "provenance.json")
    files.write_json(folder / "provenance.json", {**made_by, "revision": revision})
    write_seal(folder)


@pytest.mark.slow
def test_runs_of_different_code_are_refused_or_marked(mine, capsys):
    revise(place(mine, "bptt", 2), "0123456789abcdef")
    with pytest.raises(ValueError, match=r"different code revisions do not belong in one table; .*\n  .*: 8\n?|: 1\n?"):
        compare(PLAN, mine)
    assert main(["resume", str(mine)]) == BAD_INPUT
    assert "0123456789abcdef: 1" in capsys.readouterr().err
    table = compare(PLAN, mine, mixed_revisions=True)
    assert sorted(table["revisions"].values()) == [1, 8]
    assert "0123456789abcdef" in table["rows"][0]["revisions"]
    assert "mixed code revisions, not strictly comparable: " in format_table(table)
    assert "1 by 0123456789ab" in write_report(mine).html.read_text()


def test_finished_runs_of_other_code_stop_the_next_before_it_runs(mine):
    for path in mine.glob("yinyang-*"):
        revise(path, "older")
    shutil.rmtree(place(mine, "bptt", 2))
    with pytest.raises(ValueError, match=r"(?s): those to come.*older: 8|older: 8.*: those to come"):
        compare(PLAN, mine)
    assert not list(mine.glob("yinyang-bptt-s2-*"))


@pytest.mark.slow
def test_a_rule_that_looked_at_the_test_set_again_is_told_of(mine):
    files.write_json(place(mine, "spsa", 0) / "test.json", {"evaluations": 7})
    write_seal(place(mine, "spsa", 0))
    table = compare(PLAN, mine)
    assert [row["test_evaluations"] for row in table["rows"]] == [1, 7, 1]
    assert "the test set was evaluated more than once in runs of: spsa 7 times" in format_table(table)
    assert "evaluated more than once in runs of: spsa 7 times" in write_report(mine).html.read_text()


def test_a_table_is_made_of_runs_wherever_they_were_made(made, mine, capsys):
    found = gather(mine)
    same = ("rule", "accuracies", "over_baseline", "verdict")
    assert sorted((row[key] for key in same) and row["rule"] for row in found["rows"]) == [
        "bptt",
        "readout_only",
        "spsa",
    ]
    by_rule = {row["rule"]: row for row in found["rows"]}
    assert all(
        {key: row[key] for key in same} == {key: by_rule[row["rule"]][key] for key in same} for row in made[1]["rows"]
    )
    assert main(["table", str(mine)]) == OK
    assert "linear classifier" in capsys.readouterr().out


def test_runs_are_paired_by_seed_wherever_their_folders_are(mine):
    """A rule's runs are read in the order of their folders, which is not that of their seeds."""
    before = {row["rule"]: row for row in gather(mine)["rows"]}
    for number, seed in enumerate((2, 0, 1)):
        path = place(mine, "spsa", seed)
        (mine / "moved").mkdir(exist_ok=True)
        path.rename(mine / "moved" / f"{number}-{path.name}")
    found = gather(mine)
    assert found["seeds"] == [0, 1, 2]
    assert {row["rule"]: row for row in found["rows"]} == before


def test_a_table_of_other_seeds_is_refused(made):
    runs = by_rule(compared_runs(made[0]))
    with pytest.raises(ValueError, match="not run with the same seeds"):
        make_table("yinyang", {**runs, "bptt": runs["bptt"][:2]}, scale_of(ONE.load()))


def test_unpaired_seeds_are_refused_and_named(mine):
    shutil.rmtree(place(mine, "spsa", 1))
    with pytest.raises(ValueError, match=r"(?s)not run with the same seeds.*bptt: 0, 1, 2.*\n  spsa: 0, 2"):
        gather(mine)


def test_a_table_wants_one_experiment_and_the_baseline(mine, tmp_path):
    with pytest.raises(ValueError, match="holds no run folders; give the folder that"):
        gather(tmp_path / "nowhere")
    for path in mine.glob("yinyang-readout_only-*"):
        shutil.rmtree(path)
    with pytest.raises(ValueError, match="no run of readout_only, the baseline of every table"):
        gather(mine)
    for epochs in (1, 2):
        run(replace(ONE, rule=RuleConfig("readout_only"), epochs=epochs), mine / f"readout_only-{epochs}")
    with pytest.raises(ValueError, match="holds runs of readout_only of 1 and 2 epochs, and a table has one baseline"):
        gather(mine)
    run(replace(ONE, batch_size=100), mine / "other")
    with pytest.raises(ValueError, match="holds runs of 2 different experiments; a table compares runs") as error:
        gather(mine)
    assert f"  sandbox table {mine}  # yinyang, " in str(error.value)


@pytest.mark.slow
def test_workers_find_everything_imported():
    """What a run imports late is paid for by every worker: 200 modules of numba, for example."""
    code = (
        "import importlib, sys, tempfile; from pathlib import Path; from sandbox.runs.job import imports\n"
        "from dataclasses import replace; from tests.sandbox.runs.test_run import TINY\n"
        "run_of = replace(TINY, kernels='numba')\n"
        "[importlib.import_module(name) for name in imports(run_of)]; before = set(sys.modules)\n"
        "from sandbox.runs.run import run\n"
        "run(run_of, Path(tempfile.mkdtemp()) / 'r'); late = set(sys.modules) - before\n"
        "print(len([name for name in late if not name.startswith('sandbox_kernel_')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout) < 10  # single modules of torch and sympy


def scored(run, seed, **test):
    """A run with another seed and other numbers of the test set."""
    return run._replace(seed=seed, result={**run.result, "test": {**run.result["test"], **test}})


def test_many_ties_are_told_of(made):
    """A network that is silent answers the first class to everything, whatever it learned."""
    runs = by_rule(compared_runs(made[0]))
    for label, ties in (("readout_only", 0.0), ("bptt", 0.05), ("spsa", 0.9)):
        runs[label] = [scored(run, run.seed, ties=ties) for run in runs[label]]
    table = make_table("yinyang", runs, scale_of(ONE.load()))
    assert {row["rule"]: row["ties"] for row in table["rows"]} == pytest.approx(
        {"readout_only": 0.0, "bptt": 0.05, "spsa": 0.9}
    )
    assert (
        "many test answers are ties, of which the first class counts: 90% of spsa; a silent network scores the share "
        "of class 0" in format_table(table)
    )


def test_a_diverged_seed_does_not_turn_the_verdict_of_a_table_round(made):
    """The minimal case in a table: 11 of 12 seeds above, one far below."""
    runs = by_rule(compared_runs(made[0]))
    base = [scored(runs["readout_only"][0], seed, accuracy=0.9) for seed in range(12)]
    ours = [scored(runs["bptt"][0], seed, accuracy=0.1 if seed == 11 else 0.91 + 0.001 * seed) for seed in range(12)]
    row = make_table("yinyang", {"readout_only": base, "bptt": ours}, scale_of(ONE.load()))["rows"][1]
    assert row["verdict"] == (
        "no direction against readout_only: the ranks say above, the mean says below: look at the runs"
    )
    assert row["p_adjusted"] < 0.05


def test_rules_are_tried_in_the_settings_of_their_runs_and_leave_those_of_the_process(monkeypatch):
    """Threads, and global generators, from which a model may draw its weights."""
    inside = []

    def prepared(*given):
        inside.append((torch.get_num_threads(), torch.rand(1)))
        return prepare(*given)

    monkeypatch.setattr("sandbox.comparisons.admission.prepare", prepared)
    before, state = torch.get_num_threads(), torch.get_rng_state()
    settings = replace(ONE, threads=before + 1)
    assert unfit({"first": settings, "second": settings}, ONE.load()) == {}
    assert [threads for threads, _ in inside] == [before + 1] * 2
    assert torch.equal(inside[0][1], inside[1][1])
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
