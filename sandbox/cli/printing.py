"""How subcommands speak: a progress bar for people, JSON for machines."""

from __future__ import annotations

import json
import sys
from typing import Any

from tqdm import tqdm


class Bar:
    """A progress bar on the error stream, silent for machines."""

    def __init__(self, quiet: bool, unit: str = "step") -> None:
        self.bar = tqdm(unit=unit, disable=quiet, file=sys.stderr, dynamic_ncols=True, leave=False)

    def __call__(self, done: int, total: int) -> None:
        self.bar.total = total or None
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *ended: object) -> None:
        self.bar.close()


def say(given: Any, facts: Any, text: str) -> None:
    """Print the text, or the facts as JSON."""
    print(json.dumps(facts, indent=2, sort_keys=True, default=str) if given.json else text)


def percent(share: float | None) -> str:
    """A share in percent; a dash for none."""
    return "-" if share is None else f"{100 * share:.2f} %"
