"""Runs every comparison of this folder and keeps its table, figures and provenance under results/.

python experiments/evidence.py [NAME ...]      # all, or some of the configurations in this folder
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from sandbox.compare import Comparison, compare, format_table
from sandbox.folder import read_json, write_json
from sandbox.parse import from_dict
from sandbox.report import write_report

HERE = Path(__file__).parent
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
)  # what the report drew, as PNG and CSV


def main(names: list[str]) -> None:
    done = []
    for config in sorted(HERE.glob("*.yaml")):
        if not names or config.stem in names:
            plan = from_dict(Comparison, yaml.safe_load(config.read_text()))
            folder = Path("runs") / "evidence" / plan.identity
            done.append((config, folder, compare(plan, folder, jobs=2)))
            write_report(folder)
    for config, folder, table in done:  # kept last, so that the revision is that of files nobody has touched
        keep(config, folder, table)


def keep(config: Path, folder: Path, table: dict[str, Any]) -> None:
    """Copy what the README quotes."""
    kept = HERE / "results" / config.stem
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder / "table.json", kept)
    for file in (folder / f"{name}.{kind}" for name in KEPT for kind in ("png", "csv")):
        if file.exists():
            shutil.copy(file, kept)
    command = f"python experiments/evidence.py {config.stem}"
    write_json(kept / "provenance.json", {"command": command, **read_json(folder / "provenance.json")})
    text = f"{config.read_text().splitlines()[0][2:]}\n\n{format_table(table)}\n"
    (kept / "table.txt").write_text(text)
    print(f"{config.stem}: {text}")


if __name__ == "__main__":
    main(sys.argv[1:])
