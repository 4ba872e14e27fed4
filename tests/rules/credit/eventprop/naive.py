"""A layer of current-based cells by loops: sums of kernels on a fine grid, and halves of the step that crosses."""

from __future__ import annotations

import math

import torch

STEP = 0.01  # ms


def kernel(t, tau_mem, tau_syn):
    """V that a jump of 1 in the current has caused after t [ms]."""
    if t <= 0:
        return 0.0
    if tau_mem == tau_syn:
        return t / tau_mem * math.exp(-t / tau_mem)
    return tau_syn / (tau_mem - tau_syn) * (math.exp(-t / tau_mem) - math.exp(-t / tau_syn))


def spikes_of(arriving, cell, horizon):
    """Spike times of one cell, for pairs of an arrival time and a weight."""
    fired: list[float] = []

    def v(t):
        driven = sum(w * kernel(t - at, cell.tau_mem, cell.tau_syn) for at, w in arriving)
        return driven - sum(cell.v_threshold * math.exp(-(t - at) / cell.tau_mem) for at in fired if at <= t)

    for n in range(round(horizon / STEP)):
        low, high = n * STEP, (n + 1) * STEP
        low = max(low, fired[-1]) if fired else low
        while v(high) >= cell.v_threshold:
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (low, middle) if v(middle) >= cell.v_threshold else (middle, high)
            fired.append(high)
            low, high = high, (n + 1) * STEP
    return fired


def layer(times, weight, cell, horizon, axonal=None, synaptic=None):
    """Spike times of a layer for one sample, lists of lists."""
    found = []
    for n, row in enumerate(weight):
        arriving = []
        for m, w in enumerate(row):
            late = (axonal[m] if axonal is not None else 0.0) + (synaptic[n][m] if synaptic is not None else 0.0)
            arriving += [(t + late, w) for t in times[m] if t + late <= horizon]
        found.append(spikes_of(arriving, cell, horizon))
    return found


def recurrent(times, weight, inner, cell, horizon):
    """Spike times of each of N cells that hear each other at once, one event after another, for one sample."""
    events = sorted((t, m) for m, row in enumerate(times) for t in row if t <= horizon)
    cells = len(weight)
    v, i, now = torch.zeros(cells, dtype=torch.float64), torch.zeros(cells, dtype=torch.float64), 0.0
    fired: list[list[float]] = [[] for _ in range(cells)]
    events.append((horizon, -1))
    for at, source in events:
        while True:
            span = torch.full_like(v, at - now)
            reached = cell.reaches(v, i, span)
            if not bool(reached.any()):
                break
            late = torch.where(
                reached, cell.crossing(torch.where(reached, v, 0.0), torch.where(reached, i, 9.0), span), 1e9
            )
            who = int(late.argmin())
            v, i = cell.after(v, i, late[who])
            now += float(late[who])
            fired[who].append(now)
            v[who] = 0.0
            i = i + inner[:, who]
        v, i = cell.after(v, i, torch.tensor(at - now, dtype=torch.float64))
        now = at
        if source >= 0:
            i = i + weight[:, source]
    return fired
