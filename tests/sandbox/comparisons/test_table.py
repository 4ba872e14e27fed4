"""Rows of a table over searches, counts, settings, and the notes beneath."""

from __future__ import annotations

import numpy as np
import pytest

from sandbox.comparisons.contents import distinct, resolution_of
from sandbox.comparisons.table import format_table
from sandbox.measures import answers
from sandbox.statistics import block_means, interval, verdicts
from tests.sandbox.comparisons.made import found, run_of, table_of

RNG = np.random.default_rng(0)
BASE = [int(k) for k in RNG.integers(700, 720, 16)]
OURS = [k + 60 + int(RNG.integers(0, 20)) for k in BASE]


def searched(label, counts, searches=8, **more):
    """Runs of a rule whose n-th seed has the options of search n modulo their number."""
    return [
        run_of(
            label,
            n,
            k,
            search=found(n % searches, 0.1 + n % searches / 100, **more),
            options={"lr": 0.1 + n % searches / 100},
        )
        for n, k in enumerate(counts)
    ]


def rows_of(table):
    return {row["rule"]: row for row in table["rows"]}


def test_rows_are_over_searches():
    of = [n % 8 for n in range(16)]
    table = table_of({"readout_only": searched("readout_only", BASE), "bptt": searched("bptt", OURS)})
    row = rows_of(table)["bptt"]
    percent = [100 * (k / 1000) for k in OURS]
    assert row["searches"] == of
    assert row["accuracy"] == list(interval(block_means(percent, of)))
    base = [100 * (k / 1000) for k in BASE]
    wanted = verdicts(base, {"bptt": percent}, "readout_only", of, 1000)["bptt"]
    assert (row["p"], row["over_baseline"], row["verdict"]) == (wanted.p, list(wanted.difference), "above readout_only")
    assert row["p"] == 2 / 2**8
    assert "over 8 searches of tuning with 2 seeds each, so the error of tuning is in them" in format_table(table)


@pytest.mark.parametrize(
    ("searches", "note"),
    [
        (None, "settings given, none searched: tuning error not in the interval"),
        (1, "one search of tuning for each rule: tuning error not in the interval"),
    ],
)
def test_without_several_searches_seeds_are_replicates(searches, note):
    def make(label, counts):
        if searches is None:
            return [run_of(label, n, k, options={"lr": 0.1}) for n, k in enumerate(counts)]
        return searched(label, counts, searches)

    table = table_of({"readout_only": make("readout_only", BASE), "bptt": make("bptt", OURS)})
    assert rows_of(table)["bptt"]["p"] == 2 / 2**16
    assert note in format_table(table)


def test_two_searches_show_no_spread():
    table = table_of({"readout_only": searched("readout_only", BASE, 2), "bptt": searched("bptt", OURS, 2)})
    assert "no intervals: 2 searches cannot show a spread" in format_table(table)
    assert "too few searches: with 2 no difference" in format_table(table)


def test_settings_say_what_was_searched_fixed_and_at_an_end():
    ours = [
        run_of("hzo", n, k, search=found(n, (1 + n) / 16, at_end=["lr"] if n < 3 else []), options={"lr": (1 + n) / 16})
        for n, k in enumerate(OURS)
    ]
    table = table_of({"readout_only": searched("readout_only", BASE, 16), "hzo": ours})
    assert rows_of(table)["hzo"]["settings"] == {
        "searched": {"lr": [0.001, 1.0]},
        "fixed": {"momentum": 0.9},
        "at_end": {"lr": 3},
    }
    text = format_table(table)
    assert "hzo: searched lr 0.001 to 1; not searched: momentum fixed at 0.9" in text
    assert "hzo: lr lies near an end of its range in 3 of 16 searches" in text
    assert "readout_only: searched lr 0.001 to 1\n" in text


