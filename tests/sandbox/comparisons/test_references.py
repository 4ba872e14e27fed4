"""Published figures: what stands beside which task, and how surely it is known."""

from __future__ import annotations

import re
import sys
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.comparisons.references import REFERENCES, Mark, Reference, reference_lines, references, shown
from sandbox.machine.files import read_json
from sandbox.tasks import TASKS
from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "experiments"))
import reference_points

KEPT = read_json(reference_points.KEPT)
ROWS = [(name, row) for name, found in KEPT.items() for row in found["rows"]]
ALL = [(task, each) for task, found in REFERENCES.items() for each in found]


def test_every_task_of_a_reference_is_registered():
    assert set(REFERENCES) <= set(TASKS)


@pytest.mark.parametrize(("task", "each"), ALL, ids=[f"{task}: {each.what}" for task, each in ALL])
def test_a_reference_is_a_percentage_with_a_source_and_a_mark(task, each):
    assert 0 < each.value <= 100
    assert each.spread is None or 0 < each.spread < each.value
    assert re.search(r"doi 10\.|arXiv \d{4}|\.rst of ", each.source), "a reader must be able to find it"
    assert each.mark in get_args(Mark)
    assert each.mark != "read" or " at " in each.source, "what was read has the revision that was read"


@pytest.mark.parametrize(("task", "each"), ALL, ids=[f"{task}: {each.what}" for task, each in ALL])
def test_it_stands_beside_its_task_with_its_options_alone(task, each):
    assert each in references(task, each.options)
    assert any(shown(each) in line and each.what in line for line in reference_lines(task, each.options))


@pytest.mark.parametrize(
    ("task", "options"), [("yinyang", {"train": 500}), ("randman", {"units": 20, "dim": 3, "alpha": 1.0})]
)
def test_other_options_make_another_task(task, options):
    assert REFERENCES[task]
    assert references(task, options) == ()


def test_the_defaults_of_randman_are_another_task_than_the_published_one():
    assert reference_lines("randman") == []


def test_options_that_are_the_defaults_change_nothing():
    assert references("yinyang", {"train": 5000}) == references("yinyang")


@settings(deadline=None)
@given(st.text().filter(lambda name: name not in REFERENCES))
def test_other_tasks_have_none(name):
    assert reference_lines(name) == []


def test_what_was_not_read_says_so(monkeypatch):
    made = {"yinyang": tuple(Reference("it", 50.0, None, "somebody", mark) for mark in get_args(Mark))}
    monkeypatch.setattr("sandbox.comparisons.references.REFERENCES", made)
    assert reference_lines("yinyang") == [
        "published: it: 50 % (somebody)",
        "published: it: 50 % (somebody; given, not read)",
        "published: it: 50 % (somebody; recalled, not read)",
    ]


def test_the_readme_quotes_no_figure_that_was_not_read():
    text = (ROOT / "README.md").read_text()
    assert not [each for _, each in ALL if each.mark != "read" and f"{each.value:g}" in text]


def test_every_anchor_was_run():
    assert set(KEPT) == {path.stem for path in reference_points.CONFIGS.glob("*.yaml")}


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}, {row['rule']}" for name, row in ROWS])
def test_a_kept_gap_is_that_of_its_accuracies_and_todays_reference(name, row):
    plan, beside = reference_points.read(reference_points.CONFIGS / f"{name}.yaml")
    known = {each.what: each for each in references(plan.experiment.task.name, plan.experiment.task.options)}
    assert reference_points.row(row["rule"], row["accuracies"], known[beside[row["rule"]]]) == row
    assert len(row["accuracies"]) == (1 if row["rule"] == reference_points.LINEAR else plan.seeds)


def test_the_kept_table_is_that_of_the_kept_numbers():
    assert reference_points.KEPT.with_suffix(".md").read_text() == reference_points.table(KEPT)


def test_a_figure_that_nobody_published_is_refused(tmp_path):
    config = tmp_path / "mine.yaml"
    config.write_text("beside: {bptt: a dream}\nexperiment: {task: {name: randman}}\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: no published figure 'a dream' for this task; there are \[\]"):
        reference_points.read(config)
