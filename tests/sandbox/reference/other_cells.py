"""A leaky cell of nobody's library, as a step function, with faults to choose from."""

from __future__ import annotations

import math

import torch

TAU, DT = 10.0, 1.0
KEPT = math.exp(-DT / TAU)


def cell(
    gain=1 - KEPT,
    kept=KEPT,
    threshold=1.0,
    strict=False,
    reset="to_value",
    to=0.0,
    late=False,
    silent=0,
    several=False,
    shown="after",
    delayed=False,
    dtype=torch.float64,
):
    """`LIF(tau_mem=10)` at dt = 1, unless an argument says otherwise."""

    def step(current, state):
        x = current.to(dtype)
        zero = torch.zeros_like(x)
        v, wait, last, before = (zero, zero, zero, zero) if state is None else state
        new = kept * v + gain * (before if delayed else x)
        v = torch.where(wait > 0, v, new)
        fires = (v > threshold) if strict else (v >= threshold)
        spikes = fires.to(dtype) * (wait <= 0)
        if several:
            spikes = spikes * torch.trunc(v / threshold).clamp(max=2)
        wait = torch.where(spikes > 0, float(silent), (wait - 1).clamp(min=0))
        acting, peak = last if late else spikes, v
        if reset == "to_value":
            v = torch.where(acting > 0, to, v)
        elif reset == "subtract":
            v = v - acting * (threshold - to)
        return spikes, (peak if shown == "before" else v).clone(), (v, wait, spikes, x)

    return step


def remembering():
    """A cell that goes on from where its last run ended."""
    kept = {}
    inner = cell()

    def step(current, state):
        state = kept.get(len(current)) if state is None else state
        spikes, v, kept[len(current)] = inner(current, state)
        return spikes, v, kept[len(current)]

    return step


def overflowing():
    """A cell that is not a number under strong currents."""
    inner = cell()

    def step(current, state):
        spikes, v, state = inner(current, state)
        return spikes, v + 0 * torch.exp(200 * current), state

    return step
