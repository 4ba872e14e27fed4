"""The runs that a table is made of: the damaged left out and named, the others held to be comparable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sandbox import folder as folders
from sandbox.statistics import area

UNKNOWN = "unknown"  # the revision of a run made outside of a checkout


class Found(NamedTuple):
    """A finished run, as its folder tells of it."""

    folder: Path
    seed: int
    result: dict[str, Any]
    area: float | None  # under its learning curve: validation accuracy [%], the mean over epochs
    revision: str  # of the code that made it
    looks: int  # how often the test set was evaluated


class Sound(NamedTuple):
    """The runs of each rule, and what is wrong with the folders left out, by name."""

    runs: dict[str, list[Found]]
    damaged: dict[str, str]


def look(folder: Path, seed: int) -> Found | None:
    """A run's folder; None where it is not finished. Raises ValueError that says what is damaged."""
    if not (folder / "result.json").exists():
        if (folder / "config.yaml").exists():
            _config(folder)
        return None
    result = folders.read_json(folder / "result.json")
    _config(folder)
    try:
        float(result["test"]["accuracy"]), float(result["validation"]["accuracy"]), dict(result["cost"])
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        epochs = [line["epoch"] for line in lines]
        heights = [100 * line["validation_accuracy"] for line in lines]
        made = folders.read_json(folder / "provenance.json")
        looks = int(folders.read_json(folder / "test.json")["evaluations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    curve = area(epochs, heights) if len(epochs) > 1 else None
    return Found(folder, seed, result, curve, made.get("revision", UNKNOWN), looks)


def sort_out(places: Mapping[str, Mapping[int, Path]]) -> Sound:
    """Look at every run of each rule, by seed; unfinished ones are passed over, damaged ones are named."""
    runs: dict[str, list[Found]] = {}
    damaged = {}
    for label, folders_ in places.items():
        runs[label] = []
        for seed, folder in folders_.items():
            try:
                found = look(folder, seed)
            except ValueError as error:
                damaged[folder.name] = str(error)
                continue
            runs[label] += [] if found is None else [found]
    return Sound(runs, damaged)


def shared_seeds(runs: Mapping[str, Sequence[Found]]) -> list[int]:
    """Those that every rule has."""
    sets = [{run.seed for run in found} for found in runs.values()]
    return sorted(set.intersection(*sets)) if sets else []


def demand_pairs(runs: Mapping[str, Sequence[Found]]) -> None:
    """Raise ValueError, with the seeds of each rule, where rules were not run with the same ones."""
    seeds = {label: sorted(run.seed for run in found) for label, found in runs.items()}
    if len({tuple(found) for found in seeds.values()}) > 1:
        lines = "\n".join(f"  {label}: {', '.join(map(str, found))}" for label, found in seeds.items())
        raise ValueError(
            "the rules were not run with the same seeds, so that differences cannot be taken seed by "
            f"seed; run the missing ones:\n{lines}"
        )


def demand_one_revision(found: Sequence[Found], mixed: bool, now: str | None = None) -> dict[str, int]:
    """How many runs each code revision made; raises ValueError for more than one, unless `mixed` is what is wanted.

    `now` is the revision that further runs would be made by.
    """
    made: dict[str, int] = {} if now is None else {now: 0}
    for run in found:
        made[run.revision] = made.get(run.revision, 0) + 1
    if len(made) > 1 and not mixed:
        lines = "\n".join(f"  {name}: {count if count else 'those to come'}" for name, count in made.items())
        raise ValueError(
            "runs of different code revisions do not belong in one table; run them again in another folder (--out), or "
            f"have them marked (--mixed-revisions). Runs by revision:\n{lines}"
        )
    return {name: count for name, count in made.items() if count}


def _config(folder: Path) -> None:
    try:
        folders.read_config(folder, "run")
    except (OSError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"config.yaml cannot be read ({error})") from error
