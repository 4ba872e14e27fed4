"""Runs of rules that were searched, or bring their own read-out, are one comparison: a row for each rule."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.gather import gather
from sandbox.comparisons.notes import head
from sandbox.comparisons.sweep import swept
from sandbox.comparisons.verify import verify
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig, Search
from sandbox.runs.run import run
from sandbox.runs.verify import HOLDS
from tests.sandbox.runs.test_run import TINY

READOUT = Choice("leaky_integrator", {"tau_mem": 3.0})
SHORT = replace(TINY, epochs=1)


def searched(name, *rates, **more):
    found = [Search({"lr": lr}, {"lr": [1e-3, 1.0]}, number=n) for n, lr in enumerate(rates)]
    return RuleConfig(name, searched=found, **more)


PLAN = Comparison(
    SHORT,
    [
        searched("bptt", 0.05, 0.1, readout=READOUT),
        searched("bptt", 0.05, 0.2, label="again"),
        searched("readout_only", 0.02, 0.03),
    ],
    seeds=2,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched") / "c"
    return folder, compare(PLAN, folder, jobs=1)


def test_each_rule_is_one_row_whatever_its_searches_found(whole):
    folder, table = whole
    found = gather(folder)
    assert sorted(row["rule"] for row in found["rows"]) == ["again", "bptt", "readout_only"]
    assert {row["rule"]: row["accuracies"] for row in found["rows"]} == {
        row["rule"]: row["accuracies"] for row in table["rows"]
    }
    assert {each.state for found in verify(folder).values() for each in found} == {HOLDS}


def test_the_same_rule_with_given_options_is_another_row(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "c")
    for seed in range(2):
        given = replace(SHORT, rule=RuleConfig("bptt", {"lr": 0.05}), seed=seed)
        run(given, tmp_path / "c" / given.identity)
    rules = [row["rule"] for row in gather(tmp_path / "c")["rows"]]
    assert sorted(rules) == ["again", "bptt", "bptt#2", "readout_only"]


def test_two_comparisons_with_other_read_outs_are_not_one(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "c")
    network = replace(SHORT.network, readout=READOUT)
    other = replace(SHORT, network=network, rule=RuleConfig("readout_only"))
    run(other, tmp_path / "c" / other.identity)
    with pytest.raises(
        ValueError, match="runs of 2 different experiments; .* differ only in rule, its read-out and se"
    ):
        gather(tmp_path / "c")


def test_what_a_search_found_goes_wherever_it_was_put():
    """Also to a plasticity that replaces the one of the recipe."""
    rule = searched("bptt", 0.1, 0.2, plasticity=Choice("sgd", {"momentum": 0.5}))
    first, second = rule.of_seed(0), rule.of_seed(1)
    assert first.plasticity.options["lr"] != second.plasticity.options["lr"]
    assert first.unsearched == second.unsearched
    assert first.unsearched.plasticity == Choice("sgd", {"momentum": 0.5})
    assert RuleConfig("bptt", {"lr": 0.1}).unsearched == RuleConfig("bptt", {"lr": 0.1})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Comparison(rules=[searched("bptt", 0.1)], seeds=1),
            "the baseline readout_only, which is added, was not: list it with as many searches; `sandbox tune` writes",
        ),
        (
            lambda: Comparison(rules=[searched("bptt", 0.1), "readout_only"], seeds=1),
            r"rules of \[0, 1\] searches: give each rule equally many",
        ),
        (
            lambda: swept(PLAN, ["rule.options.lr=[0.1, 0.2]"]),
            r"--sweep rule.options.lr: 'bptt' was searched for lr; .* leave out `searched`",
        ),
    ],
)
def test_what_does_not_go_together_with_searches_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_searches_on_another_task_are_said(tmp_path):
    def rules(setting):
        found = [Search({"lr": 0.1}, {"lr": [1e-3, 1.0]}, number=n, setting=setting) for n in range(2)]
        return [RuleConfig(name, searched=found) for name in ("bptt", "readout_only")]

    longer = replace(SHORT, epochs=2)
    assert replace(SHORT, seed=5, rule=RuleConfig("spsa")).setting == SHORT.setting != longer.setting
    (here,) = head(compare(Comparison(SHORT, rules(SHORT.setting), seeds=2), tmp_path / "here", jobs=1))
    assert (
        here
        == "intervals and verdicts are over 2 searches of tuning with 1 seed each, so the error of tuning is in them"
    )
    (there,) = head(compare(Comparison(SHORT, rules(longer.setting), seeds=2), tmp_path / "there", jobs=1))
    assert there.startswith("settings of bptt, readout_only were searched on another task, network or length: ")
    assert {each.state for found in verify(tmp_path / "there").values() for each in found} == {HOLDS}
