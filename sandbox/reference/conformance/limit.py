"""The third tier: as dt shrinks, the neuron converges to the solution of its equations."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from sandbox.neurons.base import Neuron, smallest
from sandbox.reference.conformance.convergence import ORDERS, POINTS, SLACK, Array, convergence, halvings
from sandbox.reference.conformance.evidence import Convergence, Evidence, Rates
from sandbox.reference.conformance.frequency import frequency_response, undisturbed
from sandbox.reference.conformance.report import Check, skipped, within
from sandbox.reference.conformance.solution import Equations, course, equations_of, fastest, spike_times, started
from sandbox.reference.conformance.stimuli import rheobase
from sandbox.simulation import scan

TIER = "limit"
FLOOR = 1e-11  # of a variable's scale: above SciPy's error at rtol 1e-12, and above rounding
EXACT = 1e-9  # of a variable's scale: tolerance of an exact step, at every dt
NUMBER = 10  # time steps used, from half the time or the longest that the scheme survives
MOST = 15  # time steps tried
LONGEST_RUN = 200_000  # steps of a run for spikes; a large model takes a minute for these
COURSE = (0.5, 1.5, 2.5)  # rheobases
RATES = np.linspace(1.5, 4.0, 8)  # rheobases
TIMES = np.linspace(1.5, 4.0, 24)  # rheobases: 24 first spikes average over where in a step a spike falls
INTERVALS = 2  # number of intervals between spikes in a rate
FURTHER = 3  # halvings for a rate that is not yet within
RATE = 0.01  # largest relative error of a rate at the smallest dt
LONGEST = 400.0  # [ms]


def limit(neuron: Neuron, evidence: Evidence) -> list[Check]:
    """Check variables, spike times, f-I curve and frequency response against SciPy's solution of the equations."""
    try:
        equations = equations_of(neuron)
    except ValueError as why:
        return [skipped("order of the variables", TIER, str(why))]
    checks = [_attempt("order of the variables", lambda: _variables(neuron, equations, evidence))]
    reason = _no_spikes(neuron, equations)
    for name, measure in (("order of the spike times", _spike_times), ("f-I curve", _rates)):
        if measure is _rates and not reason and equations.reset and neuron.refractory is not None:
            reason = f"its refractory period is of its state, {neuron.refractory!r}"
        checks.append(
            skipped(name, TIER, reason)
            if reason
            else _attempt(name, lambda measure=measure: measure(neuron, equations, evidence))  # type: ignore[misc]
        )
    return [*checks, _attempt("frequency response", lambda: frequency_response(neuron, equations, evidence))]


def _attempt(name: str, measure: Callable[[], Check]) -> Check:
    try:
        return measure()
    except (ValueError, ArithmeticError) as why:  # there is nothing to converge to, or the solver gave up
        return skipped(name, TIER, str(why))


def _no_spikes(neuron: Neuron, equations: Equations) -> str:
    if not neuron.spiking:
        return "it never fires"
    if neuron.draws:
        return "it fires at random in each step: there are no spike times to converge to"
    if equations.margin is None:
        return f"the threshold {neuron.threshold!r} is not a single comparison"
    if not equations.reset and neuron.refractory is None:
        return "nothing resets it: it fires in every step above its threshold"
    return ""


def _variables(neuron: Neuron, equations: Equations, evidence: Evidence) -> Check:
    """Check the largest error half-way and at the end, in scales of each variable, under three constant currents."""
    name = "order of the variables"
    currents = np.array(COURSE) * rheobase(neuron)
    until = _before_any_spike(neuron, equations, currents)
    times = np.array([until / 2, until])
    theirs = np.stack([course(equations, current * equations.scales["current"], times) for current in currents], -1)
    scale = np.abs(theirs).max((1, 2), keepdims=True)
    scale[scale == 0] = 1.0
    order = ORDERS.get(neuron.method)
    if order is None:
        return skipped(name, TIER, f"the order of the scheme {neuron.method!r} is not known here")
    dts, error = _followed(
        halvings(until / 2, MOST),
        lambda dt: float(np.max(np.abs(_at(neuron, equations, currents, dt, times) - theirs) / scale)),
        order,
    )
    spread = f"of their scale, dt from {dts[0]:.3g} to {dts[-1]:.3g} ms"
    if order == 0 or error.max() < FLOOR:  # a step of any order is exact where the slope is constant
        evidence.convergence.append(Convergence(name, dts, error, np.zeros(len(dts)), 0.0, 0))
        return within("error of the variables", TIER, float(error.max()), EXACT, f"{spread}, at every one: it is exact")
    fit = convergence(name, dts, error, FLOOR, order)
    if fit is None or (fit.slope > order + SLACK and error[-1] <= EXACT):  # a slope is its order only for small errors
        return within("error of the variables", TIER, float(error[-1]), EXACT, f"{spread}, at the last")
    evidence.convergence.append(fit)
    used = dts[fit.used > 0]
    off, wanted = abs(fit.slope - order), f"order {order}"
    if not equations.smooth and fit.slope < order:
        off, wanted = max(1 - fit.slope, 0.0), "order 1 at least: its slopes have kinks, or wait for the step"
    said = f"slope {fit.slope:.3f} for {wanted}, dt from {used[0]:.3g} to {used[-1]:.3g} ms"
    return within(name, TIER, off, SLACK, said)


