"""What each subcommand does with its options; every one prints for people, or JSON for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rules.check import check_rule
from rules.errors import unknown
from rules.plasticity.memristor import DEVICES, STORES
from rules.plasticity.memristor.device import Device
from sandbox import folder as folders
from sandbox import index
from sandbox.compare import Comparison, format_table
from sandbox.compare import compare as run_comparison
from sandbox.config import REGISTRIES, Choice, Experiment
from sandbox.experiment import run as run_experiment
from sandbox.pages import page
from sandbox.parse import load

LISTED: dict[str, Mapping[str, Any]] = {**REGISTRIES, "device": DEVICES, "store": STORES}


def run(given: Any) -> int:
    """One experiment."""
    experiment: Experiment = given.made
    return _run(experiment, Path(given.out) / experiment.identity, given)


def compare(given: Any) -> int:
    """A grid of experiments."""
    comparison: Comparison = given.made
    return _compare(comparison, Path(given.out) / comparison.identity, given)


def resume(given: Any) -> int:
    """Whatever is in the folder, continued."""
    folder = Path(given.folder)
    if folders.kind_of(folder) == "run":
        return _run(load(Experiment, folder), folder, given)
    return _compare(load(Comparison, folder), folder, given)


def report(given: Any) -> int:
    """The HTML report and the figures."""
    from sandbox.report import write_report

    written = write_report(Path(given.folder))
    _say(
        given,
        {"html": str(written.html), "figures": [str(path) for path in written.figures]},
        f"report: {written.html}",
    )
    return 0


def validate(given: Any) -> int:
    """Neurons against Brian2 and SciPy; 1 where one does not agree."""
    from sandbox.report.conformance import write_page
    from sandbox.validation import validate_all

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
    _say(given, facts, text)
    return 0 if all(report.passed for report in reports.values()) else 1


def check(given: Any) -> int:
    """Rules against the contract; 1 where one fails a check."""
    names = list(REGISTRIES["rule"]) if given.rule == "all" else [given.rule]
    reports = {name: check_rule(Choice(name, given.options).make("rule")) for name in names}
    facts = {name: [result._asdict() for result in found.results] for name, found in reports.items()}
    _say(given, facts, "\n\n".join(f"{name}\n{found}" for name, found in reports.items()))
    return 0 if all(found.passed for found in reports.values()) else 1


def list_(given: Any) -> int:
    """Everything that has a name, or one kind of it; as Markdown pages where asked for."""
    kinds = list(LISTED) if given.kind is None else [_kind(given.kind)]
    if given.markdown or given.folder:
        return _pages(kinds, given)
    known: dict[str, Any] = {kind: {name: _summary(member) for name, member in LISTED[kind].items()}
                             for kind in kinds}  # fmt: skip
    runs = index.rows(Path(given.out)) if given.kind is None else []
    text = "\n\n".join(
        f"{kind}\n" + "\n".join(f"  {name:<{max(map(len, members))}}  {summary}" for name, summary in members.items())
        for kind, members in known.items()
    )
    if runs:
        rows = (f"  {r['folder']:<44} {r['status']:<8} {_percent(r['test_accuracy'])}" for r in runs)
        text += f"\n\nruns in {given.out}\n" + "\n".join(rows)
    _say(given, {**known, "runs": runs}, text)
    return 0


def _kind(word: str) -> str:
    """The registry that a word means, in the singular or the plural."""
    plurals = {"plasticities": "plasticity", **{f"{kind}s": kind for kind in LISTED}}
    kind = plurals.get(word, word)
    if kind not in LISTED:
        raise unknown("kind", word, LISTED)
    return kind


def _pages(kinds: list[str], given: Any) -> int:
    """Markdown on the screen, or a file for each member in a folder."""
    pages = {name: page(name, member) for kind in kinds for name, member in LISTED[kind].items()}
    if given.folder is None:
        _say(given, pages, "\n".join(pages.values()))
        return 0
    folder = Path(given.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages.items():
        (folder / f"{name}.md").write_text(text)
    _say(given, {"folder": str(folder), "pages": sorted(pages)}, f"{len(pages)} pages in {folder}")
    return 0


def doctor(given: Any) -> int:
    """What is installed, where data are, which kernels and synapses run, and whether Brian2 and torch agree."""
    from sandbox.neurons import LIF, kernels
    from sandbox.reference import validate as hold
    from sandbox.synapses.calibration import state
    from sandbox.tasks.files import data_folders

    agrees = hold(LIF(), duration=20.0, cells=2, tiers=("same_scheme",)).passed
    facts = {
        **folders.provenance("-"),
        "data_folders": [str(path) for path in data_folders(None)],
        "brian2_agrees": agrees,
        "kernels": kernels.state(),
        "synapses": state(),
    }
    lines = [f"{name:<14} {value}" for name, value in facts.items() if name not in ("versions", "data_sha256")]
    lines += [f"{name:<22} {number}" for name, number in facts["versions"].items()]
    _say(given, facts, "\n".join(lines))
    return 0 if agrees else 1


def _run(experiment: Experiment, folder: Path, given: Any) -> int:
    with _Bar(given.json) as bar:
        result = run_experiment(experiment, folder, data_dir=given.data_dir, progress=bar)
    text = "\n".join(
        [
            f"{experiment.task.name} with {experiment.rule.name}, seed {experiment.seed}: test accuracy "
            f"{_percent(result['test']['accuracy'])} after {result['steps']} steps",
            *(f"health: {line}" for line in result["health"]),
            f"folder: {folder}",
        ]
    )
    _say(given, {"folder": str(folder), **result}, text)
    return 0


def _compare(comparison: Comparison, folder: Path, given: Any) -> int:
    from sandbox.report import write_report

    with _Bar(given.json) as bar:
        table = run_comparison(comparison, folder, jobs=given.jobs, data_dir=given.data_dir, progress=bar)
    written = write_report(folder)
    health = [f"health of {row['rule']}: {line}" for row in table["rows"] for line in row["health"]]
    _say(given, {"folder": str(folder), "report": str(written.html), **table},
         "\n".join([format_table(table), *health, f"report: {written.html}"]))  # fmt: skip
    return 0


class _Bar:
    """A progress bar on the error stream, silent for machines."""

    def __init__(self, quiet: bool) -> None:
        self.bar = tqdm(unit="step", disable=quiet, file=sys.stderr, dynamic_ncols=True, leave=False)

    def __call__(self, done: int, total: int) -> None:
        self.bar.total = total or None
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *ended: object) -> None:
        self.bar.close()


def _say(given: Any, facts: Any, text: str) -> None:
    print(json.dumps(facts, indent=2, sort_keys=True, default=str) if given.json else text)


def _summary(member: Any) -> str:
    if isinstance(member, Device):
        set_ = ", ".join(f"{f.name}={v}" for f in fields(member) if (v := getattr(member, f.name)) != f.default)  # type: ignore[arg-type]
        return f"{type(member).__name__}({set_})"
    member = getattr(member, "func", member)  # a class with some of its fields filled in
    return (member.__doc__ or "").strip().split("\n")[0]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"
