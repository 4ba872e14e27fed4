"""Checks of what is seen of a cell from outside against what is seen of the equation that it is said to be."""

from __future__ import annotations

import torch

from sandbox.reference.conformance.report import Check, skipped
from sandbox.reference.conformance.seen import Facts

TIER = "step"
RESETS = {"to_value": "resets to {}", "subtract": "subtracts {}", "none": "does not reset"}
ORDERS = {0: "in the step of the input", 1: "a step after the input"}


def fact_checks(found: Facts, want: Facts, dtype: torch.dtype) -> list[Check]:
    """Compare facts one by one; what neither side shows is skipped, with the reason.

    Args:
        found: what is seen of the cell.
        want: what is seen of the equation.
        dtype: in which the cell computes.
    """
    near = {torch.float64: 1e-6, torch.float32: 1e-3}.get(dtype, 1e-1)
    return [
        _input(found, want, near),
        _number("decay", "kept", found, want, near, "a deviation of the membrane is {} of itself a step later"),
        _number("threshold", "threshold", found, want, near, "silent up to v = {}"),
        _word("threshold at equality", "fires_at", found, want, "fires at v {} v_threshold"),
        _reset(found, want, near),
        _shown(found),
        _word("reset delay", "delay", found, want, "steps that see the membrane without the reset: {}"),
        _word(
            "spikes per step", "spikes_per_step", found, want, "spikes when ten thresholds fit into the membrane: {}"
        ),
        _refractory(found, want),
    ]


def _reason(found: str, want: str, same: bool) -> str:
    return found if same else f"the cell: {found}; the equation: {want}"


def _unseen(name: str, fact: str, found: Facts, want: Facts) -> Check | None:
    """Skip a check of what the equation does not show; of what the cell alone does not show, too, and say so."""
    for side, who in ((want, "the equation"), (found, "the cell")):
        if getattr(side, fact) is None:
            return skipped(name, TIER, f"{side.why(fact)} ({who})")
    return None


def _close(a: float, b: float, near: float, scale: float = 0.0) -> bool:
    return abs(a - b) <= near * max(abs(a), abs(b), scale)


def _input(found: Facts, want: Facts, near: float) -> Check:
    if found.latency is None or want.latency is None or found.gain is None or want.gain is None:
        skip = _unseen("input", "latency", found, want) or _unseen("input", "gain", found, want)
        assert skip is not None
        return skip
    same = found.latency == want.latency and _close(found.gain, want.gain, near)
    text = "1 nA moves the membrane by {:.6g} mV {}"
    told = [
        text.format(side.gain, ORDERS.get(side.latency or 0, f"{side.latency} steps after the input"))
        for side in (found, want)
    ]
    return Check("input", TIER, found.gain, None, same, _reason(told[0], told[1], same))


def _number(name: str, fact: str, found: Facts, want: Facts, near: float, text: str) -> Check:
    if (skip := _unseen(name, fact, found, want)) is not None:
        return skip
    a, b = float(getattr(found, fact)), float(getattr(want, fact))
    same = _close(a, b, near)
    return Check(name, TIER, a, None, same, _reason(text.format(f"{a:.9g}"), text.format(f"{b:.9g}"), same))


def _word(name: str, fact: str, found: Facts, want: Facts, text: str) -> Check:
    if (skip := _unseen(name, fact, found, want)) is not None:
        return skip
    a, b = getattr(found, fact), getattr(want, fact)
    return Check(
        name, TIER, a if isinstance(a, int) else None, None, a == b, _reason(text.format(a), text.format(b), a == b)
    )


def _reset(found: Facts, want: Facts, near: float) -> Check:
    if (skip := _unseen("reset", "reset", found, want)) is not None:
        return skip
    told = [
        RESETS[side.reset or ""].format("?" if side.amount is None else _millivolt(side.amount))
        for side in (found, want)
    ]
    if found.later is not None:
        told[0] += f" (in the next step it {RESETS[found.reset or ''].format(_millivolt(found.later))})"
    if found.reset == want.reset != "none" and found.amount is None:
        return skipped("reset", TIER, f"{found.reset}; by how much: {found.why('amount')}")
    scale = abs(want.threshold or 0.0)
    same = found.reset == want.reset and (
        found.amount is None or want.amount is None or _close(found.amount, want.amount, near, scale)
    )
    return Check("reset", TIER, found.amount, None, same, _reason(told[0], told[1], same))


def _millivolt(value: float) -> str:
    """Write a potential without what rounding leaves about 0."""
    return f"{round(value, 9) + 0.0:.6g} mV"


def _shown(found: Facts) -> Check:
    if found.shown is None:
        return skipped("membrane shown", TIER, found.why("shown"))
    return Check("membrane shown", TIER, None, None, True, f"{found.shown} the reset, and so compared")


def _refractory(found: Facts, want: Facts) -> Check:
    name = "refractory period"
    if (skip := _unseen(name, "refractory", found, want)) is not None:
        return skip
    if found.refractory == want.refractory == 0:
        return skipped(name, TIER, "it has no refractory time, and the equation has none")
    return _word(name, "refractory", found, want, "steps without a spike behind one, under strong input: {}")
