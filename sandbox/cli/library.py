"""What each subcommand does with its options; every one prints for people, or JSON for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rules.check import check_rule
from rules.errors import unknown
from rules.plasticity.memristor import DEVICES, STORES
from rules.plasticity.memristor.device import Device
from sandbox.cli import runs
from sandbox.cli.pages import page
from sandbox.cli.printing import say
from sandbox.config.registry import REGISTRIES, Choice
from sandbox.runs import index

LISTED: dict[str, Mapping[str, Any]] = {**REGISTRIES, "device": DEVICES, "store": STORES}


def validate(given: Any) -> int:
    """Neurons against Brian2 and SciPy; 1 where one does not agree."""
    from sandbox.cli.validation import validate_all
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
    return 0 if all(report.passed for report in reports.values()) else 1


def check(given: Any) -> int:
    """Rules against the contract; 1 where one fails a check."""
    names = list(REGISTRIES["rule"]) if given.rule == "all" else [given.rule]
    reports = {name: check_rule(Choice(name, given.options).make("rule")) for name in names}
    facts = {name: [result._asdict() for result in found.results] for name, found in reports.items()}
    say(given, facts, "\n\n".join(f"{name}\n{found}" for name, found in reports.items()))
    return 0 if all(found.passed for found in reports.values()) else 1


def list_(given: Any) -> int:
    """Everything that has a name, or one kind of it, or runs; as Markdown pages where asked for."""
    if given.kind in ("run", "runs"):
        return runs.runs(given)
    for name in index.FILTERS:
        if given[name] is not None:
            raise ValueError(f"--{name} chooses among runs: write `sandbox list runs --{name} {given[name]}`")
    kinds = list(LISTED) if given.kind is None else [_kind(given.kind)]
    if given.markdown or given.folder:
        return _pages(kinds, given)
    known: dict[str, Any] = {kind: {name: _summary(member) for name, member in LISTED[kind].items()} for kind in kinds}
    found = index.rows(Path(given.out)) if given.kind is None else []
    text = "\n\n".join(
        f"{kind}\n" + "\n".join(f"  {name:<{max(map(len, members))}}  {summary}" for name, summary in members.items())
        for kind, members in known.items()
    )
    if found:
        text += f"\n\nruns in {given.out}\n" + runs.format_runs(found)
    say(given, {**known, "runs": found}, text)
    return 0


def _kind(word: str) -> str:
    """The registry that a word means, in the singular or the plural."""
    plurals = {"plasticities": "plasticity", **{f"{kind}s": kind for kind in LISTED}}
    kind = plurals.get(word, word)
    if kind not in LISTED:
        raise unknown("kind", word, [*LISTED, "runs"])
    return kind


def _pages(kinds: list[str], given: Any) -> int:
    """Markdown on the screen, or a file for each member in a folder."""
    pages = {name: page(name, member) for kind in kinds for name, member in LISTED[kind].items()}
    if given.folder is None:
        say(given, pages, "\n".join(pages.values()))
        return 0
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    say(given, {"folder": str(folder), "pages": sorted(pages)}, f"{len(pages)} pages in {folder}")
    return 0


def _summary(member: Any) -> str:
    if isinstance(member, Device):
        set_ = ", ".join(f"{f.name}={v}" for f in fields(member) if (v := getattr(member, f.name)) != f.default)  # type: ignore[arg-type]
        return f"{type(member).__name__}({set_})"
    member = getattr(member, "func", member)  # a class with some of its fields filled in
    return (member.__doc__ or "").strip().split("\n")[0]
