"""What tuning found for a rule, and how a comparison hands it to its seeds."""

import pytest

from sandbox.comparisons.comparison import Comparison
from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig, Search

LR = {"lr": [1e-3, 1.0]}
BITS = Choice("stochastic_binary")


def searched(name, *rates):
    return RuleConfig(name, {"lr": 0.5}, searched=[Search({"lr": lr}, LR, number=n) for n, lr in enumerate(rates)])


def test_each_seed_learns_with_the_options_of_its_search():
    rules = [searched("bptt", 0.1, 0.2), searched("readout_only", 0.3, 0.4)]
    runs = Comparison(rules=rules, seeds=4).experiments()["bptt"]
    assert [run.rule.options["lr"] for run in runs] == [0.1, 0.2, 0.1, 0.2]
    assert [run.rule.search.number for run in runs] == [0, 1, 0, 1]
    assert all(not run.rule.searched for run in runs)


def test_a_rule_brings_its_own_readout_to_a_comparison():
    runs = Comparison(rules=[RuleConfig("bptt", readout=BITS), "readout_only"], seeds=1).experiments()
    assert runs["bptt"][0].network.readout == BITS != runs["readout_only"][0].network.readout
    assert runs["bptt"][0].rule.readout is None


def test_forms_of_one_row_have_runs_of_their_own():
    def rule(name, optimizer):
        return RuleConfig(name, {"lr": 0.1 if optimizer == "adam" else 0.2}, variant=optimizer)

    rules = [rule(name, optimizer) for name in ("bptt", "readout_only") for optimizer in ("adam", "sgd")]
    found = Comparison(rules=rules, seeds=1).experiments()
    assert list(found) == ["bptt adam", "bptt sgd", "readout_only adam", "readout_only sgd"]
    assert [run.rule.row for (run,) in found.values()] == ["bptt", "bptt", "readout_only", "readout_only"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Search({"lr": 0.1}, {}), r"a search has the same options in all parts, unlike \['lr'\]"),
        (lambda: Search({"lr": 0.1}, LR, ["momentum"]), r"unlike \['momentum'\]"),
        (
            lambda: Search({"lr": 2.0}, LR),
            r"lr=2.0 in within=\[0.001, 1.0\]: give two numbers around it, or two values",
        ),
        (lambda: Search({"lr": 0.1}, {"lr": [1.0, 1e-3]}), "give two numbers around it"),
        (lambda: Search({"kind": "c"}, {"kind": ["a", "b"]}), "kind='c' in within"),
        (lambda: Search({"kind": "a"}, {"kind": ["a"]}), "or two values or more of which it is one"),
        (lambda: RuleConfig(variant="a/b"), "variant='a/b' is part of the name of a folder"),
        (lambda: Search(trials=0), "give at least 1 trial"),
        (
            lambda: RuleConfig("bptt", searched=[Search({"lr": 0.1}, LR), Search()]),
            "searched: every search has the same options",
        ),
        (lambda: RuleConfig("bptt", searched=[Search()], search=Search()), "the first is for a comparison"),
        (
            lambda: RuleConfig("bptt", searched=[Search(number=n) for n in (0, 1, 1)]),
            r"each search has a number of its own, and these have \[0, 1, 1\]",
        ),
        (lambda: RuleConfig("bptt", label="readout_only"), "label='readout_only' is the name of another row or rule"),
        (lambda: RuleConfig("spsa", label="bptt"), "label='bptt' is the name of another row or rule"),
        (lambda: RuleConfig("bptt", label="linear classifier"), "'linear classifier' is the name of another row"),
        (lambda: Experiment(rule=searched("bptt", 0.1)), "a run has the options of one search"),
        (lambda: Experiment(rule=RuleConfig("bptt", readout=BITS)), "set network.readout"),
        (
            lambda: Comparison(rules=[searched("bptt", 0.1, 0.2), searched("readout_only", 0.1)], seeds=2),
            r"rules of \[1, 2\] searches: give each rule equally many",
        ),
        (
            lambda: Comparison(rules=[searched("bptt", 0.1, 0.2), searched("readout_only", 0.1, 0.2)], seeds=3),
            "seeds=3 after 2 searches: give equally many seeds to each",
        ),
        (
            lambda: Comparison(Experiment(seed=998), [searched("bptt", 0.1), searched("readout_only", 0.1)], seeds=3),
            "seed=998, seeds=3: tuning has the seeds from 1000 on",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
