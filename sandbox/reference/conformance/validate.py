"""Check a neuron against Brian2 and SciPy, in three tiers."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rules.errors import unknown
from rules.fields import admit
from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell, variables
from sandbox.reference.conformance.alike import first, tiled
from sandbox.reference.conformance.evidence import Evidence
from sandbox.reference.conformance.formula import FORMULA, formula_report
from sandbox.reference.conformance.report import Check, ConformanceReport, report_of
from sandbox.reference.conformance.stepping import Step
from sandbox.reference.conformance.stimuli import STEP_STIMULI, STIMULI, all_currents, step_currents
from sandbox.reference.conformance.trial import Trial
from sandbox.simulation import check_currents

GIVEN = ("currents",)  # in place of the stimuli; whether they make a neuron fire is for who gives them
LONG = 1000.0  # ms of a stimulus
SHORTEST = 10  # steps of a stimulus: the step begins after a tenth of the time
TIERS = ("same_scheme", "float32", "limit")


def validate(
    neuron: Any,
    currents: Tensor | None = None,
    *,
    step: Step | None = None,
    dt: float = 0.1,
    duration: float | None = None,
    cells: int = 20,
    seed: int = 0,
    record: tuple[str, ...] | None = None,
    tolerance: float = 1e-9,
    tiers: Sequence[str] | None = None,
    dtype: torch.dtype | None = None,
) -> ConformanceReport:
    """Check a neuron against Brian2 and SciPy, and a cell without equations against its published formula.

    With `step=` another cell is checked, of which nothing but this function is known: whether it is the equation of
    `neuron`. So is a cell of snnTorch, SpikingJelly, Norse or Sinabs that is given as `neuron`, whose equation is known
    (`sandbox.reference.peers`).

        same_scheme   Brian2 with the same scheme and dt, in float64: every variable within `tolerance` of its largest
                      value, no spike at another step; threshold at equality, reset order, refractory period, units
        float32       the voltage RMSE and the spike distance between float32 and float64
        limit         against SciPy as dt shrinks by five halvings: the error falls with the order of the scheme (slope
                      within 0.15; order 1 at least where slopes have kinks) or ends below 1e-9, spike times and f-I
                      curves converge, the response to a sine wave is the linear one

        formula       of cells without equations alone, such as PSN, in place of same_scheme: outputs and membranes
                      against the formula in NumPy and float64, single steps against the whole sequence

        step          of `step=` alone, in place of all others: values and spikes against the equation in Brian2 (or its
                      formula), the same under strong currents of both signs, and what is seen from outside: input and
                      decay, threshold at equality, the reset and when it acts, the refractory period, spikes in a
                      step; checks that do not apply are named

    The same stored currents drive both sides: a step, a ramp, noise, a sine wave, silence and saturation; for `step=`
    also currents that change sign, up to 100 rheobases, or as strong as the scheme of the equation survives. A cell in
    which perturbations of 1e-12 outgrow the tolerance is chaotic; it is compared up to its first divergence, as is one
    that roundings move by a hundredth of the tolerance, and the report counts both. The limit tier chooses its own
    currents and times.

    The default tolerance leaves room for rounding only. Both sides round differently, by about 1e-16 of a value in each
    of 10,000 steps; a cell forgets this within a time constant, or amplifies it in an upstroke.

    Args:
        neuron: the neuron to check; with `step`, the equation that the cell is said to be.
        step: `step(current, state)` returns `(spikes, state)` or `(spikes, v, state)`, each `[N]` for currents `[N]`
            [nA]; `state` is None at rest, before the first step. One function, or an object with `__call__`.
        currents: `[T, N]` [nA] instead of the stimuli; None for the stimuli.
        dt: time step [ms], 0.1 by default.
        duration: of each stimulus [ms], 1000 by default. Cells without equations have 200 steps by default, and those
            with a greatest number of steps no more than that.
        cells: number of cells for each stimulus, 20 by default; theirs for constants that differ by cell.
        seed: of the noise.
        record: names of the variables to compare; None for all in the equations.
        tolerance: largest allowed difference, relative to the largest value of a variable; 1e-9 by default.
        tiers: of "same_scheme", "float32", "limit"; None for all that apply, or for the first alone if currents are
            given. Not with `step`.
        dtype: of the currents that `step` is given, float64 by default; of a float32 cell, roundings are allowed for.

    Returns: A report that prints as a table; `passed` is the verdict. Where no check applies, it is False.

    Raises:
        ValueError: for bad input, and with Brian2's message if the units of the equations do not fit; for a step that
            returns something else, and for a cell whose equation is not known.

    >>> from sandbox import LIF, validate
    >>> validate(LIF(), duration=20.0, cells=2, tiers=("same_scheme", "float32")).passed
    True
    >>> def leaky(current, state):  # spikes at v > 1, which is then subtracted
    ...     v = 0.9 * (0.0 if state is None else state) + current
    ...     spikes = (v > 1).double()
    ...     return spikes, v - spikes, v - spikes
    >>> tau = -1 / torch.tensor(0.9, dtype=torch.float64).log()
    >>> same = LIF(tau_mem=float(tau), r=10.0, reset="subtract", strict=True)
    >>> validate(same, step=leaky, dt=1.0, duration=50.0, cells=5).passed
    True
    """
    from sandbox.reference.brian import evolving

    began = time.perf_counter()
    asked_for = None if duration is None else admit("duration", duration, float)
    dt, cells = admit("dt", dt, float), admit("cells", cells, int)
    duration = LONG if asked_for is None else asked_for
    for name, value in {"dt": dt, "duration": duration, "cells": cells}.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: give a number above 0")
    if currents is None and duration < SHORTEST * dt:
        raise ValueError(
            f"duration={duration:g} ms is {duration / dt:.3g} steps of dt={dt:g} ms: give at least {SHORTEST} steps, "
            f"duration={SHORTEST * dt:g}, and enough for a spike"
        )
    if step is not None or not isinstance(neuron, Cell):
        if tiers:
            raise ValueError(f"tiers={list(tiers)} are of neurons of the sandbox: leave tiers out for another cell")
        return _other(neuron, step, currents, dt, duration, cells, seed, tolerance, dtype)
    if dtype is not None:
        raise ValueError(f"dtype={dtype} is that of the currents of step=: leave it out; tier float32 has both types")
    asked = tiers or (TIERS if currents is None else TIERS[:1])
    for tier in asked:
        if tier not in (*TIERS, FORMULA):
            raise unknown("tier", tier, (*TIERS, FORMULA))
    if not isinstance(neuron, Neuron) or not neuron.equations:
        if currents is not None:
            check_currents(neuron, currents, dt)
        return formula_report(neuron, currents, dt, cells, seed, tolerance, tuple(tiers or ()), asked_for)
    tiers, asked_about = [tier for tier in asked if tier != FORMULA], neuron
    if currents is None:
        stimuli, currents = tuple(STIMULI), all_currents(neuron, cells, max(round(duration / dt), 1), dt, seed)
        neuron = tiled(neuron, cells, len(stimuli))
    else:
        stimuli, currents = GIVEN, currents.double()
        check_currents(neuron, currents, dt)
    state = first(neuron).initial_state((1,), currents)
    for name in record or ():
        if name not in evolving(neuron, state):
            raise unknown(f"variable of {type(neuron).__name__}", name, evolving(neuron, state) or variables(state))
    trial = Trial(
        neuron, currents, dt, stimuli, tuple(dict.fromkeys((neuron.membrane, *(record or evolving(neuron, state)))))
    )
    evidence = Evidence()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a coarse dt, whose effect the checks measure
        checks, facts = _run(trial, tiers, tolerance, evidence)
    if neuron.spiking and stimuli != GIVEN and set(tiers) & {"same_scheme", "float32"}:
        checks.append(fired(trial))
    return report_of(asked_about, currents, dt, stimuli, tolerance, checks, began, evidence=evidence, **facts)


def _other(
    neuron: Any,
    step: Step | None,
    currents: Tensor | None,
    dt: float,
    duration: float,
    cells: int,
    seed: int,
    tolerance: float,
    dtype: torch.dtype | None,
) -> ConformanceReport:
    """Check a cell that is not of the sandbox."""
    from sandbox.reference.conformance.black_box import admit_equation, step_report
    from sandbox.reference.peers import as_step, equation_of, name_of

    name = ""
    if step is None:
        neuron, step, name = equation_of(neuron, dt), as_step(neuron), name_of(neuron)
    elif not isinstance(neuron, Cell):
        raise ValueError(
            f"{neuron!r} is not a neuron of the sandbox: give validate the equation first, such as LIF(), and "
            "the cell as step="
        )
    admit_equation(neuron)
    stimuli = tuple(STEP_STIMULI) if currents is None else GIVEN
    if currents is None:
        currents = step_currents(neuron, cells, max(round(duration / dt), 1), dt, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a coarse dt, at which both sides step alike
        check_currents(neuron, currents, dt)
        return step_report(step, neuron, currents.double(), stimuli, dt, tolerance, dtype or torch.float64, name)


def fired(trial: Trial) -> Check:
    """Check that the neuron fired: where nothing did, threshold, reset and refractory period were not compared."""
    count = int((trial.ours.spikes > 0).sum())
    reason = "spikes of all cells" if count else "no cell fired, so that no spike was compared: give a longer duration"
    return Check("spikes under the stimuli", "same_scheme", float(count), None, count > 0, reason)


def _run(
    trial: Trial, tiers: Sequence[str], tolerance: float, evidence: Evidence
) -> tuple[list[Check], dict[str, Any]]:
    from sandbox.reference.conformance.firing import firing_checks
    from sandbox.reference.conformance.float32 import float32
    from sandbox.reference.conformance.limit import limit
    from sandbox.reference.conformance.same_scheme import same_scheme

    checks: list[Check] = []
    facts: dict[str, Any] = {}
    if "same_scheme" in tiers:
        checks, facts = same_scheme(trial, tolerance, evidence)
        checks += firing_checks(first(trial.neuron), trial.dt, tolerance)
    if "float32" in tiers:
        checks += float32(trial)
    if "limit" in tiers:
        checks += limit(first(trial.neuron), evidence)
    return checks, facts
