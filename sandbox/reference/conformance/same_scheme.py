"""The first tier: against Brian2 with the same scheme and time step, value by value and spike by spike."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sandbox.reference.brian import run_brian2
from sandbox.reference.conformance.evidence import Evidence, Raster, Trace
from sandbox.reference.conformance.report import Check, within
from sandbox.reference.conformance.trial import Trial, first_step
from sandbox.simulation import Trajectory

TIER = "same_scheme"
DRAWS = 3  # of nudges: those of one draw may cancel where a membrane is about to go either way
ROUNDED = 1e-15  # a few roundings
NUDGE = 1e-12  # far above rounding, 1e-16, and far below the tolerance; only a chaotic cell amplifies it that far


def same_scheme(trial: Trial, tolerance: float, evidence: Evidence) -> tuple[list[Check], dict[str, Any]]:
    """Return the checks of this tier, and its numbers for a ConformanceReport."""
    neuron = trial.neuron
    theirs, ours = run_brian2(neuron, trial.currents, trial.dt, trial.record), trial.ours
    a, b = (theirs.spikes, ours.spikes) if neuron.spiking else (torch.zeros(1, 1), torch.zeros(1, 1))
    relative, bad = compared(trial, theirs, ours, tolerance)
    first = first_step(bad)
    wild = chaotic(trial, tolerance, first) if bool(bad.any()) else torch.zeros_like(first, dtype=torch.bool)
    if bool(((first < len(bad)) & ~wild).any()):
        wild |= _undecided(trial, theirs, tolerance, first)
    judged = ~wild | (torch.arange(len(bad))[:, None] < first)
    differing = int(((a != b) & judged).sum()) if neuron.spiking else 0
    checks = [_proof_read(), _finite(trial, theirs, ours)]
    checks += [
        within(
            name,
            TIER,
            float(torch.where(judged, off, 0.0).max()),
            tolerance,
            "of its largest value under the stimulus; both sides round by 1e-16 in each step",
        )
        for name, off in relative.items()
    ]
    if neuron.spiking:
        checks.append(within("spikes at another step", TIER, differing, 0, f"of {int(a.sum())} in Brian2"))
    if bool(wild.any()):
        checks.append(_confessed(wild, first, trial.dt))
    evidence.traces, evidence.raster = traces(trial, theirs, ours), raster(trial, a, b) if neuron.spiking else None
    return checks, {
        "differences": {
            name: float(torch.where(judged, theirs.variables[name] - ours.variables[name], 0.0).abs().max())
            for name in trial.record
        },
        "spikes": int(a.sum()),
        "spikes_ours": int(b.sum()),
        "spikes_differing": differing,
        "largest_shift": largest_shift(a * judged, b * judged) if neuron.spiking else 0,
        "fi_curve": rates(trial, a, b) if neuron.spiking else (),
    }


def compared(trial: Trial, theirs: Trajectory, ours: Trajectory, tolerance: float) -> tuple[dict[str, Tensor], Tensor]:
    """Return differences in scales, and where one is too large or not finite, or a spike differs; `[T, N]`."""
    scales = trial.scales(theirs)
    relative = {name: (theirs.variables[name] - ours.variables[name]).abs() / scales[name] for name in trial.record}
    bad = theirs.spikes != ours.spikes if trial.neuron.spiking else torch.zeros_like(ours.spikes, dtype=torch.bool)
    for off in relative.values():
        bad = bad | ~(off <= tolerance)
    return relative, bad


def chaotic(trial: Trial, tolerance: float, first: Tensor) -> Tensor:
    """Return the cells in which nudges outgrow the tolerance no later than the difference from Brian2 does.

    A defect larger than a nudge would exceed the tolerance earlier than the nudges, so chaos cannot hide it.
    """
    runs = (trial.disturbed(NUDGE, seed) for seed in range(DRAWS))
    nudged = torch.stack([first_step(compared(trial, run, trial.ours, tolerance)[1]) for run in runs]).amin(0)
    return (first < len(trial.currents)) & (nudged <= first) & (first > 0)


def _undecided(trial: Trial, theirs: Trajectory, tolerance: float, first: Tensor) -> Tensor:
    """Return the cells in which the rounding of either side comes to a hundredth of the tolerance before they differ.

    Currents that differ by 1e-15 of themselves give other roundings and the same solution. They tell what code makes of
    rounding, where x / (1 - exp(-x)) is a quotient of two differences that are nearly 0, as SymPy writes exprel.
    """
    rng = torch.Generator().manual_seed(0)
    found = torch.zeros_like(first, dtype=torch.bool)
    for _ in range(DRAWS):
        signs = 2 * torch.randint(2, trial.currents.shape, generator=rng) - 1
        other = replace(trial, currents=trial.currents * (1 + ROUNDED * signs.double()))
        again = run_brian2(trial.neuron, other.currents, trial.dt, trial.record)
        for run, beside in ((again, theirs), (other.ours, trial.ours)):
            found |= first_step(compared(trial, run, beside, tolerance / 100)[1]) <= first
    return found & (first < len(trial.currents)) & (first > 0)


def _confessed(chaotic: Tensor, first: Tensor, dt: float) -> Check:
    share = float(chaotic.double().mean())
    when = float(first[chaotic].min()) * dt
    return within(
        "share of chaotic cells",
        TIER,
        share,
        0.5,
        f"nudges of {NUDGE:g} a step, or rounding, outgrow the tolerance; compared to the first divergence, at "
        f"{when:g} ms or later",
    )


def _proof_read() -> Check:
    return Check("units and names", TIER, None, None, True, "Brian2 checked equations, threshold and reset")


def _finite(trial: Trial, theirs: Trajectory, ours: Trajectory) -> Check:
    where = [
        f"{name} under {stimulus!r}"
        for name in trial.record
        for stimulus, of in trial.blocks()
        if not (torch.isfinite(theirs.variables[name][:, of]) & torch.isfinite(ours.variables[name][:, of])).all()
    ]
    return within(
        "values that are not finite",
        TIER,
        len(where),
        0,
        ", ".join(where) or "none on either side, under every stimulus",
    )


def traces(trial: Trial, theirs: Trajectory, ours: Trajectory) -> list[Trace]:
    """Return one cell of each stimulus, for the figure."""
    kept = min(len(trial.currents), 2000)
    column, membrane = trial.cells // 2, trial.neuron.membrane
    rows = []
    for name, of in trial.blocks():
        at = of.start + column
        rows.append(
            Trace(
                name,
                *(
                    x[:kept].numpy().copy()
                    for x in (
                        ours.t,
                        trial.shown[:, at],
                        *(run.variables[membrane][:, at] for run in (theirs, ours)),
                    )
                ),
            )
        )
    return rows


def raster(trial: Trial, a: Tensor, b: Tensor) -> Raster:
    """Return the spikes under noise of both sides, for the figure."""
    of = dict(trial.blocks()).get("noisy", slice(0, trial.cells))

    def points(spikes: Tensor) -> tuple[Any, Any]:
        at, cell = np.nonzero(spikes[:2000, of].numpy())
        return (at + 1.0) * trial.dt, cell.astype(float)

    return Raster(points(a), points(b))


def rates(trial: Trial, a: Tensor, b: Tensor) -> tuple[tuple[float, float, float], ...]:
    """Return mean current and firing rates of both sides, of each cell under noise."""
    of = dict(trial.blocks()).get("noisy", slice(0, trial.cells))
    seconds = len(a) * trial.dt / 1000
    columns = (trial.shown[:, of].mean(0), a[:, of].sum(0) / seconds, b[:, of].sum(0) / seconds)
    return tuple(zip(*(column.tolist() for column in columns), strict=True))


def largest_shift(a: Tensor, b: Tensor) -> int:
    """Return the largest number of steps between n-th spikes of a cell; -1 if their numbers differ."""
    if not torch.equal(a.sum(0), b.sum(0)):
        return -1
    steps_a, steps_b = a.T.nonzero()[:, 1], b.T.nonzero()[:, 1]
    return int((steps_a - steps_b).abs().max()) if len(steps_a) else 0
