"""`sandbox prune`: remove shortcuts of a run's model whose gates have fallen silent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli.options import OK
from sandbox.cli.printing import say
from sandbox.machine.text import line
from sandbox.runs.pruned import FACTS, MODEL, prune_run


def prune(given: Any) -> int:
    """Print what was removed and saved, after the pruned model has been written."""
    folder = Path(given.folder)
    found = prune_run(folder, given.data_dir, given.trust, given.rate)
    text = "\n".join(map(line, str(found).splitlines()))
    say(given, found.facts(), f"{text}\nwritten: {folder / MODEL}, {folder / FACTS}")
    return OK
