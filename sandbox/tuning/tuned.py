"""What tuning found, as a comparison or grid again: `tuned.yaml`, with what was searched and what stayed fixed."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sandbox.comparisons.comparison import BASELINE, Comparison
from sandbox.comparisons.grid import Grid
from sandbox.config.identity import changed
from sandbox.config.registry import find
from sandbox.config.rule import RuleConfig, Search
from sandbox.machine.plain_yaml import dump_yaml
from sandbox.machine.text import line
from sandbox.tuning.plan import Tuning

LONGEST = 60  # characters of a value in a comment
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object, which is another one in each process


def tuned(tuning: Tuning, found: Mapping[str, dict[str, Any]]) -> Grid:
    """Return the grid in which each rule has its searches; rules of which there are none are left out.

    The seeds of a comparison are raised to a multiple of the searches, so that each search has equally many.

    Args:
        tuning: what was tuned.
        found: `summary` of each search, by the name of its study.
    """
    comparisons = []
    for comparison in tuning.grid.comparisons:
        experiments = comparison.experiments()
        given = comparison.configs + [RuleConfig(BASELINE)] * (len(experiments) - len(comparison.configs))
        rules = []
        for rule, (label, runs) in zip(given, experiments.items(), strict=True):
            name, setting = f"{comparison.identity}/{label}", runs[0].setting
            names = [f"{name}/{n}" for n in range(tuning.searches)]
            searched = [search_of(found[each], setting) for each in names if each in found]
            rules += [replace(rule, searched=searched)] if searched else []
        seeds = math.ceil(comparison.seeds / tuning.searches) * tuning.searches
        comparisons.append(replace(comparison, rules=list(rules), seeds=seeds))
    return replace(tuning.grid, comparisons=comparisons)


def search_of(study: Mapping[str, Any], setting: str | None = None) -> Search:
    """Return a search in the form that a comparison has, from its `summary` and the setting of its experiment."""
    found = {name: study[name] for name in ("within", "at_end")}
    return Search(
        study["best"]["options"], **found, trials=len(study["trials"]), number=study["search"], setting=setting
    )


def as_yaml(grid: Grid, tuning: Tuning) -> str:
    """Write the comparison or grid as YAML; comments say the budget, what was searched, and what was fixed."""
    plain = [_plain(comparison) for comparison in grid.comparisons]
    body = plain[0] if len(plain) == 1 else {"name": grid.name, "comparisons": plain}
    comments = "".join(f"# {line(text)}\n" for text in _comments(grid, tuning))
    return comments + dump_yaml(body, default_flow_style=None, width=120)


def _plain(comparison: Comparison) -> dict[str, Any]:
    """Return the settings of a comparison that are not defaults, with every rule by its name."""
    return {**changed(comparison), "rules": [{"name": rule.name, **changed(rule)} for rule in comparison.configs]}


def _comments(grid: Grid, tuning: Tuning) -> Iterator[str]:
    yield f"Tuned by `sandbox tune` on validation data: {budget(tuning)}."
    for given, comparison in zip(tuning.grid.comparisons, grid.comparisons, strict=True):
        yield f"{comparison.experiment.task.name}:"
        if comparison.seeds != given.seeds:
            yield f"  seeds: {given.seeds} raised to {comparison.seeds}, so that each search has equally many"
        for rule in comparison.configs:
            if rule.searched:
                names = ", ".join(rule.searched[0].options)
                form = "" if rule.variant is None else f" {rule.variant}"
                yield f"  {rule.title}{form}: searched {names}; fixed {said(fixed(rule)) or 'nothing'}"
                yield from (f"    {note}" for note in notes(rule.searched))


def budget(tuning: Tuning) -> str:
    """Return the budget of each rule in words."""
    searches = "1 search" if tuning.searches == 1 else f"{tuning.searches} searches"
    seeds = "1 seed" if tuning.seeds == 1 else f"{tuning.seeds} seeds"
    return f"{searches} of {tuning.trials} trials ({tuning.sampler}) of each rule, each trial with {seeds}"


def notes(searched: list[Search]) -> list[str]:
    """Return a warning for each value that was found near an end of where it was searched."""
    return [
        f"search {each.number + 1}: {name} = {each.options[name]:.3g} is near an end of {_ends(each.within[name])} "
        "after the last trial; better values may lie outside"
        for each in searched
        for name in each.at_end
    ]


def _ends(within: list[Any]) -> str:
    return f"{within[0]:.3g} to {within[1]:.3g}"


def fixed(rule: RuleConfig) -> dict[str, Any]:
    """Return the options of a rule that were not searched: those that were given, and the defaults of the others.

    >>> fixed(RuleConfig("bptt", {"window": 3}, searched=[Search({"lr": 0.1}, {"lr": [0.01, 1.0]})]))["window"]
    3
    """
    taken = inspect.signature(find("rule", rule.name)).parameters.values()
    usual = {each.name: each.default for each in taken if each.default is not each.empty}
    own = {f"plasticity.{name}": value for name, value in (rule.plasticity.options if rule.plasticity else {}).items()}
    parts = {kind: part.name for kind in ("objective", "credit", "plasticity") if (part := getattr(rule, kind))}
    found = {**usual, **rule.options, **parts, **own}
    return {name: value for name, value in found.items() if name.rpartition(".")[2] not in rule.searched[0].options}


def said(options: Mapping[str, Any]) -> str:
    """Return options in one line, long values cut.

    >>> said({"lr": 0.1, "window": None})
    'lr=0.1, window=None'
    """
    return ", ".join(f"{name}={_short(value)}" for name, value in options.items())


def _short(value: Any) -> str:
    text = ADDRESS.sub("", getattr(value, "__name__", None) or repr(value))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
