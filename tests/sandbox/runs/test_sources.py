"""Runs of other data or of other versions of the user's own code are not mixed."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace

import pytest

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.gather import gather
from sandbox.config.registry import Choice, sources
from sandbox.config.rule import RuleConfig
from sandbox.machine import files
from sandbox.runs.run import run
from sandbox.runs.seal import write_seal
from tests.sandbox.runs.test_run import TINY

RULE = "import rules\n\ndef mine(): return rules.make('bptt', lr={lr})\n"
TASK = """
import torch
from sandbox import Dataset, Split, Task

class Drawn(Task):
    def load(self, data_dir=None):
        x = torch.rand(60, 4, generator=torch.Generator().manual_seed({seed}))
        y = (x[:, 0] > x[:, 1]).long()
        return Dataset(Split(x[:40], y[:40]), Split(x[40:50], y[40:50]), Split(x[50:], y[50:]), classes=2)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A rule in a file, and an experiment that uses it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(RULE.format(lr=0.1))
    return replace(TINY, epochs=1, rule=RuleConfig("mine.py:mine"))


def test_own_files_are_found_by_name(own):
    assert list(sources(asdict(own))) == ["mine.py"]
    named = replace(own, rule=RuleConfig("rules.recipes:bptt"), encoder=Choice("tests.conftest:ROOT"))
    here = "(imported by tests.conftest)"
    assert list(sources(asdict(named))) == ["tests.conftest", f"__init__.py {here}", f"browser.py {here}"]
    assert sources({"label": "a: b", "name": "no.such.module:Name", "path": "nowhere.py:Name", "n": 3}) == {}


def test_an_edited_rule_does_not_pass_for_the_old_one(own, tmp_path):
    plan = Comparison(own, [own.rule], seeds=1)
    compare(plan, tmp_path / "c", jobs=1)
    compare(plan, tmp_path / "c", jobs=1)  # unchanged: nothing to complain about
    (tmp_path / "mine.py").write_text(RULE.format(lr=0.2))
    with pytest.raises(ValueError, match=r"mine.py is not the file that 1 of 2 finished runs were made with") as caught:
        compare(plan, tmp_path / "c", jobs=1)
    assert own.identity in str(caught.value)
    with pytest.raises(ValueError, match=r"mine.py has changed since .* was begun; remove that folder"):
        run(own, tmp_path / "c" / own.identity)
    shutil.rmtree(tmp_path / "c" / own.identity)
    compare(plan, tmp_path / "c", jobs=1)


def test_runs_of_two_versions_are_not_gathered(own, tmp_path):
    compare(Comparison(own, [own.rule], seeds=2), tmp_path / "c", jobs=1)
    made = tmp_path / "c" / own.identity / "provenance.json"
    files.write_json(made, files.read_json(made) | {"code_sha256": {"mine.py": "0" * 64}})
    write_seal(made.parent)
    with pytest.raises(ValueError, match=r"mine.py is not the file that 1 of 4 finished runs were made with"):
        gather(tmp_path / "c")


def test_other_data_under_the_same_options_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first.py").write_text(TASK.format(seed=0))
    experiment = replace(TINY, epochs=1, task=Choice("first.py:Drawn"))
    plan = Comparison(experiment, ["bptt"], seeds=1)
    compare(plan, tmp_path / "c", jobs=1)
    made = tmp_path / "c" / experiment.identity / "provenance.json"
    files.write_json(made, files.read_json(made) | {"data_sha256": "0" * 64})
    write_seal(made.parent)
    with pytest.raises(ValueError, match="the data are not those that 1 of 2 finished runs were made with"):
        compare(plan, tmp_path / "c", jobs=1)
    with pytest.raises(ValueError, match="`load` draws without a fixed seed"):
        gather(tmp_path / "c")


def test_a_run_is_not_continued_with_other_data(tmp_path):
    experiment = replace(TINY, epochs=1)
    run(experiment, tmp_path / "r")
    (tmp_path / "r" / "result.json").unlink()
    made = tmp_path / "r" / "provenance.json"
    files.write_json(made, files.read_json(made) | {"data_sha256": "0" * 64})
    write_seal(made.parent)
    with pytest.raises(ValueError, match="the data have changed since .* was begun"):
        run(experiment, tmp_path / "r")


def test_a_task_that_draws_anew_each_time_is_found_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anew.py").write_text(TASK.format(seed=0).replace(", generator=torch.Generator().manual_seed(0)", ""))
    experiment = replace(TINY, epochs=1, task=Choice("anew.py:Drawn"))
    with pytest.raises(ValueError, match="`load` draws without a fixed seed"):
        compare(Comparison(experiment, ["bptt"], seeds=2), tmp_path / "c", jobs=2)
