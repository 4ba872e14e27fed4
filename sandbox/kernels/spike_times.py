"""Exact spike times and their gradient in two compiled loops, float64 on the CPU; importing it imports numba.

`rules.credit.eventprop.solver` says what is computed, and how. Here a cell visits its events one after another.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rules.credit.eventprop import Membrane
from rules.credit.eventprop.events import require_fitting
from sandbox.synapses.kernels import compiled

Array = np.ndarray[Any, Any]
FEW = 8  # spikes of a cell for which there is room at first
ITERATIONS = 100  # of Newton's method: it converges by halves even where V only grazes the threshold


@compiled
def _passed(constants: Array, span: float) -> tuple[float, float, float]:
    """Return what is left of V, what V gets of a current of 1, and what is left of that, after `span` [ms]."""
    mem, syn, gain = constants[0], constants[1], constants[3]
    kept = math.exp(-span / mem)
    if mem == syn:
        return kept, span / mem * kept, kept
    faded = math.exp(-span / syn)
    return kept, gain * (kept - faded), faded


@compiled
def _steps(constants: Array, times: Array, horizon: float, steps: Array) -> None:
    """Fill `steps` `[K, 3]` with `_passed` from each arrival to the next, and from the last to the horizon."""
    for k in range(len(times)):
        end = times[k + 1] if k + 1 < len(times) else horizon
        steps[k, 0], steps[k, 1], steps[k, 2] = _passed(constants, end - times[k])


@compiled
def _crossing(constants: Array, v: float, i: float, span: float) -> float:
    """Return after how long V reaches the threshold within `span`, or -1; `v` is below it and `i` above.

    V is concave as long as it rises, so Newton's method comes from below, step by step, and never too far.
    """
    mem, syn, theta, gain = constants[0], constants[1], constants[2], constants[3]
    kept, driven, faded = _passed(constants, span)
    at, current, end = kept * v + driven * i, faded * i, span
    if at < theta:
        if current >= at:
            return -1.0  # it rises to the end
        if mem == syn:
            end = mem * (1 - v / i)
        else:
            share = (v / i + gain) * (syn / (gain * mem))
            if share <= 0:
                return -1.0
            end = min(span, -math.log(share) / (1 / syn - 1 / mem))
        kept, driven, faded = _passed(constants, end)
        if kept * v + driven * i < theta:
            return -1.0
    late = 0.0
    for _ in range(ITERATIONS):
        kept, driven, faded = _passed(constants, late)
        here, current = kept * v + driven * i, faded * i
        slope = (current - here) / mem
        if here >= theta or slope <= 0:
            break
        later = late + (theta - here) / slope
        if later <= late:
            break
        late = later
    return min(late, end)


@compiled
def _fire(
    constants: Array, times: Array, source: Array, steps: Array, weight: Array, horizon: float, out: Array, held: Array
) -> int:
    """Fill `out` and `held`, `[N, S]`, with spikes of a sample and I at them; return the most that a cell has.

    `weight` is `[N, M]`, `times`, `source` and `steps` are those of the arrivals. A cell ends with its spike S; one
    more is counted, if there is one.
    """
    theta, most = constants[2], 0
    for n in range(len(weight)):
        v, i, count = 0.0, 0.0, 0
        for k in range(len(times)):
            i += weight[n, source[k]]
            kept, driven, faded = steps[k, 0], steps[k, 1], steps[k, 2]
            if i <= theta:  # V goes to I, which fades
                v, i = kept * v + driven * i, faded * i
                continue
            end_v, end_i = kept * v + driven * i, faded * i
            if end_v < theta and end_i >= end_v:
                v, i = end_v, end_i
                continue
            begin = times[k]
            end = times[k + 1] if k + 1 < len(times) else horizon
            while i > theta:
                late = _crossing(constants, v, i, end - begin)
                if late < 0:
                    break
                if count == out.shape[1]:
                    count += 1
                    break
                begin += late
                v, i = 0.0, i * math.exp(-late / constants[1])
                out[n, count], held[n, count] = begin, i
                count += 1
            if count > out.shape[1]:
                break
            kept, driven, faded = _passed(constants, end - begin)
            v, i = kept * v + driven * i, faded * i
        most = max(most, count)
    return most


@compiled
def _adjoint(
    constants: Array,
    times: Array,
    source: Array,
    steps: Array,
    weight: Array,
    out: Array,
    held: Array,
    errors: Array,
    by_weight: Array,
    by_time: Array,
) -> None:
    """Add to `by_weight` `[N, M]` and, if it has entries, to `by_time`, of the arrivals of a sample."""
    mem, syn, theta = constants[0], constants[1], constants[2]
    for n in range(len(weight)):
        s = out.shape[1] - 1
        while s >= 0 and not math.isfinite(out[n, s]):
            s -= 1
        lv, li, now = 0.0, 0.0, math.inf
        for k in range(len(times) - 1, -1, -1):
            at = times[k]
            if s < 0 and now == math.inf:
                break  # a cell that has never fired
            whole = now != math.inf and k + 1 < len(times) and now == times[k + 1]
            while s >= 0 and out[n, s] > at:
                if now != math.inf:
                    kept, driven, faded = _passed(constants, now - out[n, s])
                    lv, li = kept * lv, faded * li + driven * lv
                now, whole = out[n, s], False
                lv = (held[n, s] * lv - mem * errors[n, s]) / (held[n, s] - theta)
                s -= 1
            if now == math.inf:
                continue  # behind the last spike
            if whole:
                kept, driven, faded = steps[k, 0], steps[k, 1], steps[k, 2]
            else:
                kept, driven, faded = _passed(constants, now - at)
            lv, li, now = kept * lv, faded * li + driven * lv, at
            by_weight[n, source[k]] += li
            if len(by_time):
                by_time[k] += weight[n, source[k]] * (li / syn - lv / mem)


class _Events(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, times: Tensor, weight: Tensor, cell: Membrane, horizon: float, most: int | None) -> Tensor:
        gain = 0.0 if cell.tau_mem == cell.tau_syn else cell.gain
        constants = np.array([cell.tau_mem, cell.tau_syn, cell.v_threshold, gain])
        rows, strong = times.detach().flatten(1).numpy(), weight.detach().contiguous().numpy()
        given, room = [], FEW if most is None else most
        for row in rows:
            inside = (row <= horizon).nonzero()[0]
            origin = inside[np.argsort(row[inside], kind="stable")]
            at, steps = row[origin], np.empty((len(origin), 3))
            _steps(constants, at, horizon, steps)
            given.append((at, origin, origin // max(times.shape[2], 1), steps))
        while True:
            out = np.full((len(rows), len(strong), room), np.inf)
            held, found = np.zeros_like(out), 0
            for sample, (at, _, source, steps) in enumerate(given):
                found = max(found, _fire(constants, at, source, steps, strong, horizon, out[sample], held[sample]))
            if found <= room or most is not None:
                break
            room *= 2
        found = min(found, room)
        fired = np.ascontiguousarray(out[..., :found])
        ctx.kept = constants, given, strong, fired, np.ascontiguousarray(held[..., :found]), times.shape
        return torch.from_numpy(fired.copy())

    @staticmethod
    def backward(ctx: Any, errors: Tensor) -> tuple[Any, ...]:
        constants, given, strong, fired, held, shape = ctx.kept
        wanted, each = ctx.needs_input_grad, errors.contiguous().numpy()
        by_weight = np.zeros_like(strong)
        by_time = np.zeros((shape[0], shape[1] * shape[2])) if wanted[0] else None
        for sample, (at, origin, source, steps) in enumerate(given):
            found = np.zeros(len(at) if wanted[0] else 0)
            _adjoint(
                *(constants, at, source, steps, strong, fired[sample], held[sample], each[sample], by_weight, found)
            )
            if by_time is not None:
                by_time[sample, origin] = found
        back = None if by_time is None else torch.from_numpy(by_time).reshape(shape)
        return back, torch.from_numpy(by_weight) if wanted[1] else None, None, None, None


def spike_times(times: Tensor, weight: Tensor, cell: Membrane, horizon: float, *, most: int | None = None) -> Tensor:
    """Return what `rules.credit.eventprop.spike_times` does without delays, with the same gradient, in compiled loops.

    Args:
        times: of the input spikes, `[B, M, S]` [ms], float64 on the CPU, inf where a unit has fewer than S.
        weight: `[N, M]` [mV].
        cell: the constants of the cells.
        horizon: end of the sequence [ms].
        most: spikes of a cell after which the others are not looked for; None: all.

    Returns: The times `[B, N, S']` in order, inf where a cell has fewer than S' spikes. No grazing is reported.

    Raises:
        ValueError: for another dtype or device, and for what the solver in torch does not take.

    >>> w = torch.tensor([[9.0]], dtype=torch.float64, requires_grad=True)
    >>> out = spike_times(torch.zeros(1, 1, 1, dtype=torch.float64), w, Membrane(20.0, 5.0), 40.0)
    >>> out.sum().backward()
    >>> [round(float(t), 3) for t in out.detach().flatten()], round(float(w.grad), 4)
    ([3.338], -0.6144)

    Reference: Wunderlich & Pehle 2021 (doi 10.1038/s41598-021-91786-z).
    """
    require_fitting(times, weight, horizon, None, None, most)
    if times.dtype != torch.float64 or times.device.type != "cpu" or weight.device.type != "cpu":
        raise ValueError(
            f"times are {times.dtype} on {times.device}: the compiled loops take float64 on the CPU, "
            "rules.credit.eventprop.spike_times takes others"
        )
    found: Tensor = _Events.apply(times, weight, cell, float(horizon), most)  # type: ignore[no-untyped-call]
    return found
