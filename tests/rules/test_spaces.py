"""Every named rule declares what to search, and all that it declares is valid."""

from __future__ import annotations

import inspect
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    for space, message in (
        (
            {"lr": (0.01, 0.1)},
            r"declares space\['lr'\] = \(0.01, 0.1\): give rules.spaces.Range\(low, high\) for numbers",
        ),
        ([("lr", Range(1.0, 2.0))], r"declares space = \[.*: give a dict of options"),
    ):
        recipe.space = space
        with pytest.raises(ValueError, match=message):
            space_of("a:b", recipe)
    recipe.space = {"lr": Range(1.0, 2.0)}
    assert space_of("a:b", recipe) == {"lr": Range(1.0, 2.0)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(2.0, 1.0), "a range from 2.0 to 1.0: give two finite numbers, the smaller one first"),
        (lambda: Range(0.0, 1.0, log=True), "a logarithmic range from 0.0: give a lower end above 0"),
        (lambda: Range(0.0, 1.0, most=0.9), "a range from 0.0 to 1.0 in bounds from None to 0.9: give ends inside"),
        (lambda: Range(0.0, 1.0, least=0.1), "a range from 0.0 to 1.0 in bounds from 0.1 to None: give ends inside"),
        (lambda: Range(-1e308, 1e308), "the smaller one first, and none beyond 9e[+]307"),
        (lambda: Range(0.0, math.inf), "a range from 0.0 to inf: give two finite numbers"),
        (lambda: Options((1,)), r"options \(1,\): give at least two to choose from"),
        (lambda: Options(((1, 2), (3, 4))), r"options with \(1, 2\): give numbers, texts, truth values or None"),
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


def share(found, value):
    """Where a value lies in a range, from 0 to 1."""
    low, high, at = (math.log(number) if found.log else number for number in (*found.ends, value))
    return (at - low) / (high - low)


@st.composite
def ranges(draw):
    log = draw(st.booleans())
    low = draw(st.floats(1e-6, 1e3) if log else st.floats(-1e3, 1e3))
    high = low * draw(st.floats(1.1, 1e6)) if log else low + draw(st.floats(0.1, 1e3))
    least, most = draw(st.floats(0.01, 1.0)) * abs(low), draw(st.floats(1.0, 100.0)) * abs(high)
    bounds = {"least": min(low, least) if draw(st.booleans()) else None, "most": max(high, most)}
    return Range(low, high, log, **bounds)


@given(ranges(), st.floats(0, 1))
@settings(deadline=None)
def test_an_end_is_near_within_a_tenth_of_the_range(found, at):
    low, high = found.ends
    value = low * (high / low) ** at if found.log else low + at * (high - low)
    place = share(found, value)
    if min(abs(place - 0.1), abs(place - 0.9)) > 1e-6:  # else rounding decides
        assert found.end_near(value) == ("low" if place < 0.1 else "high" if place > 0.9 else None)


@given(ranges(), st.sampled_from(["low", "high"]), st.floats(0.1, 1.0))
@settings(deadline=None)
def test_a_range_grows_at_one_end_by_its_share_up_to_its_bound(found, end, by):
    wider = found.beyond(end, by)
    kept = "low" if end == "high" else "high"
    assert getattr(wider, kept) == getattr(found, kept)
    assert wider.low <= found.low < found.high <= wider.high
    bound = found.most if end == "high" else found.least
    if getattr(wider, end) != bound:
        assert share(found, getattr(wider, end)) == pytest.approx(1 + by if end == "high" else -by, abs=1e-6)


@pytest.mark.parametrize("log", [True, False])
def test_the_widest_range_stays_finite(log):
    found = Range(1e-300 if log else -8e307, 8e307, log)
    for _ in range(3):
        found = found.beyond("high").beyond("low")
    assert all(map(math.isfinite, found.ends))
    assert found.low > 0 or not log
