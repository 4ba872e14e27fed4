"""What the model of a run computes with, on validation samples of its own."""

from __future__ import annotations

from pathlib import Path

from rules.batches import fitted
from sandbox.inspection import Inspection, inspect
from sandbox.runs.preparing import evaluation, own_process
from sandbox.runs.trained import admitted, trained

SAMPLES = 8


def inspect_run(folder: Path, data_dir: str | None = None, trust: bool = False, samples: int = SAMPLES) -> Inspection:
    """Inspect the model of a run with the weights of its last checkpoint, on its first validation samples.

    Args:
        folder: of a run, finished or not; nothing is written into it.
        data_dir: folder of the data sets; SANDBOX_DATA or the user's cache by default.
        trust: whether to run code that the folder names although it was not made here.
        samples: number of samples, 8 by default.

    Raises:
        ValueError: for a folder that is not that of a run or has no checkpoint.
        RunFailed: for a checkpoint that cannot be read or does not fit the model.
    """
    experiment = admitted(folder, trust)
    with own_process(experiment):
        trainer, _, data = trained(folder, experiment, data_dir)
        loader = evaluation(experiment, data.validation.first(samples), "validation")
        batch = fitted(next(iter(loader)), trainer.model, next(trainer.model.parameters()))
        held = len(data.validation.first(samples))
        title = f"{folder.name}, step {trainer.steps}: {held} samples of the validation set of {experiment.task.name}"
        return inspect(trainer.model, batch, title=title)
