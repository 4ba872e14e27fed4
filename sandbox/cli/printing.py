"""Output of the subcommands: a progress bar for people, JSON for machines."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

MINUTE = 60.0  # [s] between two lines of progress where there is no terminal
_begun: list[tuple[Path, str]] = []  # the folder of this command, and what continues it, after an interruption


class Bar:
    """Progress on the error stream: a bar on a terminal, a line a minute elsewhere, nothing for machines.

    It appears with the first step, so that an early error is not printed below an empty bar.
    """

    def __init__(self, quiet: bool, unit: str = "step") -> None:
        self.quiet, self.unit = quiet, unit
        self.bar: tqdm[Any] | None = None
        self.printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are done."""
        if self.quiet or not total:
            return
        if not sys.stderr.isatty():
            if time.monotonic() - self.printed >= MINUTE:
                self.printed = time.monotonic()
                print(f"{done} of {total} {self.unit}s ({done / total:.0%})", file=sys.stderr, flush=True)
            return
        if self.bar is None:
            self.bar = tqdm(unit=self.unit, file=sys.stderr, dynamic_ncols=True)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *ended: object) -> None:
        if self.bar is not None:
            self.bar.close()


def begin(given: Any, folder: Path, again: str = "sandbox resume") -> Path:
    """Print the folder of a command before it starts, unless the output is JSON; remember it for `continuation`.

    Args:
        given: the parsed command line.
        folder: of the command.
        again: the command that, followed by the folder, continues it.
    """
    _begun[:] = [(folder, again)]
    if not given.json:
        print(f"folder: {folder}", file=sys.stderr, flush=True)
    return folder


def begun() -> bool:
    """Return whether a command that can be continued has begun."""
    return bool(_begun)


def continuation() -> str:
    """Return the command that continues the one that was begun."""
    folder, again = _begun[0] if _begun else ("FOLDER", "sandbox resume")
    return f"{again} {shlex.quote(str(folder))}"


def say(given: Any, facts: Any, text: str) -> None:
    """Print the text, or the facts as JSON."""
    print(json.dumps(facts, indent=2, sort_keys=True, default=str) if given.json else text)


def percent(share: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f} %"
