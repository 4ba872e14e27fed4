"""Verdicts in sentences, and the resolution that they are held against."""

from __future__ import annotations

import math

import pytest

from sandbox.comparisons.chance import above_chance
from sandbox.comparisons.notes import at_chance
from sandbox.comparisons.ranking import partly_the_same
from sandbox.comparisons.resolution import SMALL, resolution
from sandbox.comparisons.verdicts import sentences, standing, verdicts_of
from sandbox.machine.files import read_json
from sandbox.statistics import interval
from sandbox.statistics.verdicts import BY_RANKS
from tests.conftest import ROOT


def table(verdicts):
    rows = [{"rule": rule, "verdict": words} for rule, words in verdicts.items()]
    return {"task": "digits", "baseline": "base", "rows": [*rows, {"rule": "base", "verdict": None}]}


@pytest.mark.parametrize(
    ("verdicts", "sentence"),
    [
        ({}, "on digits: base alone"),
        ({"a": "too few searches: with 3 no difference"}, "on digits: too few searches for verdicts against base"),
        ({"a": "above base"}, "on digits: a is above base"),
        ({"a": f"above base {BY_RANKS}: look"}, "on digits: no rule is above base; no verdict on a"),
        ({"a": f"above base{SMALL}"}, "on digits: a is above base, by less than the table's resolution"),
        (
            {"a": "above base", "b": f"above base{SMALL}", "c": "below base"},
            "on digits: 2 of 3 rules are above base (1 by less than the table's resolution): a, b; below it: c",
        ),
        (
            {"a": "not distinguishable from base", "b": "no direction against base: the ranks say above"},
            "on digits: no rule is above base; not distinguishable from it: a; no verdict on b",
        ),
    ],
)
def test_a_sentence_names_the_rules_on_each_side(verdicts, sentence):
    assert sentences(table(verdicts)) == [sentence]
    assert sentence.startswith(f"on digits: {standing(verdicts_of(table(verdicts)), 'base')}")


def test_exceptions_are_told_task_by_task():
    """A rule that coincides has the verdict of its first; where nothing can be decided, no rule is an exception."""
    one, two, three = (
        table({"a": "above base", "b": words, "c": None})
        for words in ("not distinguishable from base", "above base", "above base")
    )
    one["rows"][2]["coincides"] = "a"
    three["rows"] = table(dict.fromkeys("abc", "too few seeds: with 5 no difference"))["rows"]
    overall = table(dict.fromkeys("abc", "above base"))
    overall |= {"tables": {"x": one, "y": two, "z": three}, "tasks": {"x": "one", "y": "two", "z": "three"}}
    assert sentences(overall)[-1] == (
        "on these 3 tasks together: 3 of 3 rules are above base: a, b, c; not above it on one: b; not above it on two: c"
    )


def test_rows_that_coincide_on_some_tasks_are_named():
    one, two = (table({"a": "above base", "b": "above base"}) for _ in range(2))
    one["rows"][1]["coincides"] = "a"
    overall = {
        **table({"a": "above base", "b": "above base"}),
        "tables": {"x": one, "y": two},
        "tasks": {"x": 1, "y": 2},
    }
    assert partly_the_same(overall) == ["b has the gradients of a on 1 of 2 tasks: not two findings there"]
    two["rows"][1]["coincides"] = overall["rows"][1]["coincides"] = "a"
    assert partly_the_same(overall) == []


@pytest.mark.parametrize("grid", ["paper", "quick"])
def test_the_committed_ranking_is_told_as_its_rows_say(grid):
    """Counted here by the first word of each verdict."""
    overall = read_json(ROOT / "experiments" / "results" / grid / "overall.json")
    *each, whole = sentences(overall)
    assert [said.partition(":")[0] for said in each] == [f"on {table['task']}" for table in overall["tables"].values()]
    parts = {
        part.partition(": ")[0]: part.partition(": ")[2].split(", ") for part in whole.split(": ", 1)[1].split("; ")
    }
    names = {part: found for part, found in parts.items() if not part.startswith("not above it on")}
    for first, words in (("above", "rules are above"), ("below", "below it"), ("not", "not distinguishable from it")):
        found = [row["rule"] for row in overall["rows"] if (row["verdict"] or "").startswith(first)]
        assert found == next((named for part, named in names.items() if words in part), [])


def test_the_resolution_is_the_largest_of_all_pairs():
    values = {
        "a": [80.0, 81.0, 82.0, 83.0],
        "a again": [81.0, 80.0, 83.0, 82.0],
        "b": [70.0] * 4,
        "b again": [73.0, 68.0, 71.0, 74.0],
    }
    found = resolution(values, {"a again": "a", "b again": "b"})
    wanted = interval([3.0, 2.0, 1.0, 4.0])
    assert (found.rule, found.again) == ("b", "b again")
    assert found.apart == pytest.approx(wanted)
    assert found.points == wanted.high
    assert resolution(values, {}) is None


def test_two_replicates_have_the_mean_as_their_resolution():
    found = resolution({"a": [80.0, 81.0], "a again": [82.0, 80.0]}, {"a again": "a"})
    assert math.isnan(found.apart.high)
    assert found.points == 1.5


def test_a_distance_is_not_below_zero():
    found = resolution({"a": [0.0, 0.0, 0.0], "a again": [0.0, 0.0, 9.0]}, {"a again": "a"})
    assert found.apart.low == 0.0


def scored(accuracies, chance=10.0):
    rows = [
        {"rule": rule, "seeds": len(found), "accuracies": found, "accuracy": [sum(found) / len(found), None, None]}
        for rule, found in accuracies.items()
    ]
    return {"chance": chance, "rows": rows}


def test_a_table_without_a_rule_above_chance_says_so():
    up, down = [11.0 + n for n in range(8)], [9.0 - n / 10 for n in range(8)]
    assert at_chance(scored({"up": up, "down": down})) is None
    assert at_chance({**scored({"up": up}), "chance": None}) is None
    assert at_chance(scored({"down": down})).startswith(
        "no rule is above chance, 10.00 % (one-sided signed ranks over seeds"
    )


def test_chance_is_tested_one_sided_with_holm():
    """Eight unanimous seeds have p = 1/256: enough for two rules, and for one of which a seed is not there."""
    up, down = [11.0 + n for n in range(8)], [9.0 - n / 10 for n in range(8)]
    assert above_chance(scored({"up": up, "down": down}))[0] == ["up"]
    few, how = above_chance(scored({"up": up[:3], "down": down[:3]}))
    assert (few, how) == (["up"], "by means, since there are too few seeds for a test")
    broken = [*up[:7], math.nan]
    assert above_chance(scored({"up": up, "broken": broken}))[0] == ["up"]
