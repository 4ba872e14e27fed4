"""The subcommand that prints a table of what has run already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.cli import curriculum
from sandbox.cli.options import OK
from sandbox.cli.printing import say
from sandbox.comparisons.gather import gather
from sandbox.comparisons.table import format_table
from sandbox.runs import folder as folders


def table(given: Any) -> int:
    """Print a table of existing runs, however they were produced; of a curriculum that of its stages."""
    folder = Path(given.folder)
    if (folder / "config.yaml").exists() and folders.kind_of(folder) == "curriculum":
        return curriculum.show(folder, given)
    marks = {"mixed_revisions": given.mixed_revisions, "accept_changes": given.accept_changes}
    found = gather(folder, data_dir=given.data_dir, **marks)
    say(given, found, format_table(found))
    return OK
