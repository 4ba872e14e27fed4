"""Figures of tuning: one curve for each search, against trials and against what they cost."""

from __future__ import annotations

import bisect
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.machine import files
from sandbox.report import tables, write_report
from sandbox.report.tuning import figures, means, place, stepped, title
from tests.conftest import ROOT
from tests.sandbox.report.folders import write_tuning

studies = st.lists(
    st.lists(st.tuples(st.integers(1, 10**12), st.floats(0, 100)), min_size=1, max_size=6), min_size=1, max_size=3
)


def study(trials):
    heights = [height for _, height in trials]
    return {
        "trials": [{"operations": spent} for spent, _ in trials],
        "best_so_far": [max(heights[: n + 1]) for n in range(len(heights))],
    }


@given(studies)
@settings(deadline=None)
def test_the_best_so_far_against_cost_is_that_of_the_trials_that_were_paid(each):
    curve = stepped([study(trials) for trials in each])
    for heights, trials in zip(curve.seeds, each, strict=True):
        spent = list(itertools.accumulate(cost for cost, _ in trials))
        for x, height in zip(curve.x, heights, strict=True):
            paid = [h for cost, (_, h) in zip(spent, trials, strict=True) if math.log10(cost) <= x]
            assert height == max(paid)
    ends = [sum(cost for cost, _ in trials) for trials in each]
    assert curve.x[-1] == math.log10(max(ends))
    assert bisect.bisect(curve.x, curve.x[-1]) == len(curve.x)


def test_each_search_is_a_curve_and_their_mean_ends_the_sentence(tmp_path):
    found = write_tuning(tmp_path / "t")
    second = [study for name, study in found["studies"].items() if name.endswith("bptt/1")]
    for one in second:
        one["best_so_far"] = [40.0, 60.0, 60.0]
    curve = means(found)["bptt"]
    assert curve.seeds == [[50.0, 51.0, 52.0], [40.0, 60.0, 60.0]]
    drawn = figures(found)
    names = ["tuning", "tuning_1", "tuning_operations_1", "tuning_2", "tuning_operations_2"]
    assert [figure.name for figure in drawn] == names
    assert drawn[0].title == "mean of 2 tasks: bptt ends highest after 2 searches of 3 trials"
    assert "bptt ends at 56.00" in drawn[0].alt
    assert drawn[2].content.x == "log10 of operations so far"
    assert drawn[2].content.curves["bptt"].x[0] == math.log10(2000)  # where the second search has a trial, too
    assert [row["search"] for row in drawn[0].rows][:6] == [0, 0, 0, 1, 1, 1]
    assert title(found) == "tuning 3 rules on yinyang, digits: 2 searches of 3 trials for each"


def test_the_page_shows_where_was_searched_and_what_ended_at_an_end(tmp_path):
    write_tuning(tmp_path / "t")
    page = write_report(tmp_path / "t").html.read_text()
    assert "kind x, lr 0.2 (near an end)" in page
    assert "kind x to y, lr 0.01 to 0.2" in page
    assert "How far the searches of a rule end apart is the error of tuning." in page


def test_a_tuning_of_an_earlier_version_is_shown(tmp_path):
    found = write_tuning(tmp_path / "t", earlier=True)
    assert place(found, next(iter(found["studies"]))).rule == "bptt"
    report = write_report(tmp_path / "t")
    assert [path.name for path in report.figures] == ["tuning.png", "tuning_1.png", "tuning_2.png"]
    assert "the error of tuning is not in the intervals" in report.html.read_text()


@pytest.mark.parametrize("name", ["demo", "paper/yinyang", "paper/nmnist_small", "quick/randman"])
def test_committed_tunings_have_the_shape_of_one(name):
    found = files.read_json(ROOT / "experiments" / "results" / name / "tuning.json", files.GROWN)
    tables.tuning(found, "tuning.json")
    assert figures(found)[0].name == "tuning"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda one: one["trials"].pop(), "has not the 3 trials of the budget"),
        (lambda one: one["at_end"].append("pulse"), "at_end has options that were not searched"),
        (lambda one: one.update(search=1), "is not named after its search, 1"),
        (lambda one: one["within"].update(lr=[1.0]), "a list of at least 2"),
        (lambda one: one["trials"][0].update(operations=-1), "a whole number, at least 0"),
    ],
)
def test_a_search_that_no_command_writes_is_refused(tmp_path, change, message):
    found = write_tuning(tmp_path / "t")
    change(next(iter(found["studies"].values())))
    with pytest.raises(ValueError, match=message):
        tables.tuning(found, "tuning.json")
