"""Every named rule declares what to search, and all that it declares is valid."""

from __future__ import annotations

import inspect

import pytest

import rules
from rules import RULES
from rules.spaces import SPACES, Options, Range, space_of


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
