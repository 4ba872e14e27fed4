"""TensorBoard: event files in the run folder, where `tensorboard --logdir runs` finds them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.machine.files import require_inside, require_plain
from sandbox.tracking.base import Status, require

NAME = "tensorboard"  # of the folder inside the run folder
RESULTS = ("result/test/accuracy", "result/test/r2", "result/test/f1")  # for the table of hyperparameters


class TensorBoard:
    """Scalars, findings as text and the configuration as hyperparameters, in `tensorboard/` of the run folder.

    A line is one record, so that it is written completely or not at all. A resumed run writes a new file that starts
    with the step from which it continues: TensorBoard then discards points of earlier files from that step on. Files
    are numbered, because the names of TensorBoard's own writer do not sort within one second.
    """

    def __init__(self) -> None:
        require("TensorBoard", "tensorboard")
        self._step = -1  # of the newest point
        self._records: Any = None
        self._finished: Any = None  # written at the end, for the table of hyperparameters

    def begin(self, folder: Path, parameters: Mapping[str, Any], kept: int) -> int:
        """Open an event file, and write the step from which it continues."""
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from torch.utils.tensorboard import RecordWriter, summary

        place = folder / NAME
        require_inside(folder, [place])
        place.mkdir(exist_ok=True)
        require_plain(*place.iterdir())
        self._step = min(_last(place), kept)
        file = open(place / f"events.out.tfevents.{len(list(place.iterdir())):010}", "xb")  # noqa: SIM115  # `end` closes it
        self._records = RecordWriter(file)
        self._write(file_version="brain.Event:2")
        self._write(step=self._step + 1, session_log=SessionLog(status=SessionLog.START))
        plain = {
            name: value if isinstance(value, (int, float, str)) else str(value) for name, value in parameters.items()
        }
        *opening, self._finished = summary.hparams(plain, dict.fromkeys(RESULTS))
        for part in opening:
            self._write(summary=part)
        return self._step

    def log(self, step: int, values: Mapping[str, float], health: Sequence[str]) -> None:
        """Write one record."""
        self._record(step, values, {"health": health})

    def end(self, status: Status, values: Mapping[str, float]) -> None:
        """Write the result at the step after the last, which is discarded if the run is resumed; close the file."""
        self._record(self._step + 1, values, {"status": [status]})
        if status == "finished":
            self._write(summary=self._finished)
        self._records.close()

    def _record(self, step: int, values: Mapping[str, float], texts: Mapping[str, Sequence[str]]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import summary

        parts = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        for name, lines in texts.items():
            if lines:
                parts += summary.text(name, "\n\n".join(lines)).value
        self._write(step=step, summary=Summary(value=parts))
        self._step = step

    def _write(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()


def _last(place: Path) -> int:
    """Return the step of the last line in the event files, -1 for none."""
    if not any(place.iterdir()):
        return -1
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(place)).Reload()  # its reservoir always keeps the newest point
    return int(events.Scalars("epoch")[-1].step) if "epoch" in events.Tags()["scalars"] else -1
