"""Spike times of a layer as a differentiable function of input spikes, weights and delays, without time steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rules.credit.eventprop.grazing import GRAZING, warn_of_grazing
from rules.credit.eventprop.membrane import Membrane
from rules.credit.eventprop.solver import Arrivals, Fired, adjoint, arrivals, fire, undisturbed


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        times: Tensor,
        weight: Tensor,
        axonal: Tensor | None,
        synaptic: Tensor | None,
        cell: Membrane,
        horizon: float,
        most: int | None,
        where: tuple[str, float],
    ) -> Tensor:
        given = arrivals(times, weight, horizon, axonal, synaptic)
        fired = fire(cell, given, horizon, most)
        warn_of_grazing(where[0], fired.slopes(cell) * (cell.tau_mem / cell.v_threshold), fired.times, where[1])
        ctx.save_for_backward(*given, *fired)
        ctx.cell, ctx.shapes = cell, (times.shape, weight.shape)
        return fired.times

    @staticmethod
    def backward(ctx: Any, errors: Tensor) -> tuple[Any, ...]:
        saved = ctx.saved_tensors
        given, fired = Arrivals(*saved[:4]), Fired(*saved[4:])
        found = adjoint(ctx.cell, given, fired, torch.where(torch.isfinite(fired.times), errors, 0.0))
        (batch, inputs, most), (cells, _) = ctx.shapes
        origin = given.origin.expand_as(given.weights)
        place = torch.arange(cells, device=origin.device)[:, None] * inputs + origin // max(most, 1)
        wanted = ctx.needs_input_grad

        def summed(part: Tensor) -> Tensor:
            total = part.new_zeros(cells * inputs).index_add_(0, place.reshape(-1), part.reshape(-1))
            return total.reshape(cells, inputs)

        by_time = by_delay = None
        if wanted[0]:
            by_time = errors.new_zeros(batch, inputs * most)
            by_time.scatter_add_(1, origin.reshape(batch, -1), found.times.reshape(batch, -1))
            by_time = by_time.reshape(batch, inputs, most)
        if wanted[2] or wanted[3]:
            by_delay = summed(found.times)
        return (
            by_time,
            summed(found.weights) if wanted[1] else None,
            by_delay.sum(0) if wanted[2] and by_delay is not None else None,
            by_delay if wanted[3] else None,
            *[None] * 4,
        )


def spike_times(
    times: Tensor,
    weight: Tensor,
    cell: Membrane,
    horizon: float,
    *,
    axonal: Tensor | None = None,
    synaptic: Tensor | None = None,
    most: int | None = None,
    name: str = "layer",
    grazing: float = GRAZING,
) -> Tensor:
    """Return the exact spike times of a layer of current-based cells; their gradient is that of EventProp.

    Args:
        times: of the input spikes, `[B, M, S]` [ms], inf where a unit has fewer than S.
        weight: `[N, M]`; a spike adds it to the current of a cell [mV].
        cell: the constants of the cells.
        horizon: end of the sequence [ms].
        axonal: delay of each input, `[M]` [ms], at least 0; None for none. It can be learned.
        synaptic: delay of each weight, `[N, M]` [ms], at least 0; None for none. It can be learned.
        most: spikes of a cell after which the others are not looked for, such as 1 if the first one counts; None: all.
        name: of the layer, in a warning.
        grazing: slope of V at the threshold, as a share of `v_threshold / tau_mem`, below which to warn of a gradient
            that explodes; it is not clipped.

    Returns: The times `[B, N, S']` in order, inf where a cell has fewer than S' spikes, S' of the cell with most.

    Raises:
        ValueError: for shapes that do not fit, delays or times below 0, NaN, and a horizon that is not above 0.

    >>> w = torch.tensor([[9.0]], dtype=torch.float64, requires_grad=True)
    >>> out = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), w, Membrane(20.0, 5.0), 40.0)
    >>> out.sum().backward()
    >>> [round(float(t), 3) for t in out.detach().flatten()], round(float(w.grad), 4)
    ([3.338], -0.6144)

    Reference: Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z). Delays as in Goeltz et al. 2025 and Meszaros et
    al. 2025 (both recalled), here as times of arrival.
    """
    _check(times, weight, horizon, axonal, synaptic, most)
    found: Tensor = _Events.apply(  # type: ignore[no-untyped-call]
        times, weight, axonal, synaptic, cell, float(horizon), most, (name, grazing)
    )
    return found


def voltages(times: Tensor, weight: Tensor, cell: Membrane, at: Tensor) -> Tensor:
    """Return V of cells that never fire at the times `at [Q]` [ms], `[B, N, Q]`: for losses of a voltage.

    Args:
        times: of the input spikes, `[B, M, S]` [ms], inf where a unit has fewer.
        weight: `[N, M]` [mV].
        cell: the constants; the threshold is not used.
        at: when to look, `[Q]` [ms].

    >>> v = voltages(torch.zeros(1, 1, 1), torch.ones(1, 1), Membrane(10.0, 10.0), torch.tensor([10.0]))
    >>> round(float(v), 4)
    0.3679
    """
    horizon = float(at.max())
    _check(times, weight, horizon, None, None, None)
    there = torch.isfinite(times) & (times <= horizon)
    spans = at - torch.where(there, times, 0.0)[..., None]  # [B, M, S, Q]
    seen = there[..., None] & (spans > 0)
    kernel = torch.where(seen, cell.response(torch.where(seen, spans, 0.0)), 0.0).sum(2)
    return torch.einsum("nm,bmq->bnq", weight, kernel)


def peaks(times: Tensor, weight: Tensor, cell: Membrane, horizon: float) -> Tensor:
    """Return the greatest V until `horizon` [ms] of cells that never fire, `[B, N]`, 0 at least; it is differentiable.

    Where V is smooth, the time of the greatest value does not add to its derivative. Where V turns at an arrival, the
    time is that of the arrival, and follows it.

    >>> v = peaks(torch.zeros(1, 1, 1), torch.ones(1, 1), Membrane(10.0, 10.0), 50.0)
    >>> round(float(v), 4)
    0.3679
    """
    _check(times, weight, horizon, None, None, None)
    with torch.no_grad():
        given = arrivals(times, weight, horizon)
        if not given.times.shape[-1]:
            return weight.new_zeros(len(times), len(weight))
        v, i = undisturbed(cell, given)
        ends = torch.cat([given.times[..., 1:], torch.full_like(given.times[..., :1], horizon)], -1)
        top, spans = cell.summit(v, i), (ends - given.times).expand_as(v)
        late = torch.where(top < spans, top, 0.0)  # a peak at the end of an interval is one at the arrival there
        late[..., -1] = torch.minimum(top, spans)[..., -1]
        best = cell.after(v, i, late)[0].argmax(-1, keepdim=True)
        at = (given.times + late).gather(2, best)  # [B, N, 1]
        turns, origin = late.gather(2, best) == 0, given.origin.expand_as(late).gather(2, best)
    arriving = times.reshape(len(times), 1, -1).expand(-1, len(weight), -1).gather(2, origin)
    at = torch.where(turns & torch.isfinite(arriving), arriving, at)
    there = torch.isfinite(times) & (times <= horizon)
    spans = at[:, :, None] - torch.where(there, times, 0.0)[:, None]  # [B, N, M, S]
    seen = there[:, None] & (spans > 0)
    kernel = torch.where(seen, cell.response(torch.where(seen, spans, 0.0)), 0.0).sum(3)
    return torch.einsum("nm,bnm->bn", weight, kernel).clamp(min=0)


def _check(
    times: Tensor, weight: Tensor, horizon: float, axonal: Tensor | None, synaptic: Tensor | None, most: int | None
) -> None:
    """Raise ValueError for what the solver cannot take."""
    if times.ndim != 3 or weight.ndim != 2 or times.shape[1] != weight.shape[1]:
        raise ValueError(
            f"times have shape {tuple(times.shape)} and weight {tuple(weight.shape)}: give times [B, M, S], inf where "
            "a unit has fewer spikes, and a weight [N, M]"
        )
    if not times.is_floating_point() or times.dtype != weight.dtype:
        raise ValueError(f"times are {times.dtype} and weight is {weight.dtype}: give one floating dtype, best float64")
    if bool((~(times >= 0)).any()):
        raise ValueError("times hold NaN or a number below 0: a sequence begins at 0 ms, and a missing spike is at inf")
    if not bool(torch.isfinite(weight).all()):
        raise ValueError("weight holds NaN or inf: an update was too large, so lower the learning rate")
    if not 0 < horizon < torch.inf:
        raise ValueError(f"horizon={horizon}: give the end of the sequence in ms, above 0")
    if most is not None and most < 1:
        raise ValueError(f"most={most}: give a number of spikes, at least 1, or None for all")
    shapes = {"axonal": (axonal, (weight.shape[1],)), "synaptic": (synaptic, tuple(weight.shape))}
    for name, (delay, shape) in shapes.items():
        if delay is None:
            continue
        if tuple(delay.shape) != shape:
            raise ValueError(f"{name} delays have shape {tuple(delay.shape)}; weight wants {shape}")
        if bool((~((delay >= 0) & (delay < torch.inf))).any()):
            raise ValueError(
                f"{name} delays hold a number that is not from 0 to inf: clamp them after an update, "
                "with torch.no_grad(): delay.clamp_(min=0)"
            )
