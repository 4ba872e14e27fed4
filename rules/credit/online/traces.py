"""Eligibility traces: what each weight of a layer remembers of the past, over a few steps at a time.

With `e[t]` the derivative of a cell's output at step t by one of its weights, as far as a trace follows it, an online
rule assigns the gradient `sum_t S[t] e[t]`, with S the learning signal. A trace belongs to the samples of a batch.

Shapes: C cells that share their weights over L places (1 in a dense layer), K weights of a cell, k state variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from rules.contract import Local

BLOCK = 1 << 17  # entries of a trace that are advanced together: half a megabyte, which stays in a core's cache


class Linear(NamedTuple):
    """The constants of cells that integrate linearly: the same for every cell and state, spikes apart."""

    kept: Tensor  # [k, k]  d state' / d state
    driven: Tensor  # [k]  d state' / d current


class Kept(NamedTuple):
    """What one layer remembers between two calls; the samples are the first axis. None where nothing is."""

    value: Tensor | None = None  # the trace
    low: Tensor | None = None  # [B, C, L, K], the trace behind the filter
    mean: Tensor | None = None  # [B, C, L], the averaged surrogate
    weight: Tensor | None = None  # [B], how much of the past is in it


class Stretch(NamedTuple):
    """What a layer did in some consecutive steps."""

    columns: Tensor  # [T, B, L, K]  what entered each weight
    local: Local  # kept [k, k, T, B, C, L], driven [k, T, B, C, L], shown [k + 1, T, B, C, L]
    signal: Tensor  # [T, B, C, L]  S
    leak: Tensor | None  # of the filter behind the trace; None for no filter
    constants: Linear | None  # of cells that leak at one rate
    alike: Linear | None = None  # the constants of these steps, if all cells have the same
    mean: Tensor | None = None  # [T, B, C, L]  the surrogate averaged over time, in place of that of the step


# Faster ways to advance traces of each weight, of which the first that fits is taken. They change a trace
# `[B, k, C, L, K]`, and that behind the filter, in place, and return the gradient `[C, K]`, or None.
FUSED: list[Callable[[Tensor, Tensor | None, Stretch], Tensor | None]] = []


class Trace(ABC):
    """A kind of trace."""

    linear = False  # whether cells must integrate linearly

    @abstractmethod
    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        """Return the trace after these steps, their gradient `[C, K]`, and the sum of `e` `[C, L, K]` if `moved`."""

    @abstractmethod
    def operations(self, stretch: Stretch) -> int:
        """Return the multiply-accumulates of advancing the trace."""


class PerSynapse(Trace):
    """The past of a cell's own state by each of its weights, all state variables: e-prop, OSTL, SnAp-1.

        eps[t] = kept[t] eps[t-1] + driven[t] pre[t],    e[t] = shown[t] . (eps[t-1], pre[t])

    As long as all cells have kept and driven their states alike, they share one trace of the input, and what a filter
    keeps of the steps is summed up by matrix products; from the first step in which they differ, as when one was reset,
    each weight has its own.

    Reference: Bellec et al. 2020 (doi 10.1038/s41467-020-17236-y), authors' code read; Bohnstingl et al. 2022 (doi
    10.1109/TNNLS.2022.3153985), third-party code read. The sharing is ours.
    """

    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        value = begun(kept, stretch)
        if value.shape[2] == 1 and stretch.alike is not None:
            after, rows = filtered(value[:, :, 0], stretch.columns, stretch.alike)
            found = shared(kept._replace(value=after[:, :, None]), stretch, rows)
        else:
            found = self.apart(kept, stretch, value)
        e = moved_by(stretch, value, self) if moved else None
        return (*found, e)

    def apart(self, kept: Kept, stretch: Stretch, value: Tensor) -> tuple[Kept, Tensor]:
        """Return trace and gradient where each weight has a trace of its own."""
        _, samples, channels, places = stretch.signal.shape
        width, count = stretch.columns.shape[3], value.shape[1]
        value = value.expand(samples, count, channels, places, width).clone()
        low = value.new_zeros(samples, channels, places, width) if stretch.leak is not None else None
        if low is not None and kept.low is not None:
            low.copy_(kept.low)
        ways = (way(value, low, stretch) for way in FUSED)
        grad = next((found for found in ways if found is not None), None)
        if grad is None:
            grad = self.by_steps(value, low, stretch)
        return kept._replace(value=value, low=low), grad

    def by_steps(self, value: Tensor, low: Tensor | None, stretch: Stretch) -> Tensor:
        """Advance traces `[B, k, C, L, K]` and `[B, C, L, K]` in place, some samples at a time; return the gradient."""
        steps, samples, channels, places = stretch.signal.shape
        width = stretch.columns.shape[3]
        total = value.new_zeros(channels, places, width)
        size = max(1, BLOCK // (channels * places * width))
        for start in range(0, samples, size):
            some = slice(start, start + size)
            now, after = value[some].movedim(1, 0).contiguous(), torch.empty(0)
            e, summed = torch.empty_like(now[0]), torch.zeros_like(now[0])
            behind = None if low is None else low[some]
            for t in range(steps):
                after = advanced(now, e, stretch, t, some, after if t else torch.empty_like(now))
                now, after = after, now
                if behind is not None:
                    assert stretch.leak is not None
                    behind.mul_(stretch.leak).add_(e)
                summed.addcmul_(stretch.signal[t, some, ..., None], e if behind is None else behind)
            value[some] = now.movedim(0, 1)
            total += summed.sum(0)
        return total.sum(1)

    def operations(self, stretch: Stretch) -> int:
        if stretch.alike is not None:
            return stretch.columns.numel() * (len(stretch.local.driven) ** 2 + 1)
        low = stretch.leak is not None
        return stretch.signal.numel() * stretch.columns.shape[3] * ((len(stretch.local.driven) + 1) ** 2 + low)


def advanced(now: Tensor, e: Tensor, stretch: Stretch, t: int, some: slice, after: Tensor) -> Tensor:
    """Write `e[t]`, and return the traces after step t, written into `after`: one for each weight of some samples."""
    pre = stretch.columns[t, some, None]  # [b, 1, L, K]
    local = Local(*(part[..., t, some, :, :, None] for part in stretch.local))
    torch.mul(local.shown[-1], pre, out=e)
    for new in range(len(now)):
        e.addcmul_(local.shown[new], now[new])
        torch.mul(local.driven[new], pre, out=after[new])
        for old in range(len(now)):
            after[new].addcmul_(local.kept[new, old], now[old])
    return after


class Presynaptic(Trace):
    """The input alone, filtered as the membrane filters it, and shared by all cells: OTTT, and DECOLLE's two poles.

        eps[t] = kept eps[t-1] + driven pre[t],    e[t] = shown[t] . (eps[t-1], pre[t])

    with constants for all cells, so that a trace has the size of the input. Behind a filter it is the approximation of
    OTPE, `e[t] = mean[t] (leak z[t-1] + h[t])`, h being what the input has left in the membrane.

    Reference: Xiao et al. 2022 (arXiv 2210.04195) and Kaiser, Mostafa & Neftci 2020 (arXiv 1811.10766), authors' code
    read; Summe et al. 2024 (arXiv 2311.16151), its module read.
    """

    linear = True

    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        assert stretch.constants is not None
        value = begun(kept, stretch)[:, :, 0] if kept.value is None else kept.value
        after, rows = filtered(value, stretch.columns, stretch.constants)
        kept = kept._replace(value=after)
        if stretch.leak is None:
            return (*shared(kept, stretch, rows), None)
        assert stretch.mean is not None
        weights = torch.cat([stretch.constants.kept[-1], stretch.constants.driven[-1:]])
        low = torch.zeros_like(rows[0, 0]) if kept.low is None else kept.low[:, 0]
        behind = []
        for held in torch.tensordot(weights, rows, 1):
            low = low * stretch.leak + held
            behind.append(low)
        mean = stretch.mean / stretch.constants.driven[-1]
        grad = torch.einsum("tbcl,tblk->ck", stretch.signal * mean, torch.stack(behind))
        return kept._replace(low=low[:, None]), grad, None

    def operations(self, stretch: Stretch) -> int:
        return stretch.columns.numel() * (len(stretch.local.driven) ** 2 + 1 + (stretch.leak is not None))


class Momentary(Trace):
    """Nothing: the credit of a step is that of its own input, as by `BPTT(window=1)`. SLTT.

    Reference: Meng et al. 2023 (arXiv 2302.14311), recalled; equal to OTTT without its filter.
    """

    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        grad = torch.einsum("tbcl,tblk->ck", stretch.signal * stretch.local.shown[-1], stretch.columns)
        return kept, grad, None

    def operations(self, stretch: Stretch) -> int:
        return 0


def begun(kept: Kept, stretch: Stretch) -> Tensor:
    """Return the traces of a layer, `[B, k, C, L, K]`; none yet, and the same for all cells, in a new sequence."""
    if kept.value is not None:
        return kept.value
    _, samples, places, width = stretch.columns.shape
    return stretch.columns.new_zeros(samples, len(stretch.local.driven), 1, places, width)


def alike(local: Local) -> Linear | None:
    """Return how states are kept and driven, if all cells do it alike in all of these steps; None otherwise."""
    low, high = zip(
        *(torch.aminmax(part.flatten(part.ndim - 4), dim=-1) for part in (local.kept, local.driven)), strict=True
    )
    return Linear(*low) if all(bool((a == b).all()) for a, b in zip(low, high, strict=True)) else None


def filtered(value: Tensor, columns: Tensor, constants: Linear) -> tuple[Tensor, Tensor]:
    """Return the shared traces `[B, k, L, K]` after the steps, and `(eps[t-1], pre[t])` as `[k + 1, T, B, L, K]`."""
    count, steps = len(constants.driven), len(columns)
    driven = constants.driven.reshape(-1, 1, 1, 1, 1) * columns  # [k, T, B, L, K], what is added in a step
    rows = columns.new_empty(count + 1, steps, *columns.shape[1:])
    rows[count] = columns
    rows[:count, 0] = value.movedim(1, 0)
    last = torch.empty_like(driven[:, 0])
    for t in range(steps):
        now, after = rows[:count, t], rows[:count, t + 1] if t + 1 < steps else last
        if count == 1:
            torch.addcmul(driven[:, t], constants.kept, now, out=after)
        else:
            torch.add(driven[:, t], torch.tensordot(constants.kept, now, 1), out=after)
    return last.movedim(0, 1), rows


def shared(kept: Kept, stretch: Stretch, rows: Tensor) -> tuple[Kept, Tensor]:
    """Return memory and gradient for traces that all cells share, the filter's sums as matrix products.

    With `g[s] = sum_(t >= s) leak^(t-s) S[t]` over these steps, the filter's past and these steps add up to

        grad = sum_s g[s] e[s] + leak g[0] low,    low <- leak^T low + sum_s leak^(T-1-s) e[s]
    """
    pairs = factors(stretch.local.shown, rows)
    if stretch.leak is None:
        return kept, total(product(stretch.signal * slope, row) for slope, row in pairs)
    later = torch.empty_like(stretch.signal)
    later[-1] = stretch.signal[-1]
    for t in range(len(later) - 2, -1, -1):
        torch.addcmul(stretch.signal[t], stretch.leak, later[t + 1], out=later[t])
    grad = total(product(later * slope, row) for slope, row in pairs)
    steps, low = len(later), kept.low
    powers = (stretch.leak ** torch.arange(steps - 1, -1, -1, device=rows.device)).reshape(-1, 1, 1, 1)
    if low is not None:
        grad = grad + torch.einsum("bcl,bclk->ck", stretch.leak * later[0], low)
    for number, (slope, row) in enumerate(pairs):
        low = collected(low, slope * powers, row, 1.0 if number else float(stretch.leak**steps))
    return kept._replace(low=low), grad


def factors(shown: Tensor, rows: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return `e` as a sum of few products, of a cell's `[T, B, C, L]` and an input's `[T, B, L, K]`.

    Where a cell's output depends on states and current by one number, its membrane, one product does.
    """
    slope = shown[-1]
    first = slope.argmax()
    weights = shown.flatten(1)[:, first] / slope.flatten()[first]  # of every variable, as the current weighs 1
    near = 4 * torch.finfo(slope.dtype).eps  # round-off of the products in a derivative
    for weight, part in zip(weights[:-1], shown[:-1], strict=True):
        if not (part - weight * slope).norm() <= near * part.norm():
            return list(zip(shown, rows, strict=True))
    return [(slope, torch.tensordot(weights, rows, 1))]


