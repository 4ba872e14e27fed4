"""All trackers of a run: each logs the lines of the book, and one that fails is dropped."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sandbox.machine import files
from sandbox.tracking.base import Status, Tracker

SERIES = {
    "epoch": "epoch",
    "train_loss": "train/loss",
    "validation_accuracy": "validation/accuracy",
    "validation_r2": "validation/r2",
    "validation_f1": "validation/f1",
    "validation_loss": "validation/loss",
}


class Tracked:
    """The trackers of a run. One that fails is named on the error stream once, and the run continues without it.

    Used as a context manager, it also reports an end by an exception to them.
    """

    def __init__(self, trackers: Sequence[Tracker], folder: Path, experiment: Mapping[str, Any]) -> None:
        self._waiting, self._begun = list(trackers), list[Tracker]()
        self.folder = folder
        self.parameters = dict(leaves(experiment, "."))
        self.seconds = 0.0  # spent in trackers, not in learning

    def begin(self, metrics: Path) -> None:
        """Begin or resume the tracked runs, and log the lines of the book that each tracker lacks."""
        lines = files.read_lines(metrics) if metrics.exists() else []
        kept = lines[-1]["step"] if lines else -1
        self._begun, self._waiting = self._waiting, []

        def begin(tracker: Tracker) -> None:
            held = tracker.begin(self.folder, self.parameters, kept)
            for line in lines:
                if line["step"] > held:
                    tracker.log(line["step"], series(line), ())

        self._each(begin)

    def log(self, line: Mapping[str, Any], health: Sequence[str]) -> None:
        """Log a line of the book."""
        self._each(lambda tracker: tracker.log(line["step"], series(line), health))

    def end(self, status: Status, result: Mapping[str, Any]) -> None:
        """Record how the run ended, with every number of the result."""
        values = {f"result/{name}": value for name, value in numbers(result)}
        self._each(lambda tracker: tracker.end(status, values))
        self._begun = []

    def __enter__(self) -> Tracked:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            self.end("failed" if issubclass(kind, Exception) else "interrupted", {})

    def _each(self, call: Callable[[Tracker], object]) -> None:
        """Call every tracker, and drop those that raise."""
        began = time.perf_counter()
        for tracker in list(self._begun):
            try:
                call(tracker)
            except Exception as error:  # no failure of a tracker may stop the run
                self._begun.remove(tracker)
                tqdm.write(
                    f"{type(tracker).__name__} stopped tracking {self.folder.name} "
                    f"({type(error).__name__}: {error}); the run continues",
                    file=sys.stderr,
                )
        self.seconds += time.perf_counter() - began


def series(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of the book by the names of their curves.

    >>> series({"epoch": 1, "step": 4, "train_loss": None, "validation_loss": 0.5, "forwards": 8})
    {'epoch': 1, 'validation/loss': 0.5, 'cost/forwards': 8}
    """
    return {SERIES.get(name, f"cost/{name}"): value for name, value in numbers(line) if name != "step"}


def numbers(content: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every number in the content of a JSON file with the path to it."""
    for name, value in leaves(content, "/"):
        if isinstance(value, (int, float)):
            yield name, value


def leaves(content: Mapping[str, Any], between: str) -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested mappings with the path to it.

    >>> dict(leaves({"task": {"name": "yinyang", "options": {}}, "seed": 0}, "."))
    {'task.name': 'yinyang', 'seed': 0}
    """
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}{between}{inner}", leaf) for inner, leaf in leaves(value, between))
        else:
            yield str(name), value
