"""Check a cell without equations for Brian2 against its published formula, in NumPy and float64."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from sandbox.neurons.cell import Cell
from sandbox.reference.conformance.report import Check, ConformanceReport, report_of, skipped, within
from sandbox.reference.formulas import FORMULAS
from sandbox.simulation import scan, simulate

FORMULA = "formula"  # the tier
STIMULI = ("noise", "step", "silence")
STEPS = 200  # where the cell has no greatest number
ROUNDED = 1e-4  # of a membrane from its threshold, within which float32 may put a spike elsewhere


def formula_report(
    cell: Cell,
    currents: Tensor | None,
    dt: float,
    cells: int,
    seed: int,
    tolerance: float,
    tiers: tuple[str, ...],
    duration: float | None = None,
) -> ConformanceReport:
    """Compare outputs and membranes with the formula, single steps with the whole, and float32 with float64.

    The formula stands in the place of "same_scheme". A cell that sees a whole sequence has the length of its own.

    Args:
        cell: without equations.
        currents: `[T, N]` [nA]; None for noise, a step and silence.
        dt: time step [ms].
        cells: of each stimulus.
        seed: of the noise.
        tolerance: of membranes.
        tiers: that were asked for; empty for all that apply.
        duration: of each stimulus [ms]; None for as many steps as the cell takes, or 200.

    Raises:
        ValueError: for a cell of a kind whose formula is not here.
    """
    began = time.perf_counter()
    if type(cell) not in FORMULAS:
        known = ", ".join(kind.__name__ for kind in FORMULAS)
        raise ValueError(
            f"{type(cell).__name__} has neither equations for Brian2 nor a formula here (of {known}): compare "
            "simulate(cell, currents) with one of your own"
        )
    given = currents is not None
    steps = None if duration is None else max(round(duration / dt), 1)
    x = stimuli_for(cell, cells, seed, steps) if currents is None else currents.double()
    with torch.no_grad():
        ours = simulate(cell, x, dt)
    shown, v = (torch.from_numpy(values) for values in FORMULAS[type(cell)](cell, x.numpy(), dt))
    wrong = ours.spikes != shown
    scale = max(float(v.abs().max()), 1e-300)
    apart = float((ours.v - v).abs().max())
    checks: list[Check] = []
    if not tiers or {FORMULA, "same_scheme"} & set(tiers):
        checks = [
            within("outputs that differ", FORMULA, int(wrong.sum()), 0, f"of {shown.numel()}, in NumPy"),
            within("v", FORMULA, apart / scale, tolerance, "largest difference over largest value, rounding"),
            _stepwise(cell, x, ours.spikes, dt),
        ]
    if not tiers or "float32" in tiers:
        checks.append(_narrow(cell, x, ours.spikes, dt))
    if checks and not given:
        count = int((shown > 0).sum())
        why = "spikes of all cells" if count else "no cell fired: give a longer duration"
        checks.append(Check("spikes under the stimuli", FORMULA, float(count), None, count > 0, why))
    reason = f"{type(cell).__name__} has no equations"
    checks += [skipped(tier, tier, reason) for tier in tiers if tier not in (FORMULA, "float32")]
    return report_of(
        cell,
        x,
        dt,
        ("currents",) if given else STIMULI,
        tolerance,
        checks,
        began,
        differences={"v": apart},
        spikes=int(shown.sum()),
        spikes_ours=int(ours.spikes.sum()),
        spikes_differing=int(wrong.sum()),
    )


def stimuli_for(cell: Cell, cells: int, seed: int, wanted: int | None = None) -> Tensor:
    """Return noise, steps and silence side by side, `[T, 3 cells]` [nA], float64; T is `wanted` where the cell can."""
    steps = cell.longest or STEPS
    if wanted is not None and cell.causal:
        steps = wanted if cell.longest is None else min(wanted, cell.longest)
    by = float(torch.as_tensor(cell.rheobase).detach().max())
    rng = torch.Generator().manual_seed(seed)
    noise = by * (1 + 2 * torch.randn(steps, cells, generator=rng, dtype=torch.float64))
    on = (torch.arange(steps)[:, None] >= steps // 10) * torch.linspace(0.5, 3.03, cells, dtype=torch.float64)
    return torch.cat([noise, by * on, torch.zeros_like(on)], 1)


def _stepwise(cell: Cell, x: Tensor, whole: Tensor, dt: float) -> Check:
    """Check that single steps give the spikes of the whole sequence."""
    name = "outputs of single steps"
    if not cell.causal:
        return skipped(name, FORMULA, "the cell sees the whole sequence at once")
    rows, state = [], None
    with torch.no_grad():
        for current in x:
            row, state = scan(cell, current[None], state, dt)
            rows.append(row)
    return within(name, FORMULA, int((torch.cat(rows) != whole).sum()), 0, "that differ from those of the sequence")


def _narrow(cell: Cell, x: Tensor, whole: Tensor, dt: float) -> Check:
    """Check that float32 puts no spike elsewhere, before the first that it may: one within rounding of a threshold."""
    with torch.no_grad():
        start = cell.initial_state(x.shape[1:], x)
        _, u = cell.respond(x, start, dt, centred=True)[0]
        narrow, _ = scan(cell, x.float(), None, dt)
    turn = u - u.round() if cell.levels > 1 else u  # counts turn where the membrane is half-way: centred at 1/2
    doubtful = (turn.abs() < ROUNDED).cummax(0).values
    wrong = (narrow.double() - whole).abs() > 1e-6
    return within("outputs in float32", "float32", int((wrong & ~doubtful).sum()), 0, "that differ from float64")
