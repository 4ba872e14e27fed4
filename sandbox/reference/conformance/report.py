"""The report of a validation: checks with values and tolerances, as a table, as JSON and as a figure."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.evidence import Evidence

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Check(NamedTuple):
    """One check and its result; `passed` is None if the check does not apply, and `reason` explains why."""

    name: str
    tier: str
    value: float | None
    tolerance: float | None
    passed: bool | None
    reason: str  # where the tolerance comes from, what was measured, or why it was skipped

    @property
    def verdict(self) -> str:
        """ok, FAIL or skip."""
        return "skip" if self.passed is None else "ok" if self.passed else "FAIL"


def within(name: str, tier: str, value: float, tolerance: float, reason: str) -> Check:
    """Check that a value is at most its tolerance; NaN fails."""
    return Check(name, tier, float(value), tolerance, bool(value <= tolerance), reason)


def skipped(name: str, tier: str, reason: str) -> Check:
    """Return a check that does not apply, with the reason."""
    return Check(name, tier, None, None, None, reason)


@dataclass(frozen=True)
class ConformanceReport:
    """Comparison of a neuron with Brian2 and SciPy, or with its formula; prints as a table.

    `checks` has every check of every tier. `differences` has the largest absolute difference of each variable from
    Brian2, in its own unit, up to the first divergence of a chaotic cell. `fi_curve` has the rates under the noisy
    currents.
    """

    neuron: Cell
    dt: float  # [ms]
    duration: float  # [ms]
    cells: int  # of each stimulus
    stimuli: tuple[str, ...]
    tolerance: float  # of the same-scheme tier, in scales of each variable
    checks: tuple[Check, ...]
    seconds: float  # that the validation took
    differences: Mapping[str, float] = field(default_factory=dict)
    spikes: int = 0  # in Brian2
    spikes_ours: int = 0
    spikes_differing: int = 0  # (step, cell) pairs in which one of the two fired
    largest_shift: int = 0  # steps between the n-th spike of a cell here and there, at most; -1 if their numbers differ
    fi_curve: tuple[tuple[float, float, float], ...] = ()  # per cell: mean current [nA], rates there and here [Hz]
    evidence: Evidence = field(default_factory=Evidence, repr=False, compare=False)  # what the figures show
    cell: str = ""  # the name of a cell given as a step; empty for the neuron's own

    @property
    def passed(self) -> bool:
        """True if no check failed, and one applied."""
        return self.checked and all(check.passed is not False for check in self.checks)

    @property
    def checked(self) -> bool:
        """Whether a check applied."""
        return any(check.passed is not None for check in self.checks)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Names of the tiers that were run."""
        return tuple(dict.fromkeys(check.tier for check in self.checks))

    def table(self) -> str:
        """Format a line for each check: verdict, tier, name, measured, allowed, reason."""
        rows = [("", "tier", "check", "measured", "allowed", "reason")]
        rows += [(c.verdict, c.tier, c.name, short(c.value), short(c.tolerance), c.reason) for c in self.checks]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows
        )

    def to_json(self) -> str:
        """Return all numbers as JSON text; a number that is not finite becomes null.

        >>> from sandbox import LIF, validate
        >>> json.loads(validate(LIF(), duration=20.0, cells=2, tiers=("same_scheme",)).to_json())["passed"]
        True
        """
        return json.dumps(self.facts(), indent=2, sort_keys=True, allow_nan=False)

    def facts(self) -> dict[str, Any]:
        """Return all numbers as plain data."""
        names = (
            "dt",
            "duration",
            "cells",
            "stimuli",
            "tolerance",
            "seconds",
            "passed",
            "tiers",
            "differences",
            "spikes",
            "spikes_ours",
            "spikes_differing",
            "largest_shift",
            "fi_curve",
        )
        facts = {name: getattr(self, name) for name in names}
        checks = [{**check._asdict(), "verdict": check.verdict} for check in self.checks]
        named = {"neuron": repr(self.neuron), "cell": self.cell, "checks": checks}
        plain: dict[str, Any] = _finite({**named, **facts})
        return plain

    def plot(self) -> Figure:
        """Plot voltages, their difference, spikes, and errors against dt, as a matplotlib figure."""
        from sandbox.reference.conformance.figures import conformance_figure

        return conformance_figure(
            self.evidence, self.neuron.units[getattr(self.neuron, "membrane", "v")], self.tolerance
        )

    def __repr__(self) -> str:
        failed = [check.name for check in self.checks if check.passed is False]
        named = f"cell={self.cell!r}, " if self.cell else ""
        return (
            f"{type(self).__name__}(neuron={brief(self.neuron)}, {named}tiers={self.tiers}, passed={self.passed}, "
            f"checks={len(self.checks)}, failed={failed})"
        )

    def __str__(self) -> str:
        rows = [
            f"{self.cell} as {brief(self.neuron)}" if self.cell else brief(self.neuron),
            f"  {self.cells} cells, {self.duration:g} ms at dt = {self.dt:g} ms, {self._scheme}"
            f"stimuli: {', '.join(self.stimuli)}",
        ]
        for name, difference in self.differences.items():
            rows.append(f"  {name:<12} largest difference {difference:.2e} {self.neuron.units[name]}")
        if self.neuron.spiking and {"same_scheme", "step"} & set(self.tiers):
            rows.append(
                f"  {'spikes':<12} {self.spikes} in {self._theirs}, {self.spikes_ours} {self._ours}, "
                f"{self.spikes_differing} at another step (largest shift {self.largest_shift} steps)"
            )
        rows += [f"  {line}" for line in self.table().splitlines()]
        return "\n".join([*rows, f"  {self._verdict}"])

    @property
    def _theirs(self) -> str:
        return "Brian2" if self.neuron.equations else "the formula"

    @property
    def _ours(self) -> str:
        return f"in {self.cell}" if self.cell else "here"

    @property
    def _verdict(self) -> str:
        if not self.checked:
            return "NOTHING WAS CHECKED, because no tier that was asked for applies: leave tiers out"
        reference = f"{type(self.neuron).__name__} in {self._theirs}" if self.cell else self.neuron.reference
        return f"{'agrees' if self.passed else 'DOES NOT AGREE'} with {reference}"

    @property
    def _scheme(self) -> str:
        method = getattr(self.neuron, "method", None)
        return "" if method is None else f"scheme '{method}', "


