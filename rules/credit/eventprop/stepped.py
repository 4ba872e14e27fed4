"""The adjoint of EventProp in time steps, for one layer of spiking cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rules.credit.eventprop.linear import Linear


class Steep(NamedTuple):
    """What a step of the adjoint needs of the spikes of a layer, `[T, B, *out]` each."""

    ratio: Tensor  # V'+ / V'- at a spike, 1 elsewhere
    inverse: Tensor  # 1 / V'- at a spike, 0 elsewhere
    slopes: Tensor  # V'- in units of the fall of V over tau_mem; inf where there is no spike


class Given(NamedTuple):
    """What a layer of cells that do not hear each other left, and what is above it."""

    u: Tensor  # V before the reset, less the threshold, [T, B, *out]
    start: Tensor  # V before the first step, [B, *out]
    spikes: Tensor  # [T, B, *out]
    worth: Tensor  # what a spike in each step is worth; with `weight` what currents above are worth, [T, B, outputs]
    weight: Tensor | None  # to the layer above, [outputs, N]
    above: Tensor | None  # currents of the layer above, with their graph
    x: Tensor  # input [T, B, *in]
    currents: Tensor | None  # with their graph, if they are `x W.T + b`; None for others
    down: bool  # whether a layer below needs what the currents are worth


class Found(NamedTuple):
    """What the adjoint of a layer says."""

    errors: Tensor | None  # what the current of each step is worth, [T, B, *out]; None if `weight` is all that counts
    weight: Tensor | None  # gradient of the weights [N, in], if it was found on the way
    bias: Tensor  # sums of errors, [N]
    fired: Tensor  # number of spikes of each cell, [*out]
    flat: int  # spikes that are flatter than the limit


def steep(cells: Linear, u: Tensor, start: Tensor, spikes: Tensor) -> Steep:
    """Return slopes of V at spikes: before one the secant of its step, behind it what the reset makes of that.

    Args:
        cells: their step.
        u: V before the reset, less the threshold, `[T, B, *out]`.
        start: V before the first step, `[B, *out]`.
        spikes: `[T, B, *out]`.
    """
    v = u + cells.threshold
    begun = torch.cat([start[None], cells.start(v[:-1], spikes[:-1])])
    there = spikes > 0
    slope = torch.where(there, (v - begun) / cells.dt, 1.0)
    rise = -cells.fall * cells.leak
    return Steep(
        torch.where(there, 1 + rise / slope, 1.0),
        torch.where(there, 1 / slope, 0.0),
        torch.where(there, slope / rise, torch.inf),
    )


def currents_adjoint(cells: Linear, seen: Steep, worth: Tensor, recurrent: Tensor | None) -> Tensor:
    """Return what the current of each step is worth, `D[t] = dL/dcurrent[t]`, `[T, B, *out]`.

    With a[t] the adjoint of the state behind step t, and G[t] what a spike in step t is worth by the layers above
    and, in recurrent ones, by `R^T D[t+1]`,

        dL/dt_k = (G[t+1] - G[t]) / dt,   a_V <- (V'+ a_V - dL/dt_k) / V'-  at a spike,
        D[t] = driven a[t],   a[t-1] = kept^T a[t].

    The first line says what a spike is worth if it comes a step later. Where a spike of w enters a synapse it is
    w (lI / tau_syn - lV / tau_mem), up to O(dt).

    Args:
        cells: their step.
        seen: the slopes at spikes.
        worth: G without what cells hear of each other, `[T, B, *out]`.
        recurrent: weights from the cells to themselves, `[N, N]`; None for none.
    """
    found = torch.empty_like(worth)
    later = torch.cat([worth[1:], torch.zeros_like(worth[:1])])
    jumps = (worth - later) * seen.inverse / cells.dt
    state = [torch.zeros_like(worth[0]) for _ in cells.driven]
    kept, driven = cells.kept.cpu().tolist(), cells.driven.cpu().tolist()
    near, far = torch.zeros_like(worth[0]), torch.zeros_like(worth[0])  # R^T D[t+1] and R^T D[t+2]
    for t in range(len(worth) - 1, -1, -1):
        state[0] = state[0] * seen.ratio[t] + jumps[t]
        if recurrent is not None:
            state[0] = state[0] + (near - far) * seen.inverse[t] / cells.dt
        found[t] = sum(factor * part for factor, part in zip(driven, state, strict=True))
        state = [sum(kept[i][j] * state[i] for i in range(len(state)) if kept[i][j]) for j in range(len(state))]
        if recurrent is not None:
            near, far = found[t] @ recurrent, near
    return found
