"""Run a curriculum over time steps: a chain of runs, each of which begins from the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from rules import Batch
from rules.batches import fitted
from rules.diagnostics.work import work
from sandbox.config.curriculum import Curriculum
from sandbox.config.experiment import Experiment
from sandbox.config.parent import Parent
from sandbox.config.reading import from_dict
from sandbox.config.registry import made
from sandbox.machine import files
from sandbox.measures import measured, score
from sandbox.networks.rebinned import Rebinned, rebin
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached, keep
from sandbox.runs.inherited import resolved
from sandbox.runs.preparing import core, evaluation, loaded, own_process
from sandbox.runs.run import Progress, run
from sandbox.runs.seal import unsealed, write_sealed
from sandbox.runs.trained import trained
from sandbox.tasks.base import Dataset
from sandbox.tasks.encode import is_timed
from sandbox.tracking import Tracker

NAME = "curriculum.json"
SAMPLES = 100  # of the validation set, on which operations are counted


class Operations(NamedTuple):
    """Synaptic operations of a network for one sample."""

    dense: float  # all pairs of an input and a weight
    sparse: float  # those whose input is not zero: SOPs


def run_curriculum(
    curriculum: Curriculum,
    folder: Path | str,
    *,
    data_dir: str | None = None,
    progress: Progress | None = None,
    trackers: Sequence[str | Tracker] = (),
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Run the stages of a curriculum one after the other, and continue bit for bit where it was stopped.

    Every stage is a run in a folder of its own below `folder`, named after its number and its identity; a finished one
    is not run again. At the end `curriculum.json` has a row for each stage.

    Args:
        curriculum: what to run.
        folder: where to run it; created if missing.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        progress: called with the steps done and the total number of steps, of all stages together.
        trackers: names or instances, which follow every stage.
        accept_changes: as in `sandbox.run`.

    Returns: the content of `curriculum.json`: for each stage its steps, measures, operations and time, and by how much
        steps and operations of the last stage are fewer than those of the first.

    Raises:
        ValueError: before the first stage, for steps of the task that cannot be summed as a stage asks, and for
            sequences of different length that the network cannot be told of; otherwise as `sandbox.run`.
        FolderInUse: if another process uses the folder.
    """
    folder, told = Path(folder), progress or (lambda done, total: None)
    curriculum = with_arrays(curriculum, folder)
    curriculum.experiment.check()
    made(trackers)
    with folders.locked(folder):
        data = loaded(curriculum.experiment, data_dir)
        require_bins(curriculum, data)
        folders.write_config(folder, "curriculum", asdict(curriculum))
        keep(curriculum.experiment, folder)
        rows: list[dict[str, Any]] = []
        parent: Parent | None = None
        for number in range(len(curriculum.stages)):
            experiment = resolved(curriculum.stage(number, parent), folder / "stage")
            place = folder / f"{number + 1}-{experiment.identity}"
            result = run(
                experiment,
                place,
                data_dir=data_dir,
                progress=_part(told, number, len(curriculum.stages)),
                trackers=trackers,
                accept_changes=accept_changes,
            )
            rows.append(row(experiment, place, result, data))
            parent = Parent(place.name)
        found = {"task": curriculum.experiment.task.name, "seed": curriculum.experiment.seed, "stages": rows}
        found |= {"fewer": {name: fewer(rows, name) for name in ("steps", "sops", "operations")}}
        write_sealed(folder, {NAME: found})
    return found


def with_arrays(curriculum: Curriculum, folder: Path) -> Curriculum:
    """Return a curriculum with the arrays of its task, if they are in its folder."""
    return replace(curriculum, experiment=attached(curriculum.experiment, folder))


def load_curriculum(folder: Path) -> Curriculum:
    """Return the curriculum that a folder belongs to."""
    found: Curriculum = from_dict(Curriculum, folders.read_config(folder, "curriculum"))
    return found


def require_bins(curriculum: Curriculum, data: Dataset) -> None:
    """Raise ValueError for samples whose steps cannot be summed as a stage asks, or whose lengths nobody could heed."""
    loader = evaluation(curriculum.experiment, data.train.first(1))
    batch = next(iter(loader))
    if not is_timed(loader.encoder):
        raise ValueError(
            f"encoder {curriculum.experiment.encoder.name!r} makes no time steps, and a curriculum sums them: use one "
            "that does, such as constant or as_recorded"
        )
    for number, factor in enumerate(curriculum.stages):
        try:
            rebin(batch.x, factor)
        except ValueError as error:
            raise ValueError(f"stages={curriculum.stages}, stage {number + 1}: {error}") from error
    if batch.lengths is not None:
        inner = curriculum.experiment.network.make(data.shape, data.outputs, curriculum.experiment.seed)
        Rebinned(core(inner), curriculum.stages[-1]).require_lengths()


def row(experiment: Experiment, place: Path, result: dict[str, Any], data: Dataset) -> dict[str, Any]:
    """Return what the table has of a stage."""
    measure = measured(result["test"])
    steps, spent = counted(experiment, place, data)
    timing = place / "timing.json"
    return {
        "folder": place.name,
        "bin": experiment.network.rebin,
        "steps": steps,
        "epochs": experiment.epochs,
        "kept_epoch": result.get("kept_epoch", experiment.epochs),
        "measure": measure,
        "validation": score(result["validation"]),
        "test": score(result["test"]),
        "sops": spent.sparse,
        "operations": spent.dense,
        "learning_operations": result["cost"]["synaptic_operations"],
        "seconds": files.read_mapping(timing).get("seconds") if timing.exists() else None,
    }


def counted(experiment: Experiment, place: Path, data: Dataset) -> tuple[int, Operations]:
    """Return the steps that a finished run's network takes, and its operations for one sample of validation."""
    with own_process(experiment):
        model = trained(place, experiment, data=data)[0].model.eval()
        held = data.validation.first(SAMPLES)
        batch: Batch = fitted(next(iter(evaluation(experiment, held, "validation"))), model, next(model.parameters()))
        with torch.no_grad():
            rows = work(model, batch)
    sparse = sum(each.multiplied + each.accumulated for each in rows)
    return len(batch.x) // experiment.network.rebin, Operations(sum(each.dense for each in rows), sparse)


def fewer(rows: Sequence[dict[str, Any]], name: str) -> float:
    """Return the share by which a number of the last stage is below that of the first.

    >>> fewer([{"steps": 40}, {"steps": 20}, {"steps": 16}], "steps")
    0.6
    """
    return 1 - float(rows[-1][name]) / float(rows[0][name])


def broken_stages(folder: Path) -> list[str]:
    """Return what is wrong with the table of a finished curriculum: its seal, and rows that its stages do not have."""
    kept = files.read_mapping(folder / NAME)
    wrong = unsealed(folder, ("config.yaml", NAME))
    for each in kept["stages"]:
        place = folder / str(each["folder"])
        result = files.read_mapping(place / "result.json") if (place / "result.json").exists() else None
        if result is None or score(result["test"]) != each["test"]:
            wrong.append(f"{NAME} has other numbers for {each['folder']} than that folder")
    return wrong


def _part(progress: Progress, number: int, stages: int) -> Progress:
    """Return the progress of one stage as that of all of them, which have equally many steps."""
    return lambda done, total: progress(number * total + done, stages * total)
