"""Check anybody's cell, given as a step function, against the equation that it is said to be."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sandbox.neurons.base import Neuron
from sandbox.neurons.cell import Cell
from sandbox.neurons.stepping import rest
from sandbox.reference.brian import run_brian2
from sandbox.reference.conformance.evidence import Evidence, Raster, Trace
from sandbox.reference.conformance.fact_checks import fact_checks
from sandbox.reference.conformance.facts import facts_of
from sandbox.reference.conformance.report import Check, ConformanceReport, report_of, skipped, within
from sandbox.reference.conformance.same_scheme import chaotic, largest_shift, raster, rates, traces
from sandbox.reference.conformance.seen import Facts
from sandbox.reference.conformance.stepping import Response, Step, respond, stepper
from sandbox.reference.conformance.stimuli import BOTH_SIGNS
from sandbox.reference.conformance.trial import Trial, first_step
from sandbox.reference.formulas import FORMULAS
from sandbox.simulation import Trajectory

TIER = "step"
ROUNDINGS = 10.0  # in one step of a cell, approximately
AGAIN = 50  # steps that are run twice


@dataclass(frozen=True)
class Truth:
    """The response of the equation: spikes, membrane after and before the reset, and the latter minus threshold."""

    spikes: Tensor
    after: Tensor
    before: Tensor | None
    above: Tensor


def step_report(
    step: Step,
    neuron: Cell,
    currents: Tensor,
    stimuli: tuple[str, ...],
    dt: float,
    tolerance: float,
    dtype: torch.dtype,
    cell: str = "",
) -> ConformanceReport:
    """Compare a black box with an equation: values, spikes, and what is seen of threshold, reset and refractory time.

    Args:
        step: the black box (`sandbox.reference.conformance.stepping.Step`).
        neuron: the equation.
        currents: `[T, N]` [nA], the columns of each stimulus side by side.
        stimuli: their names.
        dt: time step [ms].
        tolerance: of membranes in float64, relative to the largest value under the stimulus.
        dtype: of the currents that the cell is given.
        cell: its name in the report; None for that of the function.

    Raises:
        ValueError: for an equation that draws random numbers or sees later inputs, and for a step that does not follow
            the protocol.
    """
    began = time.perf_counter()
    equation = admit_equation(neuron)
    trial = Trial(equation, currents.to(dtype).double(), dt, stimuli, (getattr(neuron, "membrane", "v"),))
    theirs = respond(step, currents.to(dtype))
    found, want = facts_of(step, neuron, dt, dtype), facts_of(stepper(neuron, dt), neuron, dt)
    truth = truth_of(neuron, trial.currents, dt, before=found.shown != "after")
    allowed, why = tolerance_of(theirs.dtype, tolerance, want.kept, len(currents))
    compared, numbers, evidence = _compared(trial, theirs, truth, found, allowed, why)
    checks = [_anew(step, currents.to(dtype)), _finite(theirs), *compared, *fact_checks(found, want, theirs.dtype)]
    if neuron.spiking and not int(truth.spikes.sum()):
        checks.append(
            Check("spikes under the stimuli", TIER, 0.0, None, False, "no cell fired: give a longer duration")
        )
    name = cell or getattr(step, "__name__", type(step).__name__)
    return report_of(neuron, currents, dt, stimuli, allowed, checks, began, evidence=evidence, cell=name, **numbers)


def truth_of(neuron: Cell, currents: Tensor, dt: float, before: bool = False) -> Truth:
    """Run the equation: in Brian2, or by its formula where it has none for Brian2.

    Args:
        neuron: the equation.
        currents: `[T, N]` [nA].
        dt: time step [ms].
        before: whether the membrane before the reset is wanted, too.
    """
    with torch.no_grad():
        (_, above), _ = neuron.respond(currents, rest(neuron, currents), dt, (), True)
    if isinstance(neuron, Neuron) and neuron.equations:
        name = neuron.membrane
        after = run_brian2(neuron, currents, dt, (name,))
        early = run_brian2(neuron, currents, dt, (name,), when="after_groups").variables[name] if before else None
        return Truth(after.spikes, after.variables[name], early, above)
    spikes, v = (torch.from_numpy(values) for values in FORMULAS[type(neuron)](neuron, currents.numpy(), dt))
    return Truth(spikes, v, above + getattr(neuron, "v_threshold", 0.0), above)


def tolerance_of(dtype: torch.dtype, tolerance: float, kept: float | None, steps: int) -> tuple[float, str]:
    """Return the tolerance for membranes of this type, relative to their largest value, and where it comes from.

    A cell rounds about ten times in a step, each time by half an epsilon; it remembers a rounding for 1 / (1 - kept)
    steps, or for all of them if it does not forget.

    >>> tolerance_of(torch.float64, 1e-9, 0.9, 1000)[0]
    1e-09
    >>> round(tolerance_of(torch.float32, 1e-9, 0.9, 1000)[0], 8)
    5.96e-06
    """
    if dtype == torch.float64:
        return tolerance, "of its largest value under the stimulus; both sides round by 1e-16 in each step"
    memory = steps if kept is None or not abs(kept) < 1 else min(1 / (1 - abs(kept)), steps)
    half = torch.finfo(dtype).eps / 2
    name = str(dtype).removeprefix("torch.")
    why = f"of its largest value; {name} rounds by {half:.1g}, ten times a step, and {memory:.0f} steps are remembered"
    return max(ROUNDINGS * half * memory, tolerance), why


def admit_equation(neuron: Cell) -> Neuron:
    """Return an equation; raise ValueError for one with which no black box can be compared."""
    kind = type(neuron).__name__
    if neuron.inputs:
        several = f"{kind} has several inputs ({', '.join(neuron.inputs)}), and step= is given one current"
        raise ValueError(f"{several}: name an equation with one")
    if neuron.draws:
        raise ValueError(f"{kind} draws random numbers, which no other cell shares: give step= an equation without")
    if not (isinstance(neuron, Neuron) and neuron.equations) and type(neuron) not in FORMULAS:
        raise ValueError(f"{kind} has neither equations for Brian2 nor a formula here: name another equation for step=")
    if not neuron.causal or not isinstance(neuron, Neuron):
        raise ValueError(f"{kind} is not stepped from state to state, as step= is: name another equation")
    return neuron


def _compared(
    trial: Trial, theirs: Response, truth: Truth, found: Facts, allowed: float, why: str
) -> tuple[list[Check], dict[str, Any], Evidence]:
    """Return checks of membranes and spikes, and numbers and data for the report."""
    neuron, name = trial.neuron, trial.record[0]
    truth_after = Trajectory(truth.spikes, {name: truth.after}, trial.dt)
    scale = trial.scales(truth_after)[name]
    spikes = theirs.spikes.double() if neuron.spiking else torch.zeros_like(truth.spikes)
    wanted = truth.spikes if neuron.spiking else spikes
    off, want, slot = _membrane(theirs, truth, found, scale)
    wrong = spikes != wanted
    first = first_step(wrong)
    cut = (first < len(wrong)) & _at_first(truth.above.abs() <= allowed * scale, first)
    bad = wrong if off is None else wrong | ~(off <= allowed)
    if bool((bad & ~cut).any()) and isinstance(neuron, Neuron) and neuron.equations:
        late = first_step(bad)
        wild = chaotic(trial, allowed, late)
        first, cut = torch.where(wild, late, first), cut | wild
    judged = ~cut | (torch.arange(len(wrong))[:, None] < first)
    lost = wrong & judged
    blocks = dict(trial.blocks())
    signed = blocks.pop(BOTH_SIGNS, slice(0, 0))
    mild = torch.ones(wrong.shape[1], dtype=torch.bool)
    mild[signed] = False
    checks = []
    if off is None:
        checks.append(skipped(name, TIER, "the step returns no membrane"))
    else:
        worst = float(torch.where(judged & mild, off, 0.0).max())
        checks.append(within(f"{name}, {slot}", TIER, worst, allowed, why))
    if neuron.spiking:
        where = [f"{int(lost[:, of].sum())} under {each!r}" for each, of in blocks.items() if lost[:, of].any()]
        reference = "Brian2" if neuron.equations else "the formula"
        count = ", ".join(where) or f"of {int((wanted > 0)[:, mild].sum())} in {reference}"
        checks.append(within("spikes at another step", TIER, int((lost & mild).sum()), 0, count))
    if BOTH_SIGNS in trial.stimuli:
        strong = slice(None), signed
        apart = None if off is None else torch.where(judged, off, 0.0)[strong]
        v = None if theirs.v is None else theirs.v[strong]
        checks.append(_both_signs(trial.currents[strong], v, want[strong], apart, int(lost[strong].sum()), allowed))
    if cut.any():
        share = float(cut.double().mean())
        reason = "compared up to a spike within rounding of the threshold, or up to where roundings grow"
        checks.append(within("share of cells cut short", TIER, share, 0.5, reason))
    shown = Trajectory(spikes, {name: want if theirs.v is None else theirs.v.double()}, trial.dt)
    sides = ("Brian2" if neuron.equations else "formula", "cell")
    evidence = Evidence(_traces(trial, shown, want), _raster(trial, wanted, spikes), sides=sides)
    return (
        checks,
        {
            "differences": {} if off is None else {name: float(torch.where(judged, off * scale, 0.0).max())},
            "spikes": int(wanted.sum()),
            "spikes_ours": int(spikes.sum()),
            "spikes_differing": int(lost.sum()),
            "largest_shift": largest_shift((wanted > 0) * judged, (spikes > 0) * judged) if neuron.spiking else 0,
            "fi_curve": rates(trial, wanted, spikes) if neuron.spiking else (),
        },
        evidence,
    )


def _membrane(theirs: Response, truth: Truth, found: Facts, scale: Tensor) -> tuple[Tensor | None, Tensor, str]:
    """Return differences in scales, the membrane that they are from, and when it is shown: the nearer, if unseen."""
    sides = {"after the reset": truth.after}
    if truth.before is not None:
        sides["before the reset"] = truth.before
    if theirs.v is None:
        return None, truth.after, "after the reset"
    v = theirs.v.double()
    off = {slot: (v - side).abs() / scale for slot, side in sides.items()}
    slot = f"{found.shown} the reset"
    if slot not in sides:
        slot = min(sides, key=lambda each: float(off[each].nan_to_num(torch.inf).mean()))
    return off[slot], sides[slot], slot


def _both_signs(
    currents: Tensor, v: Tensor | None, want: Tensor, apart: Tensor | None, differing: int, allowed: float
) -> Check:
    """Check a cell under strong currents of both signs, which a bound on its current or its membrane would change."""
    told = f"{_ends(currents)} nA; {differing} spikes at another step"
    if v is None or apart is None:
        return within(BOTH_SIGNS, TIER, differing, 0, f"currents of {told}")
    worst = float(apart.max())
    passed = worst <= allowed and not differing
    seen = f"the membrane of the cell {_ends(v)} mV" + ("" if passed else f"; of the equation {_ends(want)} mV")
    return Check(BOTH_SIGNS, TIER, worst, allowed, passed, f"currents of {told}; {seen}")


def _ends(values: Tensor) -> str:
    return f"{float(values.min()):.3g} to {float(values.max()):.3g}"


def _at_first(values: Tensor, first: Tensor) -> Tensor:
    """Return the entry of each column of `[T, N]` at a step, of the last where there is none."""
    return values.gather(0, first.clamp(max=len(values) - 1)[None])[0]


def _anew(step: Step, currents: Tensor) -> Check:
    """Check that None as a state begins at rest: the same currents twice, the same answers."""
    first, second = (respond(step, currents[:AGAIN]) for _ in range(2))
    same = torch.equal(first.spikes, second.spikes) and (
        first.v is None or second.v is None or torch.equal(first.v.nan_to_num(), second.v.nan_to_num())
    )
    reason = "the same currents give the same answer, from state=None"
    wrong = "a second run from state=None differs from the first: begin at rest where state is None, without chance"
    return Check("begins at rest", TIER, None, None, same, reason if same else wrong)


def _finite(theirs: Response) -> Check:
    values = [theirs.spikes] if theirs.v is None else [theirs.spikes, theirs.v]
    count = sum(int((~torch.isfinite(each)).sum()) for each in values)
    return within("values that are not finite", TIER, count, 0, "of spikes and membranes")


def _traces(trial: Trial, shown: Trajectory, want: Tensor) -> list[Trace]:
    name = trial.record[0]
    return traces(trial, Trajectory(shown.spikes, {name: want}, trial.dt), shown)


def _raster(trial: Trial, wanted: Tensor, spikes: Tensor) -> Raster | None:
    return raster(trial, wanted, spikes) if trial.neuron.spiking else None
