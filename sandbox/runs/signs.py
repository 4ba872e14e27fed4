"""The files by which a folder shows how far a run has come, and how it ended."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# `stopped` was begun and has not ended, `refused` was given something that does not fit what it had begun with
STATUSES = ("running", "stopped", "done", "failed", "refused", "damaged")
REFUSED, FAILED = "refused.txt", "error.txt"  # why the last attempt ended
WRITTEN = (  # what a folder holds in which something was begun
    *("metrics.jsonl", "checkpoint.pt", "result.json", "test.json", FAILED),
    *("table.json", "overall.json", "tuning.sqlite", "tuning.journal", "tuning.json", "curriculum.json"),
)


def begun(folder: Path) -> bool:
    """Return whether anything was learned, measured or written in a folder beyond what it was asked to do."""
    with suppress(FileNotFoundError):
        return any((path.is_dir() and path.name[0] != ".") or path.name in WRITTEN for path in folder.iterdir())
    return False


def progress(folder: Path) -> tuple[int, ...]:
    """Return what changes with each checkpoint of a run."""
    paths = [folder / name for name in ("checkpoint.pt", "metrics.jsonl")]
    return tuple(path.stat().st_mtime_ns for path in paths if path.exists())
