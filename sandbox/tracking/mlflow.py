"""MLflow: a SQLite store beside the runs, or the one that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from sandbox.machine import files
from sandbox.tracking.base import Status, require

NAME = "mlflow.db"  # of the store, in the folder of all runs
KEPT = "mlflow.json"  # in the run folder: the id of its tracked run
STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
MOST_METRICS, MOST_PARAMETERS = 900, 100  # that MLflow accepts in one batch, beside a tag


class MLflow:
    """Metrics, findings as a tag and the configuration as parameters; a comparison is one MLflow experiment.

    The run folder stores the id of its tracked run. MLflow cannot remove points: if a run starts over, its old tracked
    run is moved to the trash and a new one is created. Telemetry stays off unless MLFLOW_DISABLE_TELEMETRY is false.
    If a server does not answer, learning waits for MLFLOW_HTTP_REQUEST_MAX_RETRIES retries.
    """

    def __init__(self) -> None:
        require("MLflow", "mlflow", "sqlalchemy", "alembic")
        self._client: Any = None
        self._run = ""  # its id
        self._step = 0  # of the newest point

    def begin(self, folder: Path, parameters: Mapping[str, Any], kept: int) -> int:
        """Find the tracked run, or create one."""
        root = files.root_of(folder)
        files.require_database(root / NAME)
        files.require_plain(root / f".{NAME}.lock")
        with FileLock(root / f".{NAME}.lock"), _quiet():  # many runs begin at once, and the first creates the tables
            self._client = _client(root)
            held = self._resume(folder / KEPT, kept)
            if held is None:
                self._make(_experiment(self._client, folder.resolve().parent.name, root), folder, parameters)
        self._step = -1 if held is None else held
        return self._step

    def log(self, step: int, values: Mapping[str, float], health: Sequence[str]) -> None:
        """Send one batch, which is written completely or not at all."""
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        tags = [RunTag("health", "\n".join(health))] if health else []
        entries = [Metric(name, value, now, step) for name, value in values.items()]
        for some in _batches(entries, MOST_METRICS):
            self._client.log_batch(self._run, metrics=some, tags=tags)
        self._step = step

    def end(self, status: Status, values: Mapping[str, float]) -> None:
        """Send the part of the result that is not there yet, and close the tracked run."""
        there = self._client.get_run(self._run).data.metrics
        self.log(self._step, {name: value for name, value in values.items() if name not in there}, ())
        self._client.set_terminated(self._run, STATUS[status])

    def _resume(self, remembered: Path, kept: int) -> int | None:
        """Open the tracked run of the folder; return its last step, or None for no run that can be resumed."""
        if not remembered.exists():
            return None
        self._run = files.read_json(remembered)["run"]
        if not _is_there(self._client, self._run):
            return None
        held = max((point.step for point in self._client.get_metric_history(self._run, "epoch")), default=-1)
        if held > kept:
            self._client.delete_run(self._run)
            return None
        self._client.update_run(self._run, status="RUNNING")
        return held

    def _make(self, experiment: str, folder: Path, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        made = self._client.create_run(experiment, run_name=folder.name, tags={"folder": str(folder)})
        self._run = made.info.run_id
        for some in _batches([Param(name, str(value)) for name, value in parameters.items()], MOST_PARAMETERS):
            self._client.log_batch(self._run, params=some)
        files.write_json(folder / KEPT, {"run": self._run})


def _client(root: Path) -> Any:
    from mlflow.tracking import MlflowClient

    elsewhere = os.environ.get("MLFLOW_TRACKING_URI")
    return MlflowClient(tracking_uri=elsewhere or f"sqlite:///{(root / NAME).resolve()}?timeout=60")


def _is_there(client: Any, run: str) -> bool:
    """Tell whether this store has the run, outside its trash."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _experiment(client: Any, name: str, root: Path) -> str:
    """Return the id of the experiment of this name; create it where there is none."""
    found = client.get_experiment_by_name(name)
    files = None if os.environ.get("MLFLOW_TRACKING_URI") else (root / "mlflow").resolve().as_uri()
    return str(found.experiment_id if found else client.create_experiment(name, files))


def _batches(entries: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (entries[first : first + most] for first in range(0, len(entries), most))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence MLflow's log while it creates its tables; telemetry must be switched off before the import."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow  # noqa: F401

    logger = logging.getLogger("mlflow")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
