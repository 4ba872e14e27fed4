"""`sandbox validate` and `sandbox check`: neurons against Brian2, rules against the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rules.check import check_rule
from sandbox.cli.options import FOUND_WRONG, OK
from sandbox.cli.printing import say
from sandbox.cli.validation import validate_all
from sandbox.config.experiment import RuleConfig
from sandbox.config.registry import REGISTRIES, Choice


def validate(given: Any) -> int:
    """Check neurons against Brian2 and SciPy; return 1 if one does not agree."""
    from sandbox.report.conformance import write_page

    names = list(REGISTRIES["neuron"]) if given.neuron == "all" else [given.neuron]
    choices = {name: Choice(name, given.options) for name in names}
    settings = {
        "dt": given.dt,
        "duration": given.duration,
        "cells": given.cells,
        "seed": given.seed,
        "tiers": given.tiers,
    }
    reports = validate_all(choices, given.jobs, **settings)
    facts = [report.facts() for report in reports.values()]
    text = "\n\n".join(map(str, reports.values()))
    if given.html:
        text += f"\n\npage: {write_page(reports, Path(given.html))}"
    say(given, facts, text)
    return OK if all(report.passed for report in reports.values()) else FOUND_WRONG


def check(given: Any) -> int:
    """Check rules against the contract; return 1 if one fails."""
    names = list(REGISTRIES["rule"]) if given.rule == "all" else [given.rule]
    reports = {name: check_rule(RuleConfig(name, given.options).make()) for name in names}
    facts = {name: [result._asdict() for result in found.results] for name, found in reports.items()}
    say(given, facts, "\n\n".join(f"{name}\n{found}" for name, found in reports.items()))
    return OK if all(found.passed for found in reports.values()) else FOUND_WRONG
