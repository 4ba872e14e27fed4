"""Ranges grow while the best trial lies near an end, within the trials that every rule has."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.contract import Cost
from rules.spaces import RATES as RATES_OF
from rules.spaces import Options, Range
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.tuning import ranges, study
from sandbox.tuning.sampling import SAMPLERS, optuna_, stratum
from sandbox.tuning.storage import opened
from sandbox.tuning.study import Study
from sandbox.tuning.trial import Tried
from tests.sandbox.runs.test_run import TINY

RATES = Range(1e-3, 1e-1, log=True)
SPACE = {"lr": RATES, "momentum": Options((0.0, 0.9))}


@given(st.integers(1, 10_000))
@settings(deadline=None)
def test_ranges_grow_at_most_three_times_and_trials_are_left_after_each(trials):
    found = ranges.looks(trials)
    assert len(found) <= 3
    assert all(1 < number < trials for number in found)


@given(st.floats(1e-3, 1e-1))
@settings(deadline=None)
def test_a_range_grows_where_the_best_lies_near_its_end(lr):
    after = ranges.grown(SPACE, {"lr": lr, "momentum": 0.9}, lambda options: True)
    end = RATES.end_near(lr)
    assert after["lr"] == (RATES if end is None else RATES.beyond(end))
    assert after["momentum"] is SPACE["momentum"]
    part = ranges.added(SPACE, after)["lr"]
    if end is not None:
        inside, outside = (part.low, part.high) if end == "high" else (part.high, part.low)
        assert (inside, outside) == (getattr(RATES, end), getattr(after["lr"], end))
    assert ranges.narrowed(SPACE, ranges.within(after)) == after
    assert ranges.at_end(SPACE, {"lr": lr, "momentum": 0.9}) == ([] if end is None else ["lr"])


def test_a_range_grows_as_far_as_the_rule_admits():
    """Half of two decades is one; a quarter ends at 0.32."""
    best = {"lr": 0.1, "momentum": 0.9}
    asked = []

    def admits(options):
        asked.append(options)
        return options["lr"] < 0.5

    assert ranges.grown(SPACE, best, admits)["lr"].high == pytest.approx(10**-0.5)
    assert [options["momentum"] for options in asked] == [0.9, 0.9]
    assert ranges.grown(SPACE, best, lambda options: False) == SPACE


def search(tmp_path, monkeypatch, height, **settings_):
    """The summary of a search whose trials have a height in place of an accuracy."""
    optuna = optuna_()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.setattr(study, "validated", lambda run, data: Tried(height(run.rule.options), Cost(forwards=1)))
    one = replace(Study("a/bptt/0", TINY, 20, 1, tmp_path, storage="journal"), **settings_)
    kept = opened(one.storage, tmp_path)
    made = optuna.create_study(study_name=one.stored, storage=kept, direction="maximize", load_if_exists=True)
    one.folder.parent.mkdir(exist_ok=True)
    one.work(lambda done, total: None)
    return one.summary(optuna.load_study(study_name=made.study_name, storage=opened(one.storage, tmp_path)))


def nearness(best):
    return lambda options: -abs(math.log(options["lr"] / best))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_best_value_outside_of_the_range_is_found(tmp_path, monkeypatch, sampler, storage):
    """At 2, where the range ends at 0.3."""
    found = search(tmp_path, monkeypatch, nearness(2.0), sampler=sampler, storage=storage)
    first = Study("a/bptt/0", TINY, 20, 1, tmp_path).space["lr"].ends
    assert len(found["trials"]) == 20
    assert found["within"]["lr"][1] > 2.0 > first[1]
    assert found["best"]["options"]["lr"] == pytest.approx(2.0, rel=0.8)
    assert found["at_end"] == []
    for n, ends in zip((each["trial"] for each in found["grown"]), edges(first, found["grown"]), strict=True):
        assert n in ranges.looks(20)
        assert ends[0] <= found["trials"][n]["options"]["lr"] <= ends[1]  # the next trial lies in what was added


def edges(first, grown):
    """The ends of what each growth of a range added at its upper end."""
    highs = [first[1], *(each["within"][1] for each in grown)]
    return list(zip(highs, highs[1:], strict=False))


def test_a_stratified_search_has_a_trial_in_each_part_of_a_range(tmp_path, monkeypatch):
    """Twelve trials over four decades: three in each, and six of each momentum, in an order of its own by search."""
    monkeypatch.setattr(ranges, "looks", lambda trials: set())
    hzo, orders = replace(TINY, rule=RuleConfig("hzo")), []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        one = search(
            tmp_path / name,
            monkeypatch,
            nearness(1.0),
            sampler="stratified",
            trials=12,
            name=f"{name}/hzo/0",
            experiment=hzo,
        )
        options = [trial["options"] for trial in one["trials"]]
        orders.append([each["lr"] for each in options])
        low, high = (math.log(end) for end in one["within"]["lr"])
        parts = sorted(int(12 * (math.log(each["lr"]) - low) / (high - low)) for each in options)
        assert parts == list(range(12))
        assert sorted(each["momentum"] for each in options) == [0.0] * 6 + [0.9] * 6
    assert orders[0] != orders[1]


@given(trials=st.integers(1, 40), seed=st.integers(0, 2**63), at=st.floats(-200, 200), width=st.floats(0.1, 100))
@settings(deadline=None)
def test_strata_of_any_range_lie_in_it_and_miss_no_part(trials, seed, at, width):
    span = Range(10**at, 10 ** (at + width), log=True)
    space = {"lr": span, "momentum": Options((0.0, 0.5, 0.9))}
    found = [stratum(space, n, trials, seed) for n in range(trials)]
    assert all(span.low <= each["lr"] <= span.high for each in found)
    shares = sorted((math.log10(each["lr"]) - at) / width for each in found)
    assert all(n - 1e-6 <= trials * share <= n + 1 + 1e-6 for n, share in enumerate(shares))  # of logarithms to 200
    counts = [[each["momentum"] for each in found].count(value) for value in (0.0, 0.5, 0.9)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("sampler", "same"), [("random", True), ("tpe", False)])
def test_only_tpe_goes_by_what_earlier_trials_came_to(tmp_path, monkeypatch, sampler, same):
    monkeypatch.setattr(ranges, "looks", lambda trials: set())  # the trial after a growth is a random one
    found = []
    for place, best in (("a", 0.01), ("b", 0.05)):
        (tmp_path / place).mkdir()
        one = search(tmp_path / place, monkeypatch, nearness(best), sampler=sampler, trials=7)
        found.append([trial["options"] for trial in one["trials"]])
    assert found[0][:4] == found[1][:4]
    assert (found[0] == found[1]) == same


def test_a_best_value_that_runs_away_is_said_to_lie_at_an_end(tmp_path, monkeypatch):
    """All trials after a growth are random ones in what it added, if the look after them makes it grow again."""
    found = search(tmp_path, monkeypatch, lambda options: options["lr"], trials=4)
    assert found["grown"][0]["trial"] in ranges.looks(4)
    assert found["at_end"] == (["lr"] if found["best"]["options"]["lr"] > end_of(found) else [])


def end_of(found):
    """Where the last tenth of the range begins."""
    low, high = found["within"]["lr"]
    return high / (high / low) ** 0.1


def test_a_pulse_never_grows_so_fine_that_an_update_takes_minutes(tmp_path, monkeypatch):
    """An update writes its change over the step of a pulse, pulse after pulse."""
    writing = replace(TINY, rule=RuleConfig("bptt_on_memristor"))
    many = lambda options: math.log(options["lr"] / options["pulse"])  # noqa: E731
    found = search(tmp_path, monkeypatch, many, experiment=writing, name="a/bptt_on_memristor/0")
    assert found["grown"]
    ends = found["within"]
    assert ends["lr"][1] / ends["pulse"][0] <= 10 / 1e-3


def test_a_growth_that_the_rule_refuses_leaves_the_option_at_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "_admits", lambda self, options, data: False)
    found = search(tmp_path, monkeypatch, nearness(1e6), trials=10)
    assert found["grown"] == []
    assert found["at_end"] == ["lr"]


def test_a_weight_stays_where_it_has_a_meaning(tmp_path, monkeypatch):
    """The weight `lam` of this rule is at most 1, and its declared range ends at 0.1."""
    tet = replace(TINY, rule=RuleConfig("tet"))
    found = search(tmp_path, monkeypatch, lambda options: options["lam"], experiment=tet, trials=10)
    assert 0.1 < found["within"]["lam"][1] <= 1.0


def test_options_that_a_plasticity_does_not_take_are_not_searched(tmp_path):
    adam = replace(TINY, rule=RuleConfig("spsa", plasticity=Choice("adam")))
    assert "lr" in Study("a/spsa/0", adam, 1, 1, tmp_path).space
    assert "momentum" not in Study("a/spsa/0", adam, 1, 1, tmp_path).space


def test_a_rule_is_searched_in_the_space_of_its_optimizer(tmp_path):
    for name, names in (("adam", {"lr"}), ("sgd", {"lr", "momentum"})):
        rule = replace(TINY, rule=RuleConfig("hzo", {"optimizer": name}))
        found = Study("a/hzo/0", rule, 1, 1, tmp_path).space
        assert {"lr", "momentum"} & set(found) == names
        assert found["lr"] == RATES_OF[name]


def test_a_rule_without_anything_to_search_is_refused(tmp_path):
    still = replace(TINY, rule=RuleConfig("bptt", plasticity=Choice("tests.sandbox.tuning.test_ranges:still")))
    with pytest.raises(ValueError, match="rule 'bptt' has no option to search: its own plasticity takes none of"):
        Study("a/bptt/0", still, 1, 1, tmp_path)


def still():
    """A plasticity without options."""


def test_an_interruption_changes_neither_ranges_nor_trials(tmp_path, monkeypatch):
    whole = search(tmp_path, monkeypatch, nearness(2.0), trials=10)
    calls = []

    def stopping(options):
        calls.append(1)
        if len(calls) in (3, 6):  # the second in the trial after a growth
            raise KeyboardInterrupt
        return nearness(2.0)(options)

    (tmp_path / "b").mkdir()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "b", monkeypatch, stopping, trials=10)
    assert search(tmp_path / "b", monkeypatch, stopping, trials=10) == whole
    assert whole["grown"][0]["trial"] == 4