def test_a_rule_that_is_there_again_gives_the_resolution():
    """The two rows differ by 30 answers of 1,000, now up and now down, so that their mean difference is 0."""
    base, apart = searched("readout_only", BASE, 16), [30 if n % 2 else -30 for n in range(16)]
    again = [
        run._replace(rule="bptt again", config={**run.config, "rule": {**run.config["rule"], "label": "bptt again"}})
        for run in searched("bptt", [k + d for k, d in zip(OURS, apart)], 16)
    ]
    near = searched("tcl", [k + 20 for k in BASE], 16)
    far = searched("hzo", [k + 40 for k in BASE], 16)
    table = table_of(
        {"readout_only": base, "bptt": searched("bptt", OURS, 16), "bptt again": again, "tcl": near, "hzo": far}
    )
    assert rows_of(table)["bptt again"]["again"] == "bptt"
    assert resolution_of(table).points == pytest.approx(3.0)
    text = format_table(table)
    assert (
        "resolution of this table: 3.00 points (bptt beside bptt again, the same rule tuned twice: on average 3.00 "
        "[3.00, 3.00] apart)" in text
    )
    assert rows_of(table)["tcl"]["verdict"] == "above readout_only, by less than the table's resolution"
    assert rows_of(table)["hzo"]["verdict"] == "above readout_only"


def test_other_fixed_options_are_another_rule():
    runs = {"readout_only": searched("readout_only", BASE, 16), "tcl": searched("tcl", OURS, 16)}
    other = [
        run._replace(rule="tcl wide", config={**run.config, "rule": {**run.config["rule"], "label": "tcl wide"}})
        for run in searched("tcl", OURS, 16)
    ]
    wide = [
        run._replace(
            config={**run.config, "rule": {**run.config["rule"], "options": {**run.config["rule"]["options"], "k": 2}}}
        )
        for run in other
    ]
    assert rows_of(table_of({**runs, "tcl wide": other}))["tcl wide"]["again"] == "tcl"
    assert rows_of(table_of({**runs, "tcl wide": wide}))["tcl wide"]["again"] is None


def test_rules_that_coincide_are_one_row_and_one_comparison():
    runs = {
        "hzo": searched("hzo", OURS, 16),
        "layerwise_zo": searched("layerwise_zo", [k + 10 * (-1) ** n for n, k in enumerate(OURS)], 16),
        "readout_only": searched("readout_only", BASE, 16),
    }
    table = table_of(runs, coincides={"layerwise_zo": "hzo"})
    rows = rows_of(table)
    assert rows["hzo"]["p_adjusted"] == rows["hzo"]["p"]  # one comparison, not two
    assert rows["layerwise_zo"]["verdict"] is None
    text = format_table(table)
    assert text.splitlines()[3].startswith("hzo = layerwise_zo ")
    assert not any(line.startswith("layerwise_zo") for line in text.splitlines()[:6])
    assert "hzo = layerwise_zo: the same gradients on this network, so they are one row; means as they were" in text
    assert "(hzo beside layerwise_zo, the same gradients tuned twice: on average 1.00" in text


@pytest.mark.parametrize(("searches", "rows"), [(16, 3), (1, 2)])
def test_results_tell_rules_apart_but_for_the_chance_of_one_search(searches, rows):
    """Every seed of a rule that was searched once has the error of that search, on one side."""
    runs = {
        "hzo": searched("hzo", OURS, searches),
        "layerwise_zo": searched("layerwise_zo", [k - 40 for k in OURS], searches),
        "readout_only": searched("readout_only", BASE, searches),
    }
    table = table_of(runs, coincides={"layerwise_zo": "hzo"})
    assert len(distinct(table)["rows"]) == rows


