"""The spikes of a layer that does not hear itself, found event by event, and their adjoint: work follows the spikes.

Rows of events are `[B, N, K]`: K arrivals in the order of time at each of N cells, for B samples. An axis that all
cells share has size 1. An arrival that is missing has the time of the end and a weight of 0; a missing spike is at inf.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rules.credit.eventprop.membrane import Membrane, step


class Arrivals(NamedTuple):
    """What arrives at the cells of a layer, in the order of time."""

    times: Tensor  # [B, 1 or N, K], ms
    weights: Tensor  # [B, N, K], mV
    origin: Tensor  # [B, 1 or N, K], index among the input spikes of the sample, [M S] of them
    inside: Tensor  # [B, 1 or N, K], whether it is one

    @property
    def number(self) -> int:
        """Number of arrivals at all cells."""
        return int(self.inside.sum()) * (self.weights.shape[1] // self.inside.shape[1])


class Fired(NamedTuple):
    """The spikes of a layer."""

    times: Tensor  # [B, N, S], ms, inf where there are fewer
    currents: Tensor  # [B, N, S], I at the spike [mV]

    def slopes(self, cell: Membrane) -> Tensor:
        """Return dV/dt just before each spike, `[B, N, S]` [mV/ms]; inf where there is none."""
        found = cell.slope(torch.full_like(self.currents, cell.v_threshold), self.currents)
        return torch.where(torch.isfinite(self.times), found, torch.inf)


class Adjoint(NamedTuple):
    """What the spikes of a layer do to a loss, carried back to the arrivals."""

    weights: Tensor  # [B, N, K], dL/dw of each arrival
    times: Tensor  # [B, N, K], dL/dt of each arrival
    visits: int  # spikes and arrivals that were visited


def arrivals(
    times: Tensor, weight: Tensor, horizon: float, axonal: Tensor | None = None, synaptic: Tensor | None = None
) -> Arrivals:
    """Return what arrives at `weight [N, M]` until `horizon` [ms], from spikes at `times [B, M, S]`.

    Delays are `axonal [M]` and `synaptic [N, M]` [ms].
    """
    batch, inputs, most = times.shape
    at = times if axonal is None else times + axonal[:, None]
    at = at.reshape(batch, 1, inputs * most)
    if synaptic is not None:
        at = at + synaptic.repeat_interleave(most, 1)
    inside = at <= horizon
    at, origin = torch.where(inside, at, torch.inf).sort(dim=-1, stable=True)
    inside = inside.gather(-1, origin)
    count = int(inside.sum(-1).max()) if inside.numel() else 0
    at, origin, inside = at[..., :count], origin[..., :count], inside[..., :count]
    at = torch.where(inside, at, horizon)
    source = origin // max(most, 1)
    if synaptic is None:
        found = weight.T[source[:, 0]].transpose(1, 2)
    else:
        found = weight.expand(batch, *weight.shape).gather(2, source)
    return Arrivals(at, torch.where(inside, found, 0.0), origin, inside)


def undisturbed(cell: Membrane, given: Arrivals) -> tuple[Tensor, Tensor]:
    """Return V and I just after each arrival, `[B, N, K]`, of cells that never fire.

    Sums over 2, 4, 8, ... arrivals are made of two halves each, so that no exponential of a long time is ever formed.
    """
    v, i, far = torch.zeros_like(given.weights), given.weights, 1
    while far < v.shape[-1]:
        kept, driven, faded = step(cell, given.times[..., far:] - given.times[..., :-far])
        before_v, before_i = v[..., :-far], i[..., :-far]
        v = torch.cat([v[..., :far], v[..., far:] + kept * before_v + driven * before_i], -1)
        i = torch.cat([i[..., :far], i[..., far:] + faded * before_i], -1)
        far *= 2
    return v, i


def fire(cell: Membrane, given: Arrivals, horizon: float, most: int | None = None) -> Fired:
    """Return the spikes until `horizon` [ms], at most `most` of each cell.

    The first crossing of all cells is found in all intervals at once, then the next one of the cells that fired.
    """
    batch, cells, events = given.weights.shape
    rows = batch * cells
    v, i = (part.reshape(rows, events) for part in undisturbed(cell, given))
    begins = given.times.expand(batch, cells, events).reshape(rows, events)
    ends = torch.cat([begins[:, 1:], torch.full_like(begins[:, :1], horizon)], 1) if events else begins
    live = torch.arange(rows, device=v.device)
    columns: list[tuple[Tensor, Tensor]] = []
    found = _crossed(cell, v, i, begins, ends - begins) if events else None
    while found is not None and (most is None or len(columns) < most):
        hit, at, current, interval = found
        if not len(hit):
            break
        live, v, i, begins, ends = live[hit], v[hit], i[hit], begins[hit], ends[hit]
        column = v.new_full((rows,), torch.inf), v.new_zeros(rows)
        column[0][live], column[1][live] = at, current
        columns.append(column)
        behind = torch.arange(events, device=v.device) > interval[:, None]
        here = torch.arange(events, device=v.device) == interval[:, None]
        start = at[:, None]
        v = torch.where(behind, v - cell.v_threshold * cell.kept((begins - start).clamp(min=0)), v)
        shown = torch.where(behind, v, torch.where(here, 0.0, -torch.inf))
        found = _crossed(
            *(cell, shown, torch.where(here, current[:, None], i)),
            *(torch.where(here, start, begins), (ends - torch.where(here, start, begins)).clamp(min=0)),
        )
    if not columns:
        empty = given.weights.new_zeros(batch, cells, 0)
        return Fired(empty, empty)
    return Fired(*(torch.stack(part, 1).reshape(batch, cells, -1) for part in zip(*columns, strict=True)))


def _crossed(
    cell: Membrane, v: Tensor, i: Tensor, begins: Tensor, spans: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return rows that reach the threshold, the time, I then, and in which interval; where v is -inf none is."""
    closed = torch.isinf(v)
    reached = cell.reaches(torch.where(closed, 0.0, v), i, spans) & ~closed
    hit = reached.any(1).nonzero()[:, 0]
    interval = reached[hit].to(torch.int8).argmax(1)
    v, i, begins, spans = (part[hit].gather(1, interval[:, None])[:, 0] for part in (v, i, begins, spans))
    late = cell.crossing(v, i, spans)
    return hit, begins + late, i * cell.faded(late), interval


