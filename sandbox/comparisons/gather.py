"""Build a table from existing runs, however they were produced."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.comparisons.linear import Scale, scale_of
from sandbox.comparisons.table import BASELINE, make_table
from sandbox.config.experiment import Experiment, RuleConfig
from sandbox.config.given import Given
from sandbox.machine.files import read_json
from sandbox.runs.arrays import attached
from sandbox.runs.finished import (
    FinishedRun,
    require_one_mode,
    require_one_revision,
    require_pairs,
    require_same_sources,
    sort_out,
    with_marks,
)
from sandbox.runs.folder import load, read_config


def gather(
    folder: Path, *, data_dir: str | None = None, mixed_revisions: bool = False, accept_changes: bool = False
) -> dict[str, Any]:
    """Return the table of the finished runs below a folder; damaged runs are skipped, named and counted.

    Args:
        folder: holds the runs, at any depth.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default. A task of the user's own is not
            loaded, because a table runs no code that a folder names.
        mixed_revisions: mark runs of another code revision in the table, instead of raising ValueError.
        accept_changes: mark runs of other data, own code or kernels in the table, instead of raising ValueError.

    Raises:
        ValueError: if there are no runs, if they differ in more than rule and seed, if two are of the same rule and
            seed, if the baseline is missing, if rules have different seeds, if several code revisions made them, or if
            their data, own code or kernels differ.
    """
    configs, damaged = _configs(folder)
    if damaged and not configs:
        lines = "\n".join(f"  {name}: {why}" for name, why in damaged.items())
        raise ValueError(f"every run folder in {folder} is damaged; run them again, or restore them:\n{lines}")
    if not configs:
        raise ValueError(f"{folder} holds no run folders; give the folder that was passed to `sandbox run --out`")
    settings = {replace(e, rule=RuleConfig(), seed=0, epochs=1).identity: e for e in configs.values()}
    if len(settings) > 1:
        raise ValueError(
            f"{folder} holds runs of {len(settings)} different experiments; a table compares runs that differ only in "
            f"rule and seed. Give one of these instead:\n{_commands(configs)}"
        )
    places: dict[str, dict[int, Path]] = {}
    for path, experiment in configs.items():
        label = _label(experiment, configs)
        twin = places.setdefault(label, {}).setdefault(experiment.seed, path)
        if twin != path:
            raise ValueError(
                f"{twin} and {path} are both the run of {label} with seed {experiment.seed}; a table counts each once: "
                "remove the copy"
            )
    if BASELINE not in places:
        raise ValueError(
            f"{folder} holds no run of {BASELINE}, the baseline of every table; run it with the same seeds"
        )
    sound = sort_out(places)
    damaged |= sound.damaged
    require_pairs(sound.runs)
    done = [run for found in sound.runs.values() for run in found]
    revisions = require_one_revision(done, mixed_revisions)
    place, first = next(iter(configs.items()))
    scale, checksum = _scale(attached(first, place), done, data_dir)
    require_same_sources(done, checksum, accept=accept_changes)
    require_one_mode(done, accept_changes)
    runs = with_marks(sound.runs, checksum)
    return make_table(first.task.name, runs, scale, damaged=damaged, revisions=revisions)


def _scale(experiment: Experiment, done: Sequence[FinishedRun], data_dir: str | None) -> tuple[Scale, str | None]:
    """Return what accuracies are seen beside, and the checksum of the data.

    A task that is code is not run: its linear model is the one that a comparison of the same data kept.
    """
    if isinstance(experiment.task, Given) or ":" not in experiment.task.name:
        data = experiment.load(data_dir)
        return scale_of(data), data.checksum
    kept = (_kept(run, experiment.task.name) for run in done)
    unknown = f"the task {experiment.task.name} is code, which a table does not run, and no comparison kept it"
    measure = done[0].measure if done else "accuracy"
    return next((scale for scale in kept if scale is not None), Scale(None, None, measure, unknown)), None


def _kept(run: FinishedRun, task: str) -> Scale | None:
    """Return what the table of the comparison that a run is part of kept of the run's data; None if there is none."""
    try:
        table, made = (read_json(run.folder.parent / name) for name in ("table.json", "provenance.json"))
        linear, chance, measure = table["linear"], table["chance"], table["measure"]
        same = table["task"] == task and made["data_sha256"] == run.data is not None and measure == run.measure
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = all(number is None or type(number) in (int, float) for number in (linear, chance))
    return Scale(linear, chance, measure) if same and known else None


def _commands(configs: dict[Path, Experiment]) -> str:
    """Return a command for each folder that holds the runs of one experiment, with its task and number of runs."""
    tasks: dict[Path, list[str]] = {}
    for path, experiment in configs.items():
        tasks.setdefault(path.parent, []).append(experiment.task.name)
    lines = [
        f"  sandbox table {shlex.quote(str(path))}  # {', '.join(sorted(set(names)))}, {len(names)} runs"
        for path, names in tasks.items()
    ]
    return "\n".join(lines)


def _configs(folder: Path) -> tuple[dict[Path, Experiment], dict[str, str]]:
    """Return the configuration of each run folder, and why it cannot be read for each of the others."""
    found, damaged = {}, {}
    built: dict[str, Experiment] = {}  # runs that differ only in their seed are built once: it takes most of the time
    for path in _run_folders(folder):
        try:
            content = read_config(path, "run")
            seed = content.pop("seed")
            key = json.dumps(content, sort_keys=True)
            if key not in built:
                built[key] = load(Experiment, path)
            found[path] = replace(built[key], seed=seed)
        except Exception as error:  # a damaged file may raise anything
            damaged[path.name] = f"config.yaml cannot be read ({type(error).__name__})"
    return found, damaged


def _run_folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("config.yaml")):
        if (path.parent / ".lock").exists() and not (path.parent / "table.json").exists():
            yield path.parent


def _label(experiment: Experiment, configs: dict[Path, Experiment]) -> str:
    """Return the rule's label or name; with a number where several of that name differ in their options or epochs."""
    kinds = []
    for other in configs.values():
        kind = (other.rule, other.epochs)
        if other.rule.title == experiment.rule.title and kind not in kinds:
            kinds.append(kind)
    place = kinds.index((experiment.rule, experiment.epochs))
    return experiment.rule.title if place == 0 else f"{experiment.rule.title}#{place + 1}"