def _followed(dts: Array, error_at: Callable[[float], float], order: int) -> tuple[Array, Array]:
    """Return NUMBER time steps with which the scheme follows the solution, and the error at each.

    Longer steps than a scheme survives say nothing of its order. There are fewer where errors come down to rounding,
    and more while they fall faster than by the order, which is that of small steps. Raises ValueError where all are too
    long, but errors still fall.
    """
    used, errors = np.array([]), np.array([])
    error = last = math.inf
    for dt in dts:
        last, error = error, error_at(dt)
        if error < 1 or order == 0:
            used, errors = np.append(used, dt), np.append(errors, error)
        if order and max(error, last) < FLOOR:
            break
        fit = convergence("", used, errors, FLOOR, order) if order else None
        if len(used) >= NUMBER and (fit is None or fit.slope <= order + SLACK):
            break
    if not len(used) and error < 0.9 * last:
        raise ValueError(f"at dt = {dts[-1]:.3g} ms variables are {error:.2g} of their scale off, and still fall")
    return (used, errors) if len(used) else (dts[-1:], np.array([error]))


def _before_any_spike(neuron: Neuron, equations: Equations, currents: Array) -> float:
    """Return a time [ms] within the slowest rise, and well before the first spike."""
    longest = 4 * smallest(neuron.fastest) if math.isfinite(neuron.fastest) else 20.0
    if equations.margin is None:
        return longest
    found = [spike_times(equations, current * equations.scales["current"], LONGEST) for current in currents]
    return min(longest, *(0.6 * spikes[0] for spikes in found if spikes)) if any(found) else longest


def _at(neuron: Neuron, equations: Equations, currents: Array, dt: float, times: Array) -> Array:
    """Return our variables in house units, `[variable, time, current]`; dt divides the distance of the times."""
    given = torch.from_numpy(currents).expand(round(float(times[-1]) / dt), len(currents))
    run = undisturbed(neuron, given, dt, started(neuron, equations, len(currents)), equations.names)
    at = np.rint(times / dt).astype(int) - 1
    return np.stack([run[name][at] * equations.scales[name] for name in equations.names])


def _spikes(neuron: Neuron, equations: Equations, currents: Array, dt: float, until: float) -> Array:
    """Return our spikes `[time, current]`."""
    steps = round(until / dt)
    if steps > LONGEST_RUN:
        raise ValueError(f"{until:.3g} ms of dt = {dt:.3g} ms, which its fastest slopes ask for, are {steps:,} steps")
    given = torch.from_numpy(currents).expand(steps, len(currents))
    with torch.no_grad():
        spikes: Array = scan(neuron, given, started(neuron, equations, len(currents)), dt)[0].numpy()
    return spikes


