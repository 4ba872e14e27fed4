"""A run on several processes, as all but the first of them see it."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from rules.team import Team
from sandbox.config.experiment import Experiment
from sandbox.machine import devices
from sandbox.machine.plain_yaml import dump_yaml
from sandbox.runs import attempts
from sandbox.runs import folder as folders
from sandbox.runs.arrays import attached
from sandbox.runs.inherited import heritage, resolved
from sandbox.runs.preparing import loaded, own_process, prepare
from sandbox.tasks.base import Dataset

LEARN, FINISHED = b"learn", b"finished"  # what the first process tells the others


def follow(experiment: Experiment, folder: Path, data_dir: str | None, team: Team) -> dict[str, Any]:
    """Learn as a process of a team that is not the first: write nothing, and return what the first one found."""
    with own_process(experiment), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first process says the same
        if team.hear(b"") == LEARN:
            devices.require(experiment.device)
            experiment = resolved(attached(experiment, folder), folder)
            data = loaded(experiment, data_dir)
            team.require_same(facts(experiment, data, team))
            trainer, train = prepare(experiment, data, team, heritage(experiment, folder, data, data_dir))
            if state := team.hear(b""):
                trainer.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
            for _ in trainer.fit(train, experiment.epochs - trainer.epoch):
                pass
        found: dict[str, Any] = json.loads(team.hear(b""))
        return found


def facts(experiment: Experiment, data: Dataset, team: Team) -> dict[str, str]:
    """Return what must be the same in all processes of a team.

    Raises:
        ValueError: for an experiment that cannot be run by several processes.
    """
    if team.size == 1:
        return {}
    if experiment.microscope is not None:
        raise ValueError(
            f"microscope: it asks other rules about whole batches, and {team.size} processes divide them; leave it "
            "out, or run the experiment in one process"
        )
    around = folders.surroundings()
    code = {"revision": around["revision"], **around["versions"], **attempts.own_code(experiment)}
    return {
        "configuration": dump_yaml(asdict(experiment)),
        "data": data.checksum,
        "code": "\n".join(f"{name}: {value}" for name, value in code.items()),
    }


def packed(state: dict[str, Any]) -> bytes:
    """Return plain data as bytes."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()
