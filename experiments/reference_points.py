"""Run what published figures can be compared with; store results/anchors/.

python experiments/reference_points.py [NAME ...]      # all configurations of anchors/, or some

A configuration is a comparison, and says under `beside` which of its rows stands beside which published figure
(`sandbox.comparisons.references`). Kept are the test accuracies of every seed, their mean, and the gap to the figure.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from evidence import HERE, RUNS

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.references import Reference, references, shown
from sandbox.config.reading import from_dict
from sandbox.machine.files import read_json, write_json

CONFIGS = HERE / "anchors"
KEPT = HERE / "results" / "anchors" / "anchors.json"
LINEAR = "linear classifier"
HEAD = """\
| configuration | row | test % | seeds | published | % | gap | known |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def main(names: Sequence[str]) -> None:
    known = read_json(KEPT) if KEPT.exists() else {}
    for config in sorted(CONFIGS.glob("*.yaml")):
        if not names or config.stem in names:
            known[config.stem] = measured(config)
            print(table({config.stem: known[config.stem]}), flush=True)
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    write_json(KEPT, known)  # last, so that no run sees a revision with changed files
    KEPT.with_suffix(".md").write_text(table(known))


def measured(config: Path) -> dict[str, Any]:
    """Run the comparison of a configuration; return its rows, each beside its published figure if it has one."""
    plan, beside = read(config)
    folder = RUNS / plan.identity
    made = compare(plan, folder, jobs=1)
    task = plan.experiment.task
    published = {each.what: each for each in references(task.name, task.options)}
    found = {row["rule"]: row["accuracies"] for row in made["rows"]} | {LINEAR: [made["linear"]]}
    return {
        "about": config.read_text().splitlines()[0][2:],
        "command": f"python experiments/reference_points.py {config.stem}",
        "rows": [row(rule, found[rule], published[what]) for rule, what in beside.items()],
        "provenance": read_json(folder / "provenance.json"),
    }


def read(config: Path) -> tuple[Comparison, dict[str, str]]:
    """Return the comparison of a configuration, and the published figure beside each of its rows.

    Raises:
        ValueError: for a figure that `references` does not have for its task.
    """
    content = yaml.safe_load(config.read_text())
    beside = content.pop("beside")
    plan: Comparison = from_dict(Comparison, content)
    known = [each.what for each in references(plan.experiment.task.name, plan.experiment.task.options)]
    for what in beside.values():
        if what not in known:
            raise ValueError(f"{config}: no published figure {what!r} for this task; there are {known}")
    return plan, beside


def row(rule: str, accuracies: list[float], published: Reference) -> dict[str, Any]:
    """Return the accuracies of a rule [%], and the gap of their mean to the published one [points]."""
    mean = statistics.fmean(accuracies)
    beside = {**published._asdict(), "options": dict(published.options)}
    return {"rule": rule, "accuracies": accuracies, "mean": mean, "published": beside, "gap": mean - published.value}


def table(known: Mapping[str, Any]) -> str:
    """Return the results as a Markdown table, with the standard deviation over seeds where there are several."""
    return HEAD + "".join(line(name, each) for name, found in sorted(known.items()) for each in found["rows"])


def line(name: str, found: Mapping[str, Any]) -> str:
    """Return a row of the table; a linear classifier has no seed."""
    accuracies, beside = found["accuracies"], Reference(**found["published"])
    spread = f" ± {statistics.stdev(accuracies):.2f}" if len(accuracies) > 1 else ""
    linear = found["rule"] == LINEAR
    cells = (
        f"`{name}`",
        LINEAR if linear else f"`{found['rule']}`",
        f"{found['mean']:.2f}{spread}",
        "-" if linear else len(accuracies),
        beside.what,
        shown(beside).removesuffix(" %").replace("+-", "±"),
        f"{found['gap']:+.2f}",
        beside.mark,
    )
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    main(sys.argv[1:])