def adjoint(cell: Membrane, given: Arrivals, fired: Fired, errors: Tensor) -> Adjoint:
    """Return what arrivals do to a loss, given `errors [B, N, S]`, its derivatives by the times of spikes.

    With lV and lI what a change of V and I is worth, backward in time between events

        lV(t - s) = kept(s) lV(t),   lI(t - s) = faded(s) lI(t) + K(s) lV(t),

    at a spike of the cell `lV- = (V'+ lV+ - dL/dt) / V'-`, and at an arrival of weight w

        dL/dw = lI,   dL/dt = w (lI / tau_syn - lV / tau_mem),

    which for the cell that sent it is a part of dL/dt.

    Reference: Wunderlich & Pehle 2021 (arXiv 2009.08378), equations of the adjoint, with lV and lI of ours in place of
    -tau_mem lambda_V and -tau_syn lambda_I + ..., by which no sum over targets needs a difference of two.
    """
    batch, cells, events = given.weights.shape
    spikes = fired.times.shape[2]
    there = torch.isfinite(fired.times)
    safe = torch.where(there, fired.times, 0.0)
    lv, li = (given.weights.new_zeros(batch, cells, spikes + 1) for _ in range(2))
    after_v, after_i = (given.weights.new_zeros(batch, cells) for _ in range(2))
    for s in range(spikes - 1, -1, -1):
        up, current = there[..., s], fired.currents[..., s]
        slope = (current - cell.v_threshold) / cell.tau_mem
        before = (current / cell.tau_mem * after_v - errors[..., s]) / torch.where(up, slope, 1.0)
        lv[..., s], li[..., s] = torch.where(up, before, 0.0), torch.where(up, after_i, 0.0)
        if s:
            span = torch.where(up, safe[..., s] - safe[..., s - 1], 0.0)
            kept, driven, faded = step(cell, span)
            after_v, after_i = kept * lv[..., s], faded * li[..., s] + driven * lv[..., s]
    at = given.times.expand(batch, cells, events).contiguous()
    ahead = torch.searchsorted(fired.times.contiguous(), at, right=True)
    times = torch.cat([safe, safe.new_zeros(batch, cells, 1)], 2)
    there = torch.cat([there, there.new_zeros(batch, cells, 1)], 2).gather(2, ahead)
    span = torch.where(there, times.gather(2, ahead) - at, 0.0)
    kept, driven, faded = step(cell, span)
    at_v, at_i = lv.gather(2, ahead), li.gather(2, ahead)
    by_weight = faded * at_i + driven * at_v
    by_time = given.weights * (by_weight / cell.tau_syn - kept * at_v / cell.tau_mem)
    visits = given.number + int(torch.isfinite(fired.times).sum())
    return Adjoint(by_weight, by_time, visits)
