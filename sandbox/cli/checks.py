"""`sandbox validate` and `sandbox check`: neurons against Brian2, rules against the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rules.check import check_rule
from rules.contract import CreditRule
from rules.options import built
from rules.recipes import LearningRule
from sandbox.cli.executing import executor_of
from sandbox.cli.options import FOUND_WRONG, OK
from sandbox.cli.printing import say
from sandbox.cli.validation import validate_all
from sandbox.config.registry import REGISTRIES, Choice, find
from sandbox.config.rule import RuleConfig


def validate(given: Any) -> int:
    """Check neurons against Brian2 and SciPy; return 1 if one does not agree."""
    from sandbox.report.conformance import write_page

    names = list(REGISTRIES["neuron"]) if given.neuron == "all" else [given.neuron]
    equation = given["as"] and Choice(given["as"], given.as_options)
    if given.as_options and not equation:
        raise ValueError("--as-options are of the equation that --as names: add --as NAME, or use --options")
    if given.neuron == "all" and equation:
        raise ValueError("--as is of one cell, and `all` are neurons of the sandbox: name the cell")
    choices = {name: Choice(name, given.options) for name in names}
    settings = {
        "dt": given.dt,
        "duration": given.duration,
        "cells": given.cells,
        "seed": given.seed,
        "tiers": given.tiers,
    }
    reports = validate_all(choices, given.jobs, executor_of(given), equation, **settings)
    facts = [report.facts() for report in reports.values()]
    text = "\n\n".join(map(str, reports.values()))
    if given.html:
        text += f"\n\npage: {write_page(reports, Path(given.html))}"
    say(given, facts, text)
    return OK if all(report.passed for report in reports.values()) else FOUND_WRONG


def subject(name: str, options: dict[str, Any]) -> tuple[str, LearningRule | CreditRule]:
    """Return what is checked, and what a user-defined name was seen to be: a recipe, a rule or a credit."""
    found = find("rule", name)
    if isinstance(found, LearningRule):
        return "a rule", found
    if isinstance(found, CreditRule):
        return "a credit, with cross-entropy and SGD", found
    if isinstance(found, type) and issubclass(found, CreditRule):
        return "a credit, with cross-entropy and SGD", built("credit", name, found, options)
    return "a recipe" if ":" in name else "", RuleConfig(name, options).make()


def check(given: Any) -> int:
    """Check rules, or the class of a credit, against the contract; return 1 if one fails."""
    names = list(REGISTRIES["rule"]) if given.rule == "all" else [given.rule]
    made = {name: subject(name, given.options) for name in names}
    reports = {f"{name} ({kind})" if kind else name: check_rule(rule) for name, (kind, rule) in made.items()}
    facts = {name: [result._asdict() for result in found.results] for name, found in reports.items()}
    say(given, facts, "\n\n".join(f"{name}\n{found}" for name, found in reports.items()))
    return OK if all(found.passed for found in reports.values()) else FOUND_WRONG
