"""Rules that are one rule on a network are found, and rules that differ anywhere are not."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

import rules
from sandbox.comparisons.coinciding import coinciding
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.gather import gather
from sandbox.comparisons.rows import borne_out
from sandbox.comparisons.table import format_table
from sandbox.comparisons.verify import verify
from sandbox.config.rule import RuleConfig, Search
from sandbox.machine.files import read_json, write_json
from sandbox.runs.verify import HOLDS
from tests.sandbox.runs.test_run import TINY

LAYERED = ("hzo", "layerwise_zo", "sequential_local")
DATA = TINY.load()


def plans(*rules_, hidden=(10,)):
    network = replace(TINY.network, hidden=list(hidden))
    return {rule.title: replace(TINY, rule=rule, network=network) for rule in rules_}


def searched(name, lr, label=None):
    return RuleConfig(name, {"lr": lr}, search=Search({"lr": lr}, {"lr": [0.001, 1.0]}), label=label)


def test_layered_rules_are_one_with_one_hidden_layer():
    found = coinciding(plans(*(RuleConfig(name, {"lr": 0.1}) for name in (*LAYERED, "spsa", "bptt"))), DATA)
    assert found == {"layerwise_zo": "hzo", "sequential_local": "hzo"}


def test_they_are_not_with_three():
    found = coinciding(plans(*(RuleConfig(name, {"lr": 0.1}) for name in LAYERED), hidden=(10, 10, 10)), DATA)
    assert "layerwise_zo" not in found
    assert "sequential_local" not in found


def test_what_tuning_found_may_differ_and_what_was_given_may_not():
    assert coinciding(plans(searched("hzo", 0.1), searched("layerwise_zo", 0.3)), DATA) == {"layerwise_zo": "hzo"}
    assert coinciding(plans(RuleConfig("hzo", {"lr": 0.1}), RuleConfig("layerwise_zo", {"lr": 0.3})), DATA) == {}
    assert coinciding(plans(RuleConfig("hzo", {"lr": 0.1}), searched("layerwise_zo", 0.1)), DATA) == {}


def test_a_rule_that_is_there_again_does_not_coincide_with_itself():
    again = searched("hzo", 0.3, "hzo again")
    found = coinciding(plans(searched("hzo", 0.1), again, searched("layerwise_zo", 0.2)), DATA)
    assert found == {"layerwise_zo": "hzo"}


def adam_hzo():
    """Equal gradients, and another plasticity."""
    return replace(rules.make("layerwise_zo"), plasticity=rules.make("bptt").plasticity)


def test_equal_gradients_are_not_enough():
    there = RuleConfig("tests.sandbox.comparisons.test_coinciding:adam_hzo", label="adam")
    assert coinciding(plans(RuleConfig("hzo"), there), DATA) == {}


@pytest.mark.parametrize("factor", [1.0 + 1e-7, 1.0 + 1e-4])
def test_gradients_agree_to_rounding(factor):
    """A credit scaled by less than rounding is the same, by more is another."""
    there = RuleConfig("tests.sandbox.comparisons.test_coinciding:scaled", {"factor": factor}, label="scaled")
    assert bool(coinciding(plans(RuleConfig("bptt"), there), DATA)) == (factor < 1 + 1e-5)


def scaled(factor):
    """BPTT whose gradients are larger by a factor."""
    recipe = rules.make("bptt")
    return replace(recipe, credit=Scaled(recipe.credit, factor))


class Scaled(rules.CreditRule):
    """Another rule's credit, times a factor."""

    needs = frozenset({"gradient"})
    claim = "descent"

    def __init__(self, inner, factor):
        self.inner, self.factor = inner, factor

    def assign(self, model, objective, batch, state, rng):
        credit = self.inner.assign(model, objective, batch, state, rng)
        return credit._replace(grads={name: self.factor * g for name, g in credit.grads.items()})


def nothing():
    """BPTT whose gradients are all 0."""
    return scaled(0.0)


def test_gradients_of_zero_say_nothing():
    """Two rules of which the first batches show nothing: what they do later may differ."""
    here = "tests.sandbox.comparisons.test_coinciding"
    zero = RuleConfig(f"{here}:scaled", {"factor": 0.0}, label="zero")
    assert coinciding(plans(zero, RuleConfig(f"{here}:nothing", label="nothing")), DATA) == {}


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison in which two rules are one."""
    folder = tmp_path_factory.mktemp("coinciding") / "c"
    layered = [RuleConfig(name, {"lr": 0.1}) for name in LAYERED[:2]]
    return folder, compare(Comparison(replace(TINY, epochs=1), layered, seeds=1), folder)


def warm():
    """BPTT for as many steps as are compared, then another way."""
    recipe = rules.make("bptt")
    return replace(recipe, credit=Turning(recipe.credit, 1.0))


class Turning(Scaled):
    """Another rule's credit, then its opposite."""

    def assign(self, model, objective, batch, state, rng):
        credit = self.inner.assign(model, objective, batch, state, rng)
        self.factor -= 0.4  # 0.6 in the first batch would be seen
        return credit if self.factor > 0 else credit._replace(grads={n: -g for n, g in credit.grads.items()})


def test_results_tell_rules_apart_that_begin_alike(tmp_path):
    """The row of a rule that turns round after the batches that were compared stays its own."""
    turning = RuleConfig("tests.sandbox.comparisons.test_coinciding:warm", label="turning")
    assert coinciding(plans(RuleConfig("bptt"), turning), DATA) == {"turning": "bptt"}
    same = {"b": "a"}
    heights = {"a": [90.0, 91.0, 93.0], "b": [90.0, 91.3, 92.6]}
    assert borne_out(same, heights) == same
    assert borne_out(same, {**heights, "b": [10.0, 12.0, 11.0]}) == {}
    assert borne_out(same, {"a": [90.0, 91.0], "b": [10.0, 12.0]}) == same  # too few to say


def test_a_comparison_keeps_what_coincides_and_verify_holds(compared):
    folder, table = compared
    assert table["coincides"] == {"layerwise_zo": "hzo"}
    hzo, layerwise, _ = table["rows"]
    assert layerwise["accuracies"] == hzo["accuracies"]  # to the bit, at equal settings
    assert {finding.state for finding in verify(folder)["."]} == {HOLDS}


def test_the_table_of_finished_runs_has_it_too(compared):
    text = format_table(gather(compared[0]))
    assert "\nhzo = layerwise_zo " in text


def test_a_table_that_forgets_it_does_not_follow_from_its_runs(compared, tmp_path):
    folder = tmp_path / "c"
    shutil.copytree(compared[0], folder)
    table = read_json(folder / "table.json")
    write_json(folder / "table.json", {**table, "coincides": {}})
    assert "layerwise_zo (coincides" in " ".join(finding.why for finding in verify(folder)["."])
