"""Run published experiments on cue accumulation: after how many updates is the error at most 0.07, as published?

python experiments/anchors.py [NAME ...] [--seeds N] [--jobs N]     # all configurations of published/, or some

Stores table, curves and provenance in results/NAME/, and in reached.json the updates after which the validation error
was first at most 0.07, with the errors on the test set after the last one, seed by seed.
"""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from evidence import HERE, RUNS, keep

from sandbox.comparisons.comparison import Comparison, compare, compared_runs, format_table
from sandbox.config.reading import from_dict
from sandbox.machine.files import write_json
from sandbox.runs.finished import FinishedRun, by_rule

PUBLISHED = HERE / "published"
ERROR = 0.07  # at which the published runs stop


def main() -> None:
    parser = ArgumentParser(description="run published experiments on cue accumulation")
    parser.add_argument("names", nargs="*", default=sorted(each.stem for each in PUBLISHED.glob("*.yaml")))
    parser.add_argument("--seeds", type=int, help="in place of those of the configuration")
    parser.add_argument("--jobs", type=int, default=2, help="number of processes")
    given = parser.parse_args()
    done: list[tuple[str, Path, str]] = []
    for name in given.names:
        config = PUBLISHED / f"{name}.yaml"
        plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
        plan = plan if given.seeds is None else replace(plan, seeds=given.seeds)
        title = config.read_text().splitlines()[0][2:]
        folder = RUNS / plan.identity
        done.append((name, folder, f"{title}\n\n{format_table(compare(plan, folder, jobs=given.jobs))}"))
    option = "" if given.seeds is None else f" --seeds {given.seeds}"
    for name, folder, text in done:  # stored last, so that no run sees a revision with changed files
        found = {rule: reached(runs) for rule, runs in by_rule(compared_runs(folder)).items()}
        kept = keep(name, folder, f"{text}\n\n{table(found)}", f"python experiments/anchors.py {name}{option}")
        write_json(kept / "reached.json", found)


def reached(runs: list[FinishedRun]) -> dict[str, list[Any]]:
    """Return, for each seed, the first update with so small a validation error, None for never, and the test error."""
    first = [
        next((line["step"] for line in run.metrics if 1 - line["validation_accuracy"] <= ERROR), None) for run in runs
    ]
    return {"updates": first, "test_error": [round(1 - run.result["test"]["accuracy"], 6) for run in runs]}


def table(found: dict[str, dict[str, list[Any]]]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        f"| rule | seeds with an error of at most {ERROR} | updates until then | error on the test set, at the end |",
        "| --- | --- | --- | --- |",
    ]
    for rule, one in found.items():
        updates = [step for step in one["updates"] if step is not None]
        errors = ", ".join(f"{error:.3f}" for error in one["test_error"])
        steps = ", ".join(map(str, updates)) or "-"
        lines.append(f"| {rule} | {len(updates)} of {len(one['updates'])} | {steps} | {errors} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
