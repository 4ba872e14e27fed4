"""`sandbox ledger`: what one update of a run would take on hardware for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rules.errors import unknown
from sandbox.cli.options import OK
from sandbox.cli.printing import say
from sandbox.hardware import HARDWARE, OPTIMIZERS, Report, estimate
from sandbox.machine.text import line
from sandbox.runs.workload import Asked, workload_of

NONE = "none"  # for no optimizer


def ledger(given: Any) -> int:
    """Print an estimate for each set of constants."""
    names = [name.strip() for name in given.hardware.split(",")]
    for name in names:
        if name not in HARDWARE:
            raise unknown("hardware", name, HARDWARE)
    if given.optimizer not in (None, NONE, *OPTIMIZERS):
        raise unknown("optimizer", given.optimizer, [*OPTIMIZERS, NONE])
    if given.buffer is not None and given.buffer < 0:
        raise ValueError(f"--buffer {given.buffer}: give bytes, 0 or more")
    asked = workload_of(Path(given.folder), given.data_dir, given.trust, given.bits, given.rule)
    found = [_estimate(asked, name, given) for name in names]
    text = "\n\n".join("\n".join(map(line, str(report).splitlines())) for report in found)
    say(given, [report.facts() for report in found], text)
    return OK


def _estimate(asked: Asked, name: str, given: Any) -> Report:
    """Return the report of one set of constants; the optimizer of the run is left out where it has no price."""
    optimizer = asked.optimizer if given.optimizer is None else None if given.optimizer == NONE else given.optimizer
    if given.optimizer is None and optimizer and OPTIMIZERS[optimizer].root and HARDWARE[name].root is None:
        optimizer = None
    return estimate(
        asked.workload,
        asked.plan,
        name,
        title=asked.rule,
        optimizer=optimizer,
        updates=asked.updates,
        buffer=given.buffer,
        dram=given.dram,
    )
