"""Which options of a rule were searched, where and how often, and which were fixed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rules.recipes import RULES
from rules.spaces import SPACES
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.config.rule import Search
from sandbox.runs.finished import FinishedRun


def searches_of(runs: Sequence[FinishedRun]) -> list[int] | None:
    """Return the number of the search of each seed of a rule; None if its options were given."""
    found = [_search(run) for run in runs]
    return None if not found or None in found else [search.number for search in found if search is not None]


def blocks(searches: Sequence[Sequence[int] | None]) -> list[int] | None:
    """Return the search of each seed, as all searched rules have it; None where seeds are the replicates.

    They are with one search, whose error all seeds share, and where rules were searched in different ways. A rule whose
    options were given has no error of tuning, and may be beside others that have.

    >>> blocks([[0, 1, 2, 0, 1, 2], None]), blocks([[0, 0, 0], None])
    ([0, 1, 2, 0, 1, 2], None)
    """
    found = {tuple(each) for each in searches if each is not None}
    of = found.pop() if len(found) == 1 else ()
    return list(of) if len(set(of)) > 1 else None


def settings_of(runs: Sequence[FinishedRun]) -> dict[str, Any]:
    """Return what was searched for a rule and within which values, what was fixed, and what ended at an end.

    `fixed` has the options that decide how the rule learns (`rules.spaces.SPACES`) and that no search varied;
    `at_end` has the number of searches in which an option lies near an end of its range; `elsewhere`, where
    there are such, is the number of searches that were made on another task, network or length.
    """
    searches = {search.number: search for run in runs if (search := _search(run)) is not None}.values()
    ends = [name for search in searches for name in search.at_end]
    searched = {name: _widest([search.within[name] for search in searches]) for name in _searched(searches)}
    rule: Mapping[str, Any] = rule_of(runs[0])
    name = str(rule.get("name", runs[0].rule))
    elsewhere = sum(search.setting not in (None, _setting(runs[0])) for search in searches)
    return {
        "searched": searched,
        "fixed": {each: _value(name, rule, each) for each in _decisive(name, rule) if each not in searched},
        "at_end": {each: ends.count(each) for each in searched if each in ends},
        **({"elsewhere": elsewhere} if elsewhere else {}),
    }


def _decisive(name: str, rule: Mapping[str, Any]) -> list[str]:
    """Return the options that decide how a rule learns; only SGD has a momentum."""
    sgd = rule.get("options", {}).get("optimizer") in (None, "sgd")
    return [each for each in SPACES.get(name, ()) if sgd or each != "momentum"]


def kind_of(runs: Sequence[FinishedRun]) -> str | None:
    """Return all settings of a searched rule but those that its searches found; None for one that was not searched.

    Two rows of the same kind are the same rule, tuned twice.
    """
    search = _search(runs[0])
    if search is None:
        return None
    config = {key: value for key, value in runs[0].config.items() if key not in ("seed", "rule")}
    rule = {key: value for key, value in rule_of(runs[0]).items() if key not in ("label", "search", "variant")}
    return json.dumps([config, _without(rule, search.options), sorted(search.options)], sort_keys=True)


def _without(value: Any, names: Mapping[str, Any]) -> Any:
    """Return the settings of a rule without those options, wherever they are."""
    if not isinstance(value, dict):
        return value
    return {
        key: {name: each for name, each in inner.items() if name not in names}
        if key == "options" and isinstance(inner, dict)
        else _without(inner, names)
        for key, inner in value.items()
    }


def rule_of(run: FinishedRun) -> dict[str, Any]:
    """Return the rule of a run as its configuration has it; empty where that is not known."""
    found = run.config.get("rule")
    return found if isinstance(found, dict) else {}


def _setting(run: FinishedRun) -> str | None:
    """Return what the rule of a run learned on; None where this version cannot read its configuration."""
    try:
        return str(from_dict(Experiment, run.config).setting)
    except ValueError:
        return None


def _search(run: FinishedRun) -> Search | None:
    found = rule_of(run).get("search")
    return None if found is None else from_dict(Search, found)


def _searched(searches: Any) -> list[str]:
    return sorted({name for search in searches for name in search.within})


def _widest(within: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the ends of ranges together, or the values of choices."""
    values = [value for each in within for value in each]
    if all(type(value) in (int, float) for value in values) and all(len(each) == 2 for each in within):
        return [min(values), max(values)]
    return list(dict.fromkeys(values))


def _value(name: str, rule: Mapping[str, Any], option: str) -> Any:
    """Return the value of an option that was not searched: as it was given, or the default of the recipe."""
    plasticity = rule.get("plasticity") or {}
    given = {**rule.get("options", {}), **plasticity.get("options", {})}
    if option in given or name not in RULES:
        return given.get(option)
    parameter = inspect.signature(RULES[name]).parameters.get(option)
    default = None if parameter is None else parameter.default
    return default if isinstance(default, (bool, int, float, str)) else None
