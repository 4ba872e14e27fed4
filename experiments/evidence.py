"""Run every comparison of this folder; store tables, figures and provenance in results/.

python experiments/evidence.py [NAME ...]      # all, or some of the configurations in this folder
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import yaml

from sandbox.comparisons.comparison import Comparison, compare, format_table
from sandbox.config.reading import from_dict
from sandbox.machine.files import read_json, write_json
from sandbox.report import write_report

HERE = Path(__file__).parent
RUNS = Path("runs") / "evidence"
KEPT = (
    "curves",
    "cost",
    "evaluations",
    "latency",
    "drop",
    "area",
    "consistency",
    "separation",
    "ranking",
    "pairs",
    "profile",
)  # figures of the report, as PNG and CSV
PARTS = ("curves", "cost", "ranking", "pairs")


def main(names: list[str]) -> None:
    done: list[tuple[str, Path, str]] = []
    for config in sorted(HERE.glob("*.yaml")):
        if not names or config.stem in names:
            plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
            folder = RUNS / plan.identity
            title = config.read_text().splitlines()[0][2:]
            done.append((config.stem, folder, f"{title}\n\n{format_table(compare(plan, folder, jobs=2))}"))
    for name, folder, text in done:  # stored last, so that no run sees a revision with changed files
        keep(name, folder, text, f"python experiments/evidence.py {name}")


def keep(name: str, folder: Path, text: str, command: str) -> Path:
    """Copy what the README quotes, with the command that made it; of a part, only figures of learning and cost."""
    write_report(folder)
    kept = HERE / "results" / name
    kept.mkdir(parents=True, exist_ok=True)
    drawn = [f"{figure}.{kind}" for figure in (PARTS if "/" in name else KEPT) for kind in ("png", "csv")]
    for file in (folder / each for each in ("table.json", "overall.json", "table.csv", *drawn)):
        if file.exists():
            shutil.copy(file, kept)
    write_json(kept / "provenance.json", {"command": command, **read_json(folder / "provenance.json")})
    (kept / "table.txt").write_text(f"{text}\n")
    print(f"{name}: {text}\n")
    return kept


if __name__ == "__main__":
    main(sys.argv[1:])
