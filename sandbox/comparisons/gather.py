"""Build a table from existing runs, however they were produced."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.comparisons.coinciding import coincided
from sandbox.comparisons.linear import scale_beside
from sandbox.comparisons.references import published
from sandbox.comparisons.table import BASELINE, make_table
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.given import Given
from sandbox.config.identity import digest
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import read_json
from sandbox.machine.text import said
from sandbox.runs import attempts
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
        ValueError: if there are no runs, if they differ in more than rule, its read-out and seed, if two are of the
            same rule and seed, if the baseline is missing, if rules have different seeds, if several code revisions
            made them, or if their data, own code or kernels differ.
    """
    configs, damaged = _configs(folder)
    if damaged and not configs:
        lines = "\n".join(f"  {name}: {why}" for name, why in damaged.items())
        raise ValueError(f"every run folder in {folder} is damaged; run them again, or restore them:\n{lines}")
    if not configs:
        raise ValueError(f"{folder} holds no run folders; give the folder that was passed to `sandbox run --out`")
    settings = _experiments(configs)
    if len(settings) > 1:
        raise ValueError(
            f"{folder} holds runs of {len(settings)} different experiments; a table compares runs that differ only in "
            f"rule, its read-out and seed. Give one of these instead:\n{_commands(configs)}"
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
    if BASELINE not in {experiment.rule.row for experiment in configs.values()}:
        raise ValueError(
            f"{folder} holds no run of {BASELINE}, the baseline of every table; run it with the same seeds"
        )
    lengths = sorted({experiment.epochs for experiment in configs.values() if experiment.rule.row == BASELINE})
    if len(lengths) > 1:
        raise ValueError(
            f"{folder} holds runs of {BASELINE} of {' and '.join(map(str, lengths))} epochs, and a table has one "
            f"baseline. Give one of these instead:\n{_commands(configs)}"
        )
    sound = sort_out(dict(sorted(places.items(), key=lambda found: (found[0] == BASELINE, found[0]))))
    damaged |= sound.damaged
    _require_pairs(folder, sound.runs, damaged)
    done = [run for found in sound.runs.values() for run in found]
    revisions = require_one_revision(done, mixed_revisions)
    place, first = next(iter(configs.items()))
    experiment = attached(first, place)
    unloaded = ":" in experiment.task.name and not isinstance(experiment.task, Given)  # code, which is not run
    data = None if unloaded else experiment.load(data_dir)
    require_same_sources(done, None if data is None else data.checksum, accept=accept_changes)
    require_one_mode(done, accept_changes)
    checksum, code = _known_sources(done)
    runs = with_marks(sound.runs, checksum if data is None else data.checksum, code)
    scale = scale_beside(done, first.task.name, data)
    same = coincided(done)
    return make_table(
        first.task.name,
        runs,
        scale,
        damaged=damaged,
        revisions=revisions,
        coincides=same,
        published=published(first),
    )


def _require_pairs(folder: Path, runs: Mapping[str, Sequence[FinishedRun]], damaged: Mapping[str, str]) -> None:
    """Raise ValueError for rules without the same seeds; damaged runs, which may be why, are named first."""
    try:
        require_pairs(runs)
    except ValueError as error:
        if not damaged:
            raise
        lines = "\n".join(f"  {name}: {why}" for name, why in damaged.items())
        raise ValueError(
            f"{folder} holds {len(damaged)} damaged run folder{'s' if len(damaged) > 1 else ''}; restore what is "
            f"damaged, or remove it and run it again:\n{lines}\nWithout what is damaged, {error}"
        ) from error


def _known_sources(done: Sequence[FinishedRun]) -> tuple[str | None, dict[str, str]]:
    """Return the data and the code of the user's own as the comparison of the runs last saw them.

    By these its table marks runs of earlier data or code, which were accepted; without a comparison, nothing.
    """
    for folder in dict.fromkeys(run.folder.parent for run in done):
        if (folder / "table.json").exists() and (folder / attempts.NAME).exists():
            made = read_json(folder / attempts.NAME)
            checksum = made.get("data_sha256") if isinstance(made, dict) else None
            code = attempts.code_of(made) if isinstance(made, dict) else {}
            return (checksum if isinstance(checksum, str) else None), code
    return None, {}


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
            damaged[path.name] = f"config.yaml cannot be read ({said(error)})"
    return found, damaged


def _run_folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("config.yaml")):
        if (path.parent / ".lock").exists() and not (path.parent / "table.json").exists():
            yield path.parent


def _experiments(configs: Mapping[Path, Experiment]) -> set[str]:
    """Return what runs share apart from rule and seed, once for each experiment; one for runs of one comparison.

    A rule may bring its own read-out to a comparison, the baseline never brings a second one.
    """
    readouts = {digest(each.network.readout) for each in configs.values() if each.rule.name == BASELINE}

    def shared(each: Experiment) -> str:
        network = each.network if len(readouts) > 1 else replace(each.network, readout=NetworkConfig().readout)
        return replace(each, rule=RuleConfig(), network=network, seed=0, epochs=1).identity

    return {shared(each) for each in configs.values()}


def _label(experiment: Experiment, configs: dict[Path, Experiment]) -> str:
    """Return the rule's label or name; with a number where several of that name differ in more than their search."""
    kinds = []
    for other in configs.values():
        kind = _kind(other)
        if other.rule.title == experiment.rule.title and kind not in kinds:
            kinds.append(kind)
    place = kinds.index(_kind(experiment))
    return experiment.rule.title if place == 0 else f"{experiment.rule.title}#{place + 1}"


def _kind(experiment: Experiment) -> tuple[Any, ...]:
    """Return what makes a row of a table: rule, epochs and read-out."""
    return experiment.rule.unsearched, experiment.epochs, experiment.network.readout
