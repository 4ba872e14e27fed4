"""The metrics of all runs below a folder as one table: a row per epoch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sandbox.config.experiment import Experiment
from sandbox.machine import files
from sandbox.measures import measured, score
from sandbox.runs.folder import load as load_config
from sandbox.runs.seal import broken

ENDS = ("test", "train", "validation")  # parts of a result whose measures a row shows


def load(folder: Path | str) -> Any:
    """Return a row for every epoch of every run in a folder, or below it.

    Args:
        folder: a run, a comparison, a grid, or the folder of all runs.

    Returns: rows with `rule` (its label), `task`, `seed`, `epoch`, `folder` and every number of the run's
        `metrics.jsonl`; in the last row of a finished run also `test_accuracy` and `train_accuracy`, or what the task
        is judged by in place of accuracy: `test_r2`, `test_f1`. A pandas DataFrame where pandas is installed, otherwise
        a list of dicts.

    Raises:
        ValueError: where there is no run, or a damaged one, which is named.

    >>> rows = load("runs")  # doctest: +SKIP
    >>> rows[rows.rule == "bptt"].groupby("epoch").validation_accuracy.mean()  # doctest: +SKIP
    """
    found = [row for path in _run_folders(Path(folder)) for row in _rows(path)]
    if not found:
        raise ValueError(f"{folder} holds no run that has begun; name a folder that `sandbox run` or `compare` wrote")
    if find_spec("pandas"):
        import pandas

        return pandas.DataFrame(found)
    return found


def _run_folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.rglob("metrics.jsonl"))


def _rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a run; a last line that is being written is left out, any other damage raises ValueError."""
    try:
        experiment: Experiment = load_config(Experiment, folder)
        about = {"rule": experiment.rule.title, "task": experiment.task.name, "seed": experiment.seed}
        whole = files.text_of(folder / "metrics.jsonl", files.GROWN).split("\n")[:-1]
        lines = [files.parse_json(line, "metrics.jsonl") for line in whole]
        rows = [{**about, **line, "folder": str(folder)} for line in lines]
        if rows and (folder / "result.json").exists():
            if wrong := broken(folder):
                raise ValueError("; ".join(wrong))
            result = files.read_json(folder / "result.json")
            rows[-1] |= {f"{part}_{measured(result[part])}": score(result[part]) for part in ENDS}
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is damaged ({type(error).__name__}: {error}); remove it and run again") from error
    return rows
