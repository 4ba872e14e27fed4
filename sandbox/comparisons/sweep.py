"""Sweeps: every rule of a comparison once for each value of a setting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rules.errors import unknown
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.table import BASELINE
from sandbox.config.names import of_a_row
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.plain_yaml import parse_yaml

PARTS = ("objective", "credit", "plasticity")


def swept(comparison: Comparison, sweeps: Sequence[str]) -> Comparison:
    """Return a comparison in which every rule but the baseline occurs once for each combination of values.

    Args:
        comparison: what to compare.
        sweeps: settings of a rule with their values, such as `rule.options.lr=[0.01, 0.1]`.

    Raises:
        ValueError: for a setting that is not one of a rule or is given twice, for values that are not a list, and if
            the baseline is the only rule.

    >>> found = swept(Comparison(rules=["bptt"]), ["rule.options.lr=[0.01, 0.1]", "rule.epochs=[1, 2]"])
    >>> [rule.label for rule in found.rules][:3]
    ['bptt lr=0.01 epochs=1', 'bptt lr=0.01 epochs=2', 'bptt lr=0.1 epochs=1']
    """
    if not sweeps:
        return comparison
    axes = [parsed(sweep) for sweep in sweeps]
    places = [".".join(path) for path, _ in axes]
    for place in places:
        if places.count(place) > 1:
            raise ValueError(f"--sweep rule.{place} is given twice; write all its values in one list")
    if all((rule if isinstance(rule, str) else rule.name) == BASELINE for rule in comparison.rules):
        raise ValueError(f"--sweep varies every rule but {BASELINE}, and there is no other; name one with --rules")
    rules: list[RuleConfig | str] = []
    for rule in comparison.rules:
        named = RuleConfig(rule) if isinstance(rule, str) else rule
        if named.name == BASELINE:
            rules.append(named)
            continue
        for values in itertools.product(*(values for _, values in axes)):
            settings = [(path, value) for (path, _), value in zip(axes, values, strict=True)]
            rules.append(varied(named, settings))
    return replace(comparison, rules=rules)


def parsed(sweep: str) -> tuple[list[str], list[Any]]:
    """Return the path below a rule and the values of one sweep."""
    place, equals, text = sweep.partition("=")
    try:
        values = parse_yaml(text, f"--sweep {place}") if equals else None
    except ValueError:
        values = None
    if not isinstance(values, list) or not values:
        raise ValueError(f"--sweep {sweep}: write a setting and a list, as in --sweep rule.options.lr='[0.01, 0.1]'")
    head, *path = place.strip().split(".")
    if head != "rule" or not path:
        raise ValueError(f"--sweep {place}: a sweep varies settings of a rule; write rule.options.NAME or rule.epochs")
    if path[0] not in (*PARTS, "epochs", "options"):
        raise unknown("setting of a rule", path[0], [*PARTS, "epochs", "options"])
    if len(path) != (2 if path[0] == "options" else 1):
        raise ValueError(f"--sweep {place}: write rule.options.NAME or a setting such as rule.epochs")
    if path == ["epochs"] and not all(type(value) is int and value > 0 for value in values):
        raise ValueError(f"--sweep {sweep}: give whole numbers of epochs, at least 1")
    if path[0] in PARTS:
        if not all(isinstance(value, str) for value in values):
            raise ValueError(f"--sweep {sweep}: give names; parts with options belong in a file, under rules")
        return path, [Choice(value) for value in values]
    return path, values


def varied(rule: RuleConfig, settings: Sequence[tuple[list[str], Any]]) -> RuleConfig:
    """Return a copy of a rule with other settings, which also make its label.

    Raises:
        ValueError: for an option whose value a search of tuning has found.
    """
    options, others, words = dict(rule.options), dict[str, Any](), [rule.title]
    for path, value in settings:
        if rule.searched and path[-1] in rule.searched[0].options:
            raise ValueError(
                f"--sweep rule.{'.'.join(path)}: {rule.title!r} was searched for {path[-1]}; sweep another setting, or "
                "leave out `searched` in the configuration"
            )
        if path[0] == "options":
            options[path[1]] = value
        else:
            others[path[0]] = value
        words.append(f"{path[-1]}={value.name if isinstance(value, Choice) else value}")
    return replace(rule, options=options, **others, label=of_a_row(" ".join(words)))
