"""Check threshold, reset and refractory period alone, where two implementations often differ by one step."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.reference.brian import evolving, fire_in_brian2, parameters, run_brian2
from sandbox.reference.conformance.report import Check, skipped, within
from sandbox.reference.conformance.same_scheme import chaotic, compared
from sandbox.reference.conformance.stimuli import given, saturating
from sandbox.reference.conformance.trial import Trial, first_step
from sandbox.simulation import Trajectory, simulate

TIER = "same_scheme"
HAIR = 1e-12  # relative distance from the threshold: thousands of roundings, so both sides agree on the side
CELLS = 5  # for each period
PERIODS = (1.0, 20.0, 20.5)  # steps; 20.5 is cut to 20, as in Brian2
STEPS = 200
SHARES = (1.0, 0.1, 0.01)  # of saturating currents
HUGE = 1e15  # of a variable that runs away: Brian2 comes to infinity, and we to 1e30


def firing_checks(neuron: Neuron, dt: float, tolerance: float) -> list[Check]:
    """Check threshold at equality, the order of the reset, and the refractory period against Brian2."""
    if not neuron.spiking:
        return [
            skipped(name, TIER, "it never fires")
            for name in ("threshold at equality", "reset order", "refractory period")
        ]
    return [*_threshold_and_reset(neuron, dt, tolerance), *_refractory(neuron, dt, tolerance)]


def _threshold_and_reset(neuron: Neuron, dt: float, tolerance: float) -> list[Check]:
    states, near = _states(neuron)
    theirs, after = fire_in_brian2(neuron, states, dt)
    with torch.no_grad():
        ours, state = neuron.fire(states, dt)
    off = max(
        float(
            ((getattr(state, name) - after[name]).abs() / after[name].abs().max().clamp(min=1e-30))[
                theirs == ours
            ].max()
        )
        for name in after
    )
    wrong = theirs != ours
    equality = (
        within(
            "threshold at equality",
            TIER,
            int(wrong[:near].sum()),
            0,
            f"of {near} membranes at the threshold and {HAIR:g} of it to both sides, without integration",
        )
        if near
        else skipped("threshold at equality", TIER, "the threshold is not a bound on one variable, or it is random")
    )
    elsewhere = within("threshold elsewhere", TIER, int(wrong[near:].sum()), 0, f"of {len(wrong) - near} states")
    reset = within("reset order", TIER, off, tolerance, f"every variable after the reset of {int(theirs.sum())} cells")
    return [equality, elsewhere, reset]


def _states(neuron: Neuron) -> tuple[Any, int]:
    """Return states on both sides of the threshold, and how many of the first are within HAIR of it."""
    rng = torch.Generator().manual_seed(0)
    rest = neuron.initial_state((60,), torch.zeros(1, dtype=torch.float64))
    bound = threshold_of(neuron, rest)
    membrane = getattr(rest, neuron.membrane)
    name, level = bound or (neuron.membrane, torch.as_tensor(membrane + neuron.swing, dtype=torch.float64))
    hair = HAIR * torch.clamp(level[0].abs(), min=1e-3)
    near = level[:1] + hair * torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    count = 3 if bound and not neuron.draws else 0
    spread = (level[0] - getattr(rest, name)[0]).abs().clamp(min=1e-3)
    spread = level + spread * (2 * torch.rand(60, dtype=torch.float64, generator=rng) - 1)
    kinds = getattr(getattr(neuron, "model", None), "kinds", {})  # of compiled neurons, "integer" or "boolean"
    shared = set(re.findall(r"^\s*(\w+)\s*:.*\(.*shared.*\)", neuron.equations, re.MULTILINE))
    changes = {} if name in shared or name in kinds else {name: torch.cat([near[:count], spread[count:]])}
    for other in evolving(neuron, rest):
        if other not in changes and other not in shared:
            noise = torch.rand(60, dtype=torch.float64, generator=rng)
            noise[:count] = 0.0
            changes[other] = _near(getattr(rest, other), noise, kinds.get(other))
    return rest._replace(**changes), count


def _near(value: Tensor, noise: Tensor, kind: str | None) -> Tensor:
    """Return values near a number; whole numbers, or truth values, for variables that hold these."""
    if kind is None:
        return value + 0.1 * noise
    value = value + 3.0 * noise
    return torch.trunc(value) if kind == "integer" else (value > 1.5).to(value.dtype)


def threshold_of(neuron: Neuron, state: Any) -> tuple[str, Tensor] | None:
    """Return variable and level `[N]` if the threshold has the form `variable >= level`; None otherwise."""
    from sandbox.reference.compiler.formula import parse

    parts = re.split(r">=|>", neuron.threshold or "")
    if len(parts) != 2 or parts[0].strip() not in evolving(neuron, state) or neuron.draws:
        return None
    values = {**parameters(neuron), **{name: getattr(state, name) for name in evolving(neuron, state)}}
    try:
        level = torch.as_tensor(parse(parts[1].strip())(values), dtype=torch.float64)
    except ValueError:  # a unit, or a name that only Brian2 knows
        return None
    return parts[0].strip(), level.expand_as(state[0])


def _refractory(neuron: Neuron, dt: float, tolerance: float) -> list[Check]:
    name = "refractory period"
    if neuron.refractory is not None:
        return [skipped(name, TIER, f"it is refractory while {neuron.refractory}: checked by every run above")]
    if "t_refractory" not in {f.name for f in fields(neuron)}:
        return [skipped(name, TIER, "it has none")]
    state = neuron.initial_state((1,), torch.zeros(1, dtype=torch.float64))
    record = tuple(evolving(neuron, state))
    periods = dt * torch.tensor(PERIODS, dtype=torch.float64).repeat_interleave(CELLS)
    each = [replace(neuron, t_refractory=period * dt) for period in PERIODS]
    currents = _survived(neuron, each[-1], dt, record)
    theirs = run_brian2(neuron, currents, dt, record, periods)
    differing, clamped, lost = 0, 0.0, 0
    step, gone = torch.arange(STEPS)[:, None], first_step(_run_away(theirs))
    for number, own in enumerate(each):
        trial = Trial(own, currents, dt, ("saturating",), record)  # all cells: random numbers depend on their index
        mine = torch.arange(len(periods)) // CELLS == number
        a, b = (_kept(run, mine & (step < gone)) for run in (theirs, trial.ours))
        relative, bad = compared(trial, a, b, tolerance)
        first = first_step(bad)
        wild = chaotic(trial, tolerance, first) if bool(bad.any()) else torch.zeros_like(mine)
        judged = ~wild | (step < first)
        lost += int((mine & (wild | (gone < STEPS))).sum())
        differing += int(((a.spikes != b.spikes) & judged).sum())
        clamped = max(clamped, *(float(off.nan_to_num(math.inf)[judged].max()) for off in relative.values()))
    if not bool(theirs.spikes.any()):
        return [skipped(name, TIER, f"no cell fires in {STEPS} steps of dt = {dt:g} ms under saturating currents")]
    fired, tried = int(theirs.spikes.sum()), ", ".join(f"{steps:g}" for steps in PERIODS)
    told = f"; {lost} of {len(periods)} cells run away or are chaotic, and are compared up to there" if lost else ""
    return [
        within(name, TIER, differing, 0, f"spikes at another step, of {fired}, for periods of {tried} steps{told}"),
        within("variables while refractory", TIER, clamped, tolerance, "of their largest value, in the same runs"),
    ]


def _survived(neuron: Neuron, refractory: Neuron, dt: float, record: tuple[str, ...]) -> Tensor:
    """Return currents that saturate a neuron, or a part of them if it stays finite under that while refractory."""
    currents = torch.cat([given(saturating, neuron, CELLS, STEPS, dt)] * len(PERIODS), 1)
    for share in SHARES:
        with torch.no_grad():
            run = simulate(refractory, share * currents, dt, record)
        if not _run_away(run).any():
            return share * currents
    return currents


def _kept(run: Trajectory, where: Tensor) -> Trajectory:
    """Return a run that is 0 elsewhere."""
    rows = {name: torch.where(where, values, 0.0) for name, values in run.variables.items()}
    return Trajectory(run.spikes * where, rows, run.dt)


def _run_away(run: Trajectory) -> Tensor:
    """Return where a variable is beyond all that Brian2 would bring back from infinity, `[T, N]`."""
    return torch.stack([~(values.abs() < HUGE) for values in run.variables.values()]).any(0)
