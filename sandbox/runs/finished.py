"""Finished runs, read from their folders, with checks for damaged or incomparable ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from sandbox.machine import files
from sandbox.machine.text import command, said
from sandbox.measures import measured, score
from sandbox.microscope import Row, journal, read_rows
from sandbox.runs import attempts
from sandbox.runs import folder as folders
from sandbox.runs.seal import broken
from sandbox.statistics import area

UNKNOWN = "unknown"  # the revision of a run made outside of a checkout


class FinishedRun(NamedTuple):
    """One run, as read from its folder."""

    rule: str  # its label in the table
    seed: int
    metrics: list[dict[str, Any]]  # one line per epoch, the first before learning
    result: dict[str, Any]
    measured: dict[str, float | None]  # what depends on the machine: wall `seconds`, `peak_bytes` of tensors
    test_evaluations: int  # how often the test set was evaluated
    looks: tuple[Row, ...] = ()  # measurements of the microscope; empty without one
    folder: Path = Path()
    revision: str = UNKNOWN  # of the code that made it
    data: str | None = None  # SHA-256 of its data; None if not recorded
    code: Mapping[str, str] = MappingProxyType({})  # SHA-256 of the user's own files that its configuration names
    kernels: str | None = None  # the mode of the kernels, with its version; None if not recorded
    changed: tuple[str, ...] = ()  # what differs from other runs, or changed while it learned, and was accepted
    config: Mapping[str, Any] = MappingProxyType({})  # its configuration, as it is in its folder

    @property
    def epochs(self) -> list[int]:
        """Epochs completed at each line."""
        return [line["epoch"] for line in self.metrics]

    @property
    def measure(self) -> str:
        """What the run is judged by: accuracy, r2 or f1, a key of its result."""
        return measured(self.result["test"])

    @property
    def curve(self) -> list[float]:
        """The measure on the validation set at each line [%]."""
        return [percent(line[f"validation_{self.measure}"]) for line in self.metrics]

    @property
    def area(self) -> float | None:
        """Area under the learning curve: mean of the measure over epochs [%]; None for a single line."""
        return area(self.epochs, self.curve) if len(self.epochs) > 1 else None

    @property
    def test_at(self) -> dict[int, float]:
        """The measure of the test set after the first k steps, by k [%]; empty if tested after the last step only."""
        test, at = self.result["test"], f"{self.measure}_at_"
        steps = sorted(int(key.removeprefix(at)) for key in test if key.startswith(at))
        return {step: percent(test[f"{at}{step}"]) for step in steps}


def percent(share: float | None) -> float:
    """Return a share in percent; NaN if it is missing."""
    return math.nan if share is None else 100 * share


def by_rule(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    """Group runs by rule, in the order in which rules come first; each group in the order of its seeds."""
    return {rule: in_order(run for run in runs if run.rule == rule) for rule in dict.fromkeys(run.rule for run in runs)}


def in_order(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """Return runs of one rule in the order of their seeds, by which rules are paired."""
    return sorted(runs, key=lambda run: run.seed)


def read_run(folder: Path, rule: str, seed: int, resumable: Path) -> FinishedRun:
    """Read the folder of one run.

    Args:
        folder: of the run.
        rule: its label in the table.
        seed: of the run.
        resumable: the folder that an error message asks the user to resume.

    Raises:
        ValueError: for a file that is missing or cut off, for one that is not as the run left it, and for impossible
            numbers.
    """
    result = finished(folder / "result.json", resumable)
    timing, looks = folder / "timing.json", folder / journal.NAME
    lines = _lines(folder / "metrics.jsonl")
    wrong = broken(folder)
    if wrong:
        raise ValueError(f"{folder} is damaged: {'; '.join(wrong)}; {folders.again(folder)}")
    made = attempts.read(folder)
    return FinishedRun(
        rule,
        seed,
        lines,
        result,
        files.read_mapping(timing) if timing.exists() else {},
        _evaluations(folder / "test.json", resumable),
        tuple(read_rows(looks)) if looks.exists() else (),
        folder,
        made.get("revision", UNKNOWN),
        made.get("data_sha256"),
        attempts.code_of(made),
        attempts.kernels_of(made),
        tuple(map(str, made.get("changed", ()))),
        folders.read_config(folder, "run") if (folder / "config.yaml").exists() else {},
    )


def _evaluations(path: Path, resumable: Path) -> int:
    """Return how often the test set was evaluated."""
    found = finished(path, resumable)
    times = found.get("evaluations") if isinstance(found, dict) else None
    if type(times) is not int:
        run = path.parent
        raise ValueError(
            f"{path} does not say how often the test set was evaluated, so that {run} is damaged; {folders.again(run)}"
        )
    return times


def finished(path: Path, resumable: Path, most: int = files.TEXT) -> Any:
    """Return the JSON in a file that is written at an end, of at most so many bytes; raise ValueError without it."""
    if not path.exists():
        raise ValueError(f"{path} does not exist yet; finish it with `{command('resume', resumable)}`")
    return files.read_json(path, most)


class Sound(NamedTuple):
    """The finished runs of each rule, and what is wrong with the damaged folders, by name."""

    runs: dict[str, list[FinishedRun]]
    damaged: dict[str, str]


def sort_out(places: Mapping[str, Mapping[int, Path]]) -> Sound:
    """Read every run of each rule, by seed; skip unfinished runs and report damaged ones."""
    runs: dict[str, list[FinishedRun]] = {}
    damaged = {}
    for label, folders_ in places.items():
        runs[label] = []
        for seed, folder in folders_.items():
            try:
                runs[label] += _undamaged(folder, label, seed)
            except ValueError as error:
                damaged[folder.name] = str(error)
    return Sound({label: in_order(found) for label, found in runs.items()}, damaged)


def _undamaged(folder: Path, label: str, seed: int) -> list[FinishedRun]:
    """Return the run in a list, empty if it is not finished; raise ValueError for damage, with what is wrong."""
    if (folder / "config.yaml").exists() or (folder / "result.json").exists():
        try:
            config = folders.read_config(folder, "run")
        except OSError as error:
            raise ValueError(f"config.yaml cannot be read ({error})") from error
        if config.get("seed", seed) != seed:
            raise ValueError(f"config.yaml is that of seed {config['seed']}, not of seed {seed}")
    if not (folder / "result.json").exists():
        return []
    try:
        run = read_run(folder, label, seed, folder)
        result = run.result
        score(result["test"]), score(result["validation"]), score(result["train"]), run.area
        dict(result["cost"]), list(result["health"]), result["parameters_trained"]
    except (OSError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(said(error)) from error
    return [run]


def require_pairs(runs: Mapping[str, Sequence[FinishedRun]]) -> None:
    """Raise ValueError, with the seeds of each rule, if rules were not run with the same seeds."""
    seeds = {label: sorted(run.seed for run in found) for label, found in runs.items()}
    if len({tuple(found) for found in seeds.values()}) > 1:
        every = {seed for found in seeds.values() for seed in found}
        lines = "\n".join(
            f"  {label}: {_listed(found)}{_missing(every - set(found))}" for label, found in seeds.items()
        )
        raise ValueError(
            "the rules were not run with the same seeds, so paired differences cannot be computed; run those that are "
            f"missing. Seeds by rule:\n{lines}"
        )


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(seeds))) or "none"


def _missing(seeds: Collection[int]) -> str:
    return f" (missing: {_listed(seeds)})" if seeds else ""


def require_one_revision(found: Sequence[FinishedRun], mixed: bool, now: str | None = None) -> dict[str, int]:
    """Count the runs of each code revision.

    Args:
        found: the finished runs.
        mixed: whether several revisions are allowed.
        now: revision of this code, if further runs are to be made with it.

    Raises:
        ValueError: for several revisions, unless `mixed`.
    """
    made: dict[str, int] = {} if now is None else {now: 0}
    for run in found:
        made[run.revision] = made.get(run.revision, 0) + 1
    if len(made) > 1 and not mixed:
        lines = "\n".join(f"  {name}: {count if count else 'those to come'}" for name, count in made.items())
        raise ValueError(
            "runs of different code revisions do not belong in one table; run them again in another folder, or "
            f"mark them in the table (--mixed-revisions). Runs by revision:\n{lines}"
        )
    return {name: count for name, count in made.items() if count}


def require_same_sources(
    found: Sequence[FinishedRun],
    data: str | None = None,
    code: Mapping[str, str] = MappingProxyType({}),
    accept: bool = False,
) -> None:
    """Raise ValueError, naming the runs, if the data or the user's own code changed between runs, unless accepted.

    Args:
        found: the finished runs.
        data: SHA-256 of the data as they are now; by default those of the first run.
        code: SHA-256 of own files as they are now; by default as they were at the first run that names them.
        accept: whether such runs are to be marked (`with_marks`).
    """
    for name, runs in _stale(found, data, code).items():
        if accept:
            continue
        what = "the data are not those" if name == "data" else f"{name} is not the file"
        why = " A file has changed, or `load` draws without a fixed seed." if name == "data" else ""
        raise ValueError(
            f"{what} that {len(runs)} of {len(found)} finished runs were made with, so the runs cannot be compared."
            f"{why} Run all again in another folder, mark these in the table (--accept-changes), or remove "
            f"them and continue: {', '.join(run.folder.name for run in runs)}"
        )


def require_one_mode(found: Sequence[FinishedRun], accept: bool = False, now: str | None = None) -> None:
    """Raise ValueError if runs were made in several modes of the kernels, unless accepted.

    Args:
        found: the finished runs; those of earlier versions, which did not record the mode, are passed over.
        accept: whether such runs are to be marked (`with_marks`).
        now: the mode of runs that are still to be made.
    """
    made: dict[str, list[str]] = {} if now is None else {now: ["those to come"]}
    for run in found:
        if run.kernels is not None:
            made.setdefault(run.kernels, []).append(run.folder.name)
    if len(made) > 1 and not accept:
        lines = "\n".join(f"  {mode}: {', '.join(names)}" for mode, names in made.items())
        raise ValueError(
            "runs in different modes of the kernels do not belong in one table, because their sums are rounded "
            "otherwise; set kernels, or install the same version of numba or Triton, and run them again in another "
            f"folder, or mark them in the table (--accept-changes). Runs by mode:\n{lines}"
        )


def with_marks(
    runs: Mapping[str, Sequence[FinishedRun]],
    data: str | None = None,
    code: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, list[FinishedRun]]:
    """Return runs, each with what it was made with that differs from the others (`FinishedRun.changed`).

    Arguments are those of `require_same_sources`.
    """
    every = [run for found in runs.values() for run in found]
    stale = _stale(every, data, code)
    usual = Counter(run.kernels for run in every if run.kernels is not None).most_common(1)
    stale["kernels"] = [run for run in every if run.kernels is not None and run.kernels != usual[0][0]]
    marks: dict[Path, set[str]] = {run.folder: set(run.changed) for run in every}
    for name, odd in stale.items():
        for run in odd:
            marks[run.folder].add(name)
    return {
        label: [run._replace(changed=tuple(sorted(marks[run.folder]))) for run in found]
        for label, found in runs.items()
    }


def _stale(found: Sequence[FinishedRun], data: str | None, code: Mapping[str, str]) -> dict[str, list[FinishedRun]]:
    """Return the runs that were made with other data, or with another version of a file, by its name."""
    now = {"data": data} if data else {}
    now |= code
    stale: dict[str, list[FinishedRun]] = {}
    for run in found:
        for name, checksum in (({"data": run.data} if run.data else {}) | dict(run.code)).items():
            if now.setdefault(name, checksum) != checksum:
                stale.setdefault(name, []).append(run)
    return stale


def _lines(path: Path) -> list[dict[str, Any]]:
    run = path.parent
    if not path.exists():
        raise ValueError(f"{path} does not exist, so there is no learning curve of {run}; {folders.again(run)}")
    try:
        lines = files.read_lines(path)
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON, line by line ({error}), so that {run} is damaged; {folders.again(run)}"
        ) from error
    if not lines:
        raise ValueError(f"{path} is empty, so that {run} is damaged; {folders.again(run)}")
    return lines
