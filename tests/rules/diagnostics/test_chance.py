"""The finding that answers are at chance: when it is said, by binomial counts, and which remedy it names."""

from __future__ import annotations

import pytest
import torch

import rules
from rules.diagnostics.chance import at_chance, remedy
from rules.measures import Accuracy


def counted(hits, n, classes=10):
    """Answers to n samples of as many classes of one size, of which so many are right."""
    truth = torch.arange(n) % classes
    given = torch.where(torch.arange(n) < hits, truth, (truth + 1) % classes)
    found = Accuracy()
    found.add(torch.nn.functional.one_hot(given, classes).float(), truth)
    return found


def said(found, steps=100, name="stdp", **options):
    rule = rules.make(name, **options)
    return list(at_chance(found, rule.credit, rule.objective, steps))


@pytest.mark.parametrize(("hits", "kinds"), [(0, 1), (100, 1), (120, 1), (123, 0), (200, 0), (1000, 0)])
def test_it_is_said_up_to_the_bound_of_a_binomial(hits, kinds):
    """Of 1000 guesses at ten classes, 100 + 2.33 * 9.49 = 122.1 are right or more in one test of a hundred."""
    assert len(said(counted(hits, 1000))) == kinds


def test_a_small_test_or_a_short_run_says_nothing():
    """With 40 answers a network that learned a tenth of what there is, 19 %, has none right in 1 % of tests or so."""
    assert said(counted(4, 40)) == []
    assert said(counted(100, 1000), steps=99) == []
    assert said(Accuracy()) == []


def test_the_bound_is_met_by_guesses_and_by_a_little_learning():
    """Of 2000 tests of 500 guesses 1 % are above the bound, within five standard errors; none that learned a third."""
    rng = torch.Generator().manual_seed(0)
    hits = torch.binomial(torch.full((2000,), 500.0), torch.full((2000,), 0.1), generator=rng).int().tolist()
    quiet = sum(not said(counted(each, 500)) for each in hits) / 2000
    assert quiet < 0.01 + 5 * (0.01 * 0.99 / 2000) ** 0.5 + 0.005  # and as much for the normal form of the bound
    hits = torch.binomial(torch.full((2000,), 500.0), torch.full((2000,), 0.4), generator=rng).int().tolist()
    assert not any(said(counted(each, 500)) for each in hits)


def test_guessing_is_the_most_frequent_class():
    """Nine of ten samples are of one class: 90 % right is chance."""
    truth = (torch.arange(20000) % 10 == 0).long()
    found = Accuracy()
    found.add(torch.tensor([[1.0, 0.0]]).expand(20000, 2), truth)
    assert found.guess == 0.9
    (one,) = said(found)
    assert str(one).startswith(
        "the network is at chance (0.9): 90.0% of 20000 answers are right after 100 steps, and 90.0% would be by one"
    )


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("triplet_stdp", {}, "--network.model diehl_cook"),
        ("bcpnn", {"taught": False}, "--rule.options.objective assignment"),
        ("bcpnn", {}, "--rule bptt"),
        ("r_stdp", {}, "--rule bptt"),
        ("eventprop", {}, "--rule bptt"),
    ],
)
def test_the_remedy_is_for_the_kind_of_rule(name, options, words):
    rule = rules.make(name, **options)
    assert words in remedy(rule.credit, rule.objective)