def total(parts: Iterable[Tensor]) -> Tensor:
    """Return a sum."""
    first, *others = parts
    for part in others:
        first = first + part
    return first


def product(weights: Tensor, rows: Tensor) -> Tensor:
    """Return `sum weights (x) rows` over steps, samples and places: `[T, B, C, L] x [T, B, L, K]` to `[C, K]`."""
    channels, width = weights.shape[2], rows.shape[3]
    return weights.transpose(2, 3).reshape(-1, channels).T @ rows.reshape(-1, width)


def collected(low: Tensor | None, weights: Tensor, rows: Tensor, share: float) -> Tensor:
    """Return `share low + sum weights (x) rows` over steps, `[B, C, L, K]`; overwrites `low`."""
    steps, samples, channels, places = weights.shape
    each = weights.permute(1, 3, 2, 0).reshape(-1, channels, steps)
    given = rows.permute(1, 2, 0, 3).reshape(-1, steps, rows.shape[3])
    if low is None:
        found = torch.bmm(each, given)
    else:
        found = low.transpose(1, 2).reshape(-1, channels, rows.shape[3]).baddbmm_(each, given, beta=share)
    after: Tensor = found.unflatten(0, (samples, places)).transpose(1, 2)
    return after


def moved_by(stretch: Stretch, value: Tensor, trace: PerSynapse) -> Tensor:
    """Return the sum of `e` over steps and samples, `[C, L, K]`: the gradient for a signal of one at a single place."""
    places = stretch.signal.shape[3]
    parts = []
    for place in range(places):
        signal = torch.zeros_like(stretch.signal)
        signal[..., place] = 1
        plain = stretch._replace(signal=signal, leak=None)
        parts.append(trace.credited(Kept(value), plain, False)[1])
    return torch.stack(parts, 1)


TRACES: dict[str, Trace] = {"synapse": PerSynapse(), "presynaptic": Presynaptic(), "step": Momentary()}
