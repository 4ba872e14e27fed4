"""Variants of a rule, such as optimizers: validation chooses between them, and the table shows both."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.comparisons.comparison import Comparison, compare, compared_runs
from sandbox.comparisons.contents import resolution_of
from sandbox.comparisons.gather import gather
from sandbox.comparisons.table import format_table
from sandbox.comparisons.variants import headline
from sandbox.comparisons.verify import HOLDS, verify
from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.report import write_report
from sandbox.runs.finished import by_rule
from tests.sandbox.comparisons.made import found, run_of, table_of

OPTIMIZERS = ("adam", "sgd")
COUNTS = st.lists(st.tuples(*[st.integers(0, 1000)] * 4), min_size=4, max_size=8).filter(
    lambda each: len(each) % 2 == 0
)


def variant(row, name, test, validation, searches):
    """The runs of a variant, seed by seed."""
    return [
        run_of(
            f"{row} {name}",
            seed,
            right,
            name=row.partition(" ")[0],
            options={"optimizer": name},
            search=None if searches is None else found(seed % searches),
            variant=name,
            validated=validated,
        )
        for seed, (right, validated) in enumerate(zip(test, validation, strict=True))
    ]


@given(COUNTS, st.sampled_from([None, 2]))
@settings(deadline=None)
def test_each_replicate_is_of_the_variant_with_the_best_validation(counts, searches):
    """Against a loop over replicates; the test set has no say."""
    columns = np.array(counts).T  # test and validation under adam, then under sgd
    runs = {
        "bptt adam": variant("bptt", "adam", *columns[:2], searches),
        "bptt sgd": variant("bptt", "sgd", *columns[2:], searches),
    }
    seeds = range(len(counts))
    of = list(seeds) if searches is None else [seed % searches for seed in seeds]
    wanted = []
    for seed in seeds:
        mine = [other for other in seeds if of[other] == of[seed]]
        adam, sgd = (sum(columns[place][other] for other in mine) for place in (1, 3))
        wanted.append(columns[0 if adam >= sgd else 2][seed] / 1000)
    chosen = headline(runs)
    assert [run.result["test"]["accuracy"] for run in chosen.runs["bptt"]] == wanted
    assert {run.rule for run in chosen.runs["bptt"]} == {"bptt"}


def two_forms(row, tests, validations, searches=None):
    return {
        f"{row} {name}": variant(row, name, test, validation, searches)
        for name, test, validation in zip(OPTIMIZERS, tests, validations, strict=True)
    }


def test_the_table_shows_one_row_and_both_variants():
    high, low = [900] * 6, [700] * 6
    runs = two_forms("bptt", (high, low), ([5] * 3 + [1] * 3, [3] * 6)) | two_forms(
        "readout_only", (low, low), (low, high)
    )
    table = table_of(runs)
    assert [row["rule"] for row in table["rows"]] == ["bptt", "readout_only"]
    row = table["rows"][0]
    assert row["accuracies"] == [90.0] * 3 + [70.0] * 3
    assert [(each["variant"], each["taken"], each["accuracy"][0]) for each in row["variants"]] == [
        ("adam", 3, 90.0),
        ("sgd", 3, 70.0),
    ]
    assert "taken by validation" in format_table(table)
    assert "adam 3, sgd 3" in format_table(table)


def test_a_rule_that_is_there_twice_with_its_variants_gives_the_resolution():
    once, again = [900, 905, 910, 900], [910, 905, 900, 890]
    runs = two_forms("bptt", (once, once), (once, again), 4)
    runs |= {
        label.replace("bptt", "bptt again"): [each._replace(rule=label.replace("bptt", "bptt again")) for each in mine]
        for label, mine in two_forms("bptt", (again, once), (once, again), 4).items()
    }
    runs |= two_forms("readout_only", (once, once), (once, once), 4)
    table = table_of(runs)
    assert resolution_of(table).again == "bptt again"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A comparison that has run, with two optimizers."""
    experiment = Experiment(
        task=Choice("yinyang", {"train": 200, "validation": 100, "test": 100}),
        encoder=Choice("constant", {"steps": 3}),
        epochs=1,
    )
    rules = [
        RuleConfig(name, {"optimizer": each, "lr": 0.1}, variant=each)
        for name in ("bptt", "readout_only")
        for each in OPTIMIZERS
    ]
    folder = tmp_path_factory.mktemp("variants") / "runs"
    return folder, compare(Comparison(experiment, rules, seeds=3), folder, jobs=1)


def test_a_comparison_with_variants_is_run_verified_gathered_and_reported(place):
    folder, table = place
    assert [row["rule"] for row in table["rows"]] == ["bptt", "readout_only"]
    assert all(each.state == HOLDS for each in verify(folder)["."])
    assert gather(folder)["rows"] == table["rows"]
    runs = by_rule(compared_runs(folder))
    assert len(runs) == 4
    taken = headline(runs).taken["bptt"]
    assert table["rows"][0]["accuracies"] == pytest.approx(
        [100 * runs[f"bptt {name}"][n].result["test"]["accuracy"] for n, name in enumerate(taken)], rel=1e-12
    )
    assert write_report(folder).html.exists()


def test_a_variant_whose_validation_is_no_number_is_not_taken():
    runs = two_forms("bptt", ([900] * 3, [700] * 3), ([math.nan] * 3, [1] * 3))
    assert headline(runs).taken == {"bptt": ["sgd"] * 3}


@pytest.mark.parametrize(
    "rules",
    [
        [RuleConfig("bptt", {"lr": 0.1}, variant="adam"), RuleConfig("bptt", {"lr": 0.2})],
        [RuleConfig("bptt", {"lr": 0.1}, variant="adam"), RuleConfig("bptt", {"lr": 0.2}, variant="adam")],
        [RuleConfig("bptt", variant="adam", label="one"), RuleConfig("tet", variant="sgd", label="one")],
        [RuleConfig("readout_only", {"lr": 0.1}, variant="adam"), "readout_only"],
    ],
)
def test_rules_that_are_not_variants_of_one_row_are_refused(rules):
    """Otherwise one of them would be missing from the table."""
    with pytest.raises(ValueError, match="its variants are of one rule, each with a name of its own"):
        Comparison(rules=rules).experiments()


def test_a_label_like_a_variant_is_refused():
    rules = [RuleConfig("tet", label="bptt adam"), RuleConfig("bptt", variant="adam")]
    with pytest.raises(ValueError, match="a label is that of a variant of 'bptt'; give the rule another label"):
        Comparison(rules=rules).experiments()
