"""Every named rule declares what to search, and all that it declares is valid."""

from __future__ import annotations

import inspect

import pytest

import rules
from rules import RULES
from rules.credit.zero_order.relative import ACROSS_SPIKES
from rules.spaces import NOISY, RATES, SPACES, STEP, Options, Range, space_of, space_with


def test_every_rule_has_a_space():
    assert list(SPACES) == list(RULES)
    assert all(SPACES.values())


@pytest.mark.parametrize("name", RULES)
def test_a_space_is_of_legal_options_and_its_ends_make_a_rule(name):
    valid = inspect.signature(RULES[name]).parameters
    for option, found in SPACES[name].items():
        assert option in valid
        for end in found.ends:
            assert rules.make(name, **{option: end}).needs


def test_a_stranger_says_it_itself():
    def recipe(): ...

    with pytest.raises(ValueError, match=r"rule 'a:b' declares no search space: give its recipe an attribute, `recipe"):
        space_of("a:b", recipe)
    recipe.space = {"lr": Range(1.0, 2.0)}
    assert space_of("a:b", recipe) == {"lr": Range(1.0, 2.0)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(2.0, 1.0), "a range from 2.0 to 1.0: give two finite numbers, the smaller one first"),
        (lambda: Range(0.0, 1.0, log=True), "a logarithmic range from 0.0: give a lower end above 0"),
        (lambda: Options((1,)), r"options \(1,\): give at least two to choose from"),
    ],
)
def test_impossible_spaces_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


PERTURBING = {
    "spsa": "step",
    "coordinate_wise": "step",
    "node_perturbation": "sigma",
    "evolution_strategy": "sigma",
}


@pytest.mark.parametrize(("name", "size"), PERTURBING.items())
def test_the_size_of_perturbations_is_searched_a_decade_each_way(name, size):
    assert SPACES[name][size] == STEP
    assert STEP.low == pytest.approx(ACROSS_SPIKES / 10)
    assert STEP.high == pytest.approx(ACROSS_SPIKES * 10)


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("name", [name for name in RULES if "optimizer" in inspect.signature(RULES[name]).parameters])
def test_a_space_for_each_optimizer(name, optimizer):
    """All ends make a rule with that optimizer; kolen_pollack follows plain SGD and Adam alone."""
    found = space_with(name, RULES[name], {"optimizer": optimizer})
    assert found["lr"] == (NOISY if optimizer == "sgd" and SPACES[name]["lr"] == NOISY else RATES[optimizer])
    assert ("momentum" in found) == (optimizer == "sgd" and name != "kolen_pollack")
    if name == "kolen_pollack" and optimizer == "rmsprop":
        return
    steady = {"momentum": 0.0} if name == "kolen_pollack" and optimizer == "sgd" else {}
    for option, space in found.items():
        for end in space.ends:
            made = rules.make(name, optimizer=optimizer, **steady, **{option: end})
            assert type(made.plasticity).__name__.lower() == optimizer


def test_without_an_optimizer_the_space_is_the_rules_own():
    for name, maker in RULES.items():
        assert space_with(name, maker, {}) == space_with(name, maker, {"lr": 0.1}) == space_of(name, maker)
    assert space_with("binary_stochastic", RULES["binary_stochastic"], {"optimizer": "adam"}).keys() == {"pulse"}
