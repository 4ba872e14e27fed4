"""What a run folder says about itself: which run it holds, and whether that is done, running, stopped or damaged."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.executors.claims import claimed
from sandbox.machine.files import read_json
from sandbox.machine.locks import LOCK, held
from sandbox.machine.plain_yaml import read_yaml
from sandbox.runs.seal import broken
from sandbox.runs.signs import FAILED, REFUSED


class Found(NamedTuple):
    """A run as its folder shows it."""

    folder: str  # below the root
    about: tuple[str | None, str | None, int | None]  # task, rule and seed
    status: str  # a member of STATUSES
    test: Mapping[str, Any] | None  # the result on the test set, of a run that is done
    stamp: str | None


def stamp(folder: Path | str) -> str | None:
    """Return size and time of the newest file that a row is read from; None if the folder holds no run.

    That is the result, which is never written before the configuration, or the configuration where there is none. One
    look at the disk must do, for a listing of a hundred thousand runs.
    """
    for name in ("result.json", "config.yaml"):
        try:
            file = os.stat(f"{folder}/{name}")
        except OSError:
            continue
        return f"{file.st_size}.{file.st_mtime_ns}"
    return None


def unfinished(folder: Path | str) -> str:
    """Return the status of a run without a result; its lock, or the claim of another host, tells whether it runs."""
    if held(folder) or claimed(Path(folder)):
        return "running"
    if os.path.exists(f"{folder}/{REFUSED}"):
        return "refused"
    return "failed" if os.path.exists(f"{folder}/{FAILED}") else "stopped"


def read(root: Path, name: str) -> Found | None:
    """Read the run in a folder below `root`; None if it holds something else."""
    folder = root / name
    known: tuple[str | None, str | None, int | None] = (None, None, None)
    before = stamp(folder)
    try:
        config = read_yaml(folder / "config.yaml")
        if config["kind"] != "run":
            return None
        known = _about(config)
        if not (folder / "result.json").exists():
            return Found(name, known, unfinished(folder), None, before)
        if broken(folder):
            return Found(name, known, "damaged", None, before)
        return Found(name, known, "done", dict(read_json(folder / "result.json")["test"]), before)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Found(name, known, "damaged", None, before) if _is_run(folder) else None


def unlisted(root: Path, known: Collection[str]) -> Iterator[Found]:
    """Yield the runs below `root`, at any depth, whose folders are not in `known`.

    Folders inside of a run are not searched, and of symbolic links only those that lead to a run or a comparison.
    Where folders are known, others are searched only if they hold a configuration, as comparisons and grids do.
    """
    above = {parent for name in known for parent in _parents(name)}
    waiting, seen = [""], set[tuple[int, int]]()
    while waiting:
        prefix = waiting.pop()
        try:
            with os.scandir(root / prefix) as entries:
                fresh = [entry for entry in entries if prefix + entry.name not in known]
        except OSError:  # gone, or not to be read
            continue
        for entry in sorted(fresh, key=lambda entry: entry.name):
            name = prefix + entry.name
            if not entry.is_dir():
                continue
            configured = os.path.exists(f"{entry.path}/config.yaml")
            found = read(root, name) if configured else None
            if found is not None:
                yield found
            if found is not None and found.status != "damaged":
                continue
            if configured or name in above or not (known or entry.is_symlink()):
                at = os.stat(entry.path)
                if (at.st_dev, at.st_ino) not in seen:  # links may lead in a circle
                    seen.add((at.st_dev, at.st_ino))
                    waiting.append(f"{name}/")


def _about(config: Any) -> tuple[str, str, int]:
    """Return task, rule and seed; raise TypeError if they are something else."""
    found = (config["task"]["name"], config["rule"]["name"], config["seed"])
    if [type(value) for value in found] != [str, str, int] or not -(2**63) <= found[2] < 2**63:
        raise TypeError(f"task, rule and seed are {found}")
    return found


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _is_run(folder: Path) -> bool:
    """Return whether a folder whose configuration cannot be read was begun by this project."""
    with suppress(OSError):
        return any((folder / name).exists() for name in (LOCK, "metrics.jsonl", "result.json"))
    return False
