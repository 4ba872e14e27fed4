"""Sweeps: every rule of a comparison once for each value of a setting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import yaml

from rules.errors import unknown
from sandbox.comparisons.comparison import Comparison
from sandbox.comparisons.table import BASELINE
from sandbox.config.experiment import RuleConfig


def swept(comparison: Comparison, sweeps: Sequence[str]) -> Comparison:
    """Return a comparison in which every rule but the baseline occurs once for each combination of values.

    Args:
        comparison: what to compare.
        sweeps: settings of a rule with their values, such as `rule.options.lr=[0.01, 0.1]`.

    Raises:
        ValueError: for a setting that is not one of a rule, or values that are not a list.

    >>> found = swept(Comparison(rules=["bptt"]), ["rule.options.lr=[0.01, 0.1]", "rule.epochs=[1, 2]"])
    >>> [rule.label for rule in found.rules][:3]
    ['bptt lr=0.01 epochs=1', 'bptt lr=0.01 epochs=2', 'bptt lr=0.1 epochs=1']
    """
    if not sweeps:
        return comparison
    axes = [parsed(sweep) for sweep in sweeps]
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
        values = yaml.safe_load(text) if equals else None
    except yaml.YAMLError:
        values = None
    if not isinstance(values, list) or not values:
        raise ValueError(f"--sweep {sweep}: write a setting and a list, as in --sweep rule.options.lr='[0.01, 0.1]'")
    head, *path = place.strip().split(".")
    if head != "rule" or not path:
        raise ValueError(f"--sweep {place}: a sweep varies settings of a rule; write rule.options.NAME or rule.epochs")
    names = [field.name for field in fields(RuleConfig)]
    if path[0] not in names:
        raise unknown("setting of a rule", path[0], names)
    return path, values


def varied(rule: RuleConfig, settings: Sequence[tuple[list[str], Any]]) -> RuleConfig:
    """Return a copy of a rule with other settings, which also make its label."""
    options, others = dict(rule.options), {}
    for path, value in settings:
        if path[0] == "options" and len(path) == 2:
            options[path[1]] = value
        elif len(path) == 1:
            others[path[0]] = value
        else:
            raise ValueError(f"--sweep rule.{'.'.join(path)}: write rule.options.NAME or a setting such as rule.epochs")
    words = [f"{path[-1]}={value}" for path, value in settings]
    return replace(rule, options=options, **others, label=" ".join([rule.title, *words]))