def report_of(
    neuron: Cell,
    currents: Tensor,
    dt: float,
    stimuli: tuple[str, ...],
    tolerance: float,
    checks: Iterable[Check],
    began: float,
    **numbers: Any,
) -> ConformanceReport:
    """Return the report of a validation that began at a time of `time.perf_counter`.

    Args:
        neuron: as it was given.
        currents: `[T, N, ...]` [nA], the columns of each stimulus side by side.
        dt: time step [ms].
        stimuli: their names.
        tolerance: of membranes.
        checks: all that were made.
        began: when [s].
        **numbers: further fields of `ConformanceReport`.
    """
    steps, columns = currents.shape[:2]
    cells, seconds = columns // len(stimuli), time.perf_counter() - began
    return ConformanceReport(neuron, dt, steps * dt, cells, stimuli, tolerance, tuple(checks), seconds, **numbers)


def brief(neuron: Cell) -> str:
    """Return a neuron as it is written, and of values that differ by cell the smallest and the largest.

    >>> import torch
    >>> from sandbox import LIF
    >>> brief(LIF(tau_mem=torch.linspace(5.0, 30.0, 6)))[:39]
    'LIF(tau_mem=[5 to 30, 6 values], r=1.0,'
    """
    parts = ", ".join(f"{f.name}={_brief(getattr(neuron, f.name))}" for f in fields(neuron) if f.repr)
    return f"{type(neuron).__qualname__}({parts})"


def _brief(value: Any) -> str:
    if not isinstance(value, Tensor) or value.numel() < 2:
        return repr(value)
    return f"[{float(value.min()):g} to {float(value.max()):g}, {value.numel()} values]"


def short(value: float | None) -> str:
    """Format a number for a table."""
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e6 else f"{value:.2g}"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
