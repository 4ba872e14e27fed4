"""Measure on every task that needs memory whether there is credit through time to earn; store results/memory/memory.json.

python experiments/memory.py [TASK ...]      # all configurations in memory/, or those of some tasks

Beside each other stand BPTT, BPTT whose gradient is cut after every step (`window: 1`), a frozen hidden layer, and a
linear model. The gap between the first two, over paired seeds with Student's 95 % interval, is the credit through time;
where the interval includes 0, the task as shortened here cannot rank rules by what their traces remember.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from sandbox.comparisons.comparison import Comparison, compare, compared_runs
from sandbox.config.reading import from_dict
from sandbox.machine.files import read_json, write_json
from sandbox.measures import score
from sandbox.runs.finished import by_rule
from sandbox.statistics import paired

HERE = Path(__file__).parent
RUNS = Path("runs") / "evidence"
KEPT = HERE / "results" / "memory" / "memory.json"
RULES = ("bptt", "window 1", "readout_only")


def main(names: list[str]) -> None:
    known = read_json(KEPT) if KEPT.exists() else {}
    for config in sorted((HERE / "memory").glob("*.yaml")):
        if not names or config.stem in names:
            known[config.stem] = measured(config)
            print(f"{config.stem}: {known[config.stem]['verdict']}")
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    write_json(KEPT, known)  # last, so that no run sees a revision with changed files
    KEPT.with_suffix(".md").write_text(table(known))


def measured(config: Path) -> dict[str, Any]:
    """Run the comparison of a configuration; return what each rule reaches, and the gap, all in percent."""
    plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
    folder = RUNS / plan.identity
    found = compare(plan, folder, jobs=1)
    runs = by_rule(compared_runs(folder))
    reached = {rule: [100 * score(run.result["test"]) for run in runs[rule]] for rule in RULES}
    gap = paired(reached["bptt"], reached["window 1"], "two-sided")
    low, high = gap.difference.low, gap.difference.high
    return {
        "command": f"python experiments/memory.py {config.stem}",
        "about": config.read_text().splitlines()[0][2:],
        "memory": plan.experiment.make_task().memory,
        "measure": found["measure"],
        "chance": found["chance"],
        "linear": found["linear"],
        "seeds": len(reached["bptt"]),
        "reached": reached,
        "gap": gap.difference._asdict(),
        "verdict": "credit through time" if low > 0 else "worse through time" if high < 0 else "within noise",
        "revision": read_json(folder / "provenance.json").get("revision"),
    }


def table(found: dict[str, Any]) -> str:
    """Return the results as a Markdown table."""
    lines = [
        "| task, shortened | steps of memory | linear | readout_only | BPTT, window 1 | BPTT | gap of the last two | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in sorted(found.items()):
        mean = {rule: sum(each) / len(each) for rule, each in one["reached"].items()}
        gap = one["gap"]
        unit = "R2 " if one["measure"] == "r2" else ""
        lines.append(
            f"| `{name}` | {one['memory']:,} | {unit}{one['linear']:.1f} | {mean['readout_only']:.1f} | "
            f"{mean['window 1']:.1f} | {mean['bptt']:.1f} | {gap['mean']:.1f} [{gap['low']:.1f}, {gap['high']:.1f}] | "
            f"{one['verdict']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
