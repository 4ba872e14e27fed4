"""Folders of runs made without learning: many at once, finished or stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG = "format: 3\nkind: run\ntask: {{name: {task}}}\nrule: {{name: {rule}}}\nseed: {seed}\n"


def make(folder: Path, test: Mapping[str, Any] | None = None, **about: Any) -> Path:
    """Make the folder of a run with what a listing reads; finished if it has a result."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG.format(**{"task": "yinyang", "rule": "bptt", "seed": 0, **about}))
    (folder / ".lock").touch()
    if test is not None:
        parts = {part: {**test, "loss": 0.5} for part in ("test", "train", "validation")}
        result = {**parts, "cost": {}, "health": [], "parameters_trained": 93, "steps": 4}
        (folder / "result.json").write_text(json.dumps(result))
    return folder


def many(root: Path, number: int) -> None:
    """Make so many finished runs of two tasks and two rules."""
    for n in range(number):
        about = {"task": ("yinyang", "digits")[n % 2], "rule": ("bptt", "spsa")[n // 2 % 2], "seed": n // 4}
        make(root / f"r{n:06}", {"accuracy": n / number}, **about)
