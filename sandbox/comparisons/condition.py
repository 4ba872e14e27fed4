"""In which condition the run folders of a comparison are: damaged, or under other names than their own."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sandbox.machine.text import command
from sandbox.runs.seal import NAME, read_seal


def damage(folder: Path, damaged: Mapping[str, str]) -> str:
    """Return a message about the damaged runs of a comparison: what is wrong with each, and how to go on."""
    runs = "1 run is" if len(damaged) == 1 else f"{len(damaged)} runs are"
    lines = "\n".join(f"  {name}: {why}" for name, why in damaged.items())
    return (
        f"{runs} damaged, so the table was not written. Restore each from a copy, or remove it and run "
        f"`{command('resume', folder)}`:\n{lines}"
    )


def require_names(folder: Path, runs: Iterable[Path]) -> None:
    """Raise ValueError, with the commands that mend it, for finished runs whose folders were given other names.

    Args:
        folder: of the comparison.
        runs: the folder of each of its runs, named by the identity of the run.
    """
    wanted = {path.name: path for path in runs}
    moves = []
    for path in sorted(seal.parent for seal in folder.rglob(NAME)):
        kept = None
        with suppress(OSError, ValueError):
            kept = read_seal(path)
        right = wanted.get(kept.identity) if kept is not None else None
        if right is None or path == right or not (path / "result.json").exists() or (right / "result.json").exists():
            continue
        away = [shlex.join(["rm", "-r", str(right)])] if right.exists() else []  # it was begun again
        moves.append("  " + " && ".join([*away, shlex.join(["mv", str(path), str(right)])]))
    if moves:
        count = "a finished run is" if len(moves) == 1 else f"{len(moves)} finished runs are"
        lines = "\n".join(moves)
        raise ValueError(f"{count} in {folder} under another name; give the folder its own name back:\n{lines}")