def _spike_times(neuron: Neuron, equations: Equations, evidence: Evidence) -> Check:
    """Check first spikes: the grid delays each by part of a step, so the mean error is of order 1 for every scheme."""
    name = "order of the spike times"
    currents, wanted = _firing(neuron, equations, TIMES, 1)
    first = np.array([spikes[0] for spikes in wanted])
    if len(first) < 8:
        return skipped(name, TIER, f"only {len(first)} of {len(TIMES)} cells fire within {LONGEST:g} ms")
    dts, errors = halvings(_coarsest(neuron, equations, float(first.min()), currents), POINTS + 1), []
    for dt in dts:
        spikes = _spikes(neuron, equations, currents, dt, (1.1 + dt / dts[0]) * float(first.max()) + 4 * dt)
        fired = spikes.any(0)
        off = (spikes.argmax(0) + 1) * dt - first
        errors.append(float(np.abs(off).mean()) if fired.all() else math.nan)
    found = convergence(name, dts, np.array(errors), 0.0, 1)
    if found is None:
        return Check(name, TIER, None, SLACK, False, "a cell that fires for SciPy does not fire here")
    evidence.convergence.append(found)
    delayed = errors[-1] <= dts[-1]  # by no more than the grid does, however the errors fell before
    return within(
        name,
        TIER,
        max(1 - found.slope, 0.0 if delayed else found.slope - 1),
        SLACK,
        f"slope {found.slope:.3f}, {len(first)} first spikes; {errors[-1]:.2g} ms off at dt = {dts[-1]:.2g} ms",
    )


def _rates(neuron: Neuron, equations: Equations, evidence: Evidence) -> Check:
    """Check that the mean relative error of a rate falls by 2^-5 in five halvings, to within a factor of 2 and a step.

    It must also end below 1 %, after eight halvings at most.
    """
    name = "f-I curve"
    currents, wanted = _firing(neuron, equations, RATES, INTERVALS + 1)
    if len(wanted) < 3:
        return skipped(name, TIER, f"only {len(wanted)} of {len(RATES)} cells fire repeatedly within {LONGEST:g} ms")
    solver = np.array([1000 * INTERVALS / (spikes[-1] - spikes[0]) for spikes in wanted])
    shortest = float(np.min(1000 / solver))
    last = max(spikes[-1] for spikes in wanted)
    coarsest, errors, dt, ours = _coarsest(neuron, equations, shortest, currents), [], math.nan, solver
    for dt in halvings(coarsest, POINTS + FURTHER):
        spikes = _spikes(neuron, equations, currents, dt, (1.1 + dt / coarsest) * last + 4 * dt)
        ours = np.array([_rate(column, dt) for column in spikes.T])
        errors.append(float(np.mean(np.abs(ours / solver - 1))))
        if len(errors) >= POINTS and errors[-1] < RATE:
            break
    evidence.rates = Rates(currents, solver, ours)
    one_step = float(np.mean(dt * solver / 1000 / INTERVALS))
    before = errors[-POINTS]  # longer steps are too long where a rate needs further halvings
    return within(
        name,
        TIER,
        errors[-1],
        min(2.0 ** (2 - POINTS) * before + one_step, RATE),
        f"relative, {len(solver)} cells at dt = {dt:.2g} ms; "
        f"{before:.2g} at {dt * 2 ** (POINTS - 1):.2g} ms, so 1/16 of that and a step",
    )


def _firing(neuron: Neuron, equations: Equations, strengths: Array, spikes: int) -> tuple[Array, list[list[float]]]:
    """Return the currents [nA] under which the equations give so many spikes, and the spike times [ms]."""
    currents = strengths * rheobase(neuron)
    found = [spike_times(equations, current * equations.scales["current"], LONGEST, spikes) for current in currents]
    kept: list[Any] = [(current, times) for current, times in zip(currents, found, strict=True) if len(times) == spikes]
    return np.array([current for current, _ in kept]), [times for _, times in kept]


def _coarsest(neuron: Neuron, equations: Equations, shortest: float, currents: Array) -> float:
    """Return the largest of a sequence of time steps [ms], of which the refractory period is a multiple.

    It is a fraction of the fastest time constant and of the shortest time to a spike. It is smaller for cells whose
    upstroke runs into a reset: there Euler's error is dt log(1 / dt), which looks like order 1 only for small dt.
    Without a reset the Jacobian says what is fastest while a spike rises and falls.
    """
    quickest = smallest(neuron.fastest)
    if not equations.reset:
        strongest = float(currents.max()) * equations.scales["current"]
        dt = min(quickest, 2 * fastest(equations, strongest, LONGEST), shortest / 8)
    else:
        dt = min(quickest, shortest) / 24
    if equations.t_refractory:
        dt = equations.t_refractory / math.ceil(equations.t_refractory / dt - 1e-9)
    return dt


def _rate(spikes: Array, dt: float) -> float:
    """Return the firing rate from the first intervals [Hz]; 0 if there are too few."""
    at = np.flatnonzero(spikes)
    return 1000 * INTERVALS / ((at[INTERVALS] - at[0]) * dt) if len(at) > INTERVALS else 0.0