def test_ranks_are_of_whole_numbers_of_answers():
    """Of 397 answers, percentages of equal differences differ in their last digits."""
    ours, base = [300, 310, 320, 305, 301, 302, 303], [290, 300, 310, 300, 296, 297, 300]
    table = table_of(
        {
            "readout_only": [run_of("readout_only", n, k, samples=397) for n, k in enumerate(base)],
            "bptt": [run_of("bptt", n, k, samples=397) for n, k in enumerate(ours)],
        }
    )
    assert table["answers"] == 397
    assert rows_of(table)["bptt"]["p"] == verdicts(base, {"bptt": ours})["bptt"].p


def test_answers_are_counted_only_where_shares_are_of_samples():
    part = {"accuracy": 0.5, "samples": 4.0}
    assert answers([part, part]) == 4
    assert answers([part, {"accuracy": 0.5}]) is None  # of an earlier version
    assert answers([part, {"accuracy": 0.5, "samples": 6.0}]) is None
    assert answers([part, {"accuracy": 0.3, "samples": 4.0}]) is None  # more answers than samples
    assert answers([{"r2": 0.5, "samples": 4.0}]) is None


def test_accuracy_at_several_budgets():
    """Four epochs of 200 operations beside two of them: at 400 operations the longer run has had two epochs."""
    longer = [run_of("bptt", n, 800 + n, curve=(0.1, 0.4, 0.5, 0.6, 0.7)) for n in range(3)]
    base = [run_of("readout_only", n, 700 + n, curve=(0.1, 0.3, 0.35)) for n in range(3)]
    table = table_of({"readout_only": base, "bptt": longer})
    heights = {name: each[0] for name, each in rows_of(table)["bptt"]["budgets"].items()}
    assert heights == pytest.approx({"first": 40.0, "half": 50.0, "whole": 70.0, "operations": 50.0})
    heights = {name: each[0] for name, each in rows_of(table)["readout_only"]["budgets"].items()}
    assert heights == pytest.approx({"first": 30.0, "half": 30.0, "whole": 35.0, "operations": 35.0})
    text = format_table(table)
    assert "validation accuracy %  1 epoch               half                  all" in text
    assert "at equal operations" in text


def test_a_rule_whose_first_epoch_costs_more_has_no_accuracy_at_equal_operations():
    def costly(run):
        return run._replace(metrics=[{**line, "synaptic_operations": 10**6 * line["epoch"]} for line in run.metrics])

    dear = [costly(run_of("hzo", n, 800 + n)) for n in range(3)]
    table = table_of({"readout_only": [run_of("readout_only", n, 700 + n) for n in range(3)], "hzo": dear})
    assert rows_of(table)["hzo"]["budgets"]["operations"] is None


def test_seeds_that_would_tell_rules_apart_are_in_the_notes():
    rng = np.random.default_rng(4)
    base = [int(k) for k in rng.integers(690, 710, 8)]
    ours = [k + int(d) for k, d in zip(base, rng.integers(-25, 60, 8))]
    table = table_of(
        {
            "readout_only": [run_of("readout_only", n, k) for n, k in enumerate(base)],
            "bptt": [run_of("bptt", n, k) for n, k in enumerate(ours)],
        }
    )
    assert rows_of(table)["bptt"]["verdict"] == "not distinguishable from readout_only"
    (note,) = [line for line in format_table(table).splitlines() if line.startswith("over 1 point apart")]
    assert "seeds would tell readout_only from bptt" in note


def test_a_row_with_a_number_says_by_what_it_differs():
    """The seeds, the labels and what searches found tell no rows apart."""
    runs = {
        "bptt": [run_of("bptt", seed, 900) for seed in range(2)],
        "bptt#2": [run_of("bptt#2", seed, 910, name="bptt", options={"window": 3}) for seed in range(2)],
        "readout_only": [run_of("readout_only", seed, 800) for seed in range(2)],
    }
    table = table_of(runs)
    assert "bptt#2 is bptt with rule.options.window=3" in format_table(table).splitlines()
    assert "differs" not in table_of({"bptt": runs["bptt"], "readout_only": runs["readout_only"]})
