"""Eligibility traces: what each weight of a layer remembers of the past, over a few steps at a time.

With `e[t]` the derivative of a cell's output at step t by one of its weights, as far as a trace follows it, an online
rule assigns the gradient `sum_t S[t] e[t]`, with S the learning signal. A trace belongs to the samples of a batch.

Shapes: C cells that share their weights over L places (1 in a dense layer), K weights of a cell, k state variables.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from rules.contract import Local

BLOCK = 1 << 17  # entries of a trace that are weighed together: half a megabyte, which stays in a core's cache


class Linear(NamedTuple):
    """The constants of cells that integrate linearly: the same for every cell and state, spikes apart."""

    kept: Tensor  # [k, k]  d state' / d state
    driven: Tensor  # [k]  d state' / d current


class Kept(NamedTuple):
    """What one layer remembers between two calls; the samples are the first axis. None where nothing is."""

    value: Tensor | None = None  # the trace, [B, k, L, K, C]; C is 1 where all cells share it
    low: Tensor | None = None  # [B, L, K, C], the trace behind the filter; C is 1 where all cells share it
    mean: Tensor | None = None  # [B, C, L], the averaged surrogate
    weight: Tensor | None = None  # [B], how much of the past is in it
    owed: Stretch | None = None  # the last steps, which are added to trace and filter when the sequence goes on

    @property
    def bytes(self) -> int:
        """Bytes of the traces, with what is owed added."""
        value, low = self.value, self.low
        if self.owed is not None:
            columns, signal = self.owed.columns[0], self.owed.signal[0]
            value = begun(self, self.owed)
            if self.owed.alike is None:
                value = value.expand(*value.shape[:-1], signal.shape[1])
            if self.owed.leak is not None:
                low = columns[..., None].expand(*columns.shape, signal.shape[1])
        held = (value, low, self.mean, self.weight)
        return sum(part.numel() * part.element_size() for part in held if part is not None)

    def unshared(self) -> Kept:
        """Return the same with copies of what is overwritten when the sequence goes on."""
        value, low = (None if part is None else part.clone() for part in (self.value, self.low))
        return self._replace(value=value, low=low)


class Stretch(NamedTuple):
    """What a layer did in some consecutive steps."""

    columns: Tensor  # [T, B, L, K]  what entered each weight
    local: Local  # kept [k, k, T, B, C, L], driven [k, T, B, C, L], shown [k + 1, T, B, C, L]
    signal: Tensor  # [T, B, C, L]  S
    leak: Tensor | None  # of the filter behind the trace; None for no filter
    constants: Linear | None  # of cells that leak at one rate
    alike: Linear | None = None  # how states are kept and driven in these steps, if all cells do it alike
    mean: Tensor | None = None  # [T, B, C, L]  the surrogate averaged over time, in place of that of the step
    last: bool = False  # whether only the gradient is wanted, because the call ends here


Moved = tuple[Tensor, Tensor | None, Tensor]  # a trace, that behind the filter, and a gradient [C, K]

# Faster ways to do what `by_products` does, of which the first that fits is taken. They may overwrite the traces.
FUSED: list[Callable[[Tensor, Tensor | None, Stretch], Moved | None]] = []


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

    As long as all cells have kept and driven their states alike, they share one trace of the input; from the first
    step in which they differ, as when one was reset, each weight has its own.

    Reference: Bellec et al. 2020 (doi 10.1038/s41467-020-17236-y), authors' code read; Bohnstingl et al. 2022 (doi
    10.1109/TNNLS.2022.3153985), third-party code read. The sharing is ours.
    """

    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        kept = paid(kept)
        value = spread(begun(kept, stretch), stretch)
        e = moved_by(stretch, value) if moved else None
        value, low, grad = advanced(value, kept.low, stretch)
        return kept._replace(owed=stretch) if stretch.last else kept._replace(value=value, low=low), grad, e

    def operations(self, stretch: Stretch) -> int:
        count, behind = len(stretch.local.driven), stretch.leak is not None
        each = stretch.signal.numel() * stretch.columns.shape[3]
        if stretch.alike is not None:
            return stretch.columns.numel() * (count**2 + 1) + each * behind
        return each * ((count + 1) ** 2 + behind)


def paid(kept: Kept) -> Kept:
    """Return what is kept, with the steps that it owes added."""
    if kept.owed is None:
        return kept
    stretch = kept.owed._replace(last=False)
    value, low, _ = advanced(spread(begun(kept, stretch), stretch), kept.low, stretch)
    return kept._replace(value=value, low=low, owed=None)


def spread(value: Tensor, stretch: Stretch) -> Tensor:
    """Return traces that all cells share as one for each cell, if these steps set cells apart."""
    return value if stretch.alike is not None else value.expand(*value.shape[:-1], stretch.signal.shape[2])


def advanced(value: Tensor, low: Tensor | None, stretch: Stretch) -> Moved:
    """Advance traces `[B, k, L, K, C]`, and those behind the filter, by the fastest way; may overwrite them."""
    ways = (way(value, low, stretch) for way in FUSED)
    return next((found for found in ways if found is not None), None) or by_products(value, low, stretch)


def by_products(value: Tensor, low: Tensor | None, stretch: Stretch) -> Moved:
    """Advance traces over a stretch by products of matrices: of what each input is worth, and the inputs.

    Within a stretch that is found backwards, a cell at a time: for its gradient, for what the filter has at the end,
    and for each trace at the end. The past before the stretch enters by the traces alone.
    """
    local, columns, signal = stretch.local, stretch.columns, stretch.signal
    count, length = len(local.driven), len(columns)
    none = signal.new_zeros(count, *signal.shape[1:])

    def at_end(worth: Tensor | None, ends: Tensor, held: Tensor | None, share: Tensor | float) -> Tensor:
        rows, bars = backwards(local, worth, ends)
        found = collected(rows, columns)
        for number, bar in enumerate(bars):
            found.addcmul_(bar.transpose(1, 2)[:, :, None], value[:, number])
        return found if held is None else found.add_(held * share)

    later = signal if stretch.leak is None else discounted(signal, stretch.leak)
    rows, bars = backwards(local, later, none)
    grad = product(rows, columns) + weighed(bars, value)
    if stretch.leak is not None and low is not None:
        grad = grad + weighed((stretch.leak * later[0])[None], low[:, None])
    if stretch.last:
        return value, low, grad
    if stretch.leak is not None:
        powers = stretch.leak ** torch.arange(length - 1, -1, -1, device=signal.device)
        low = at_end(powers.to(signal).reshape(-1, 1, 1, 1).expand_as(signal), none, low, stretch.leak**length)
    if value.shape[-1] == signal.shape[2]:
        after = []
        for number in range(count):
            ends = none.clone()
            ends[number] = 1
            after.append(at_end(None, ends, None, 1.0))
        return torch.stack(after, 1), low, grad
    assert stretch.alike is not None
    return settled(value[..., 0], columns, stretch.alike)[..., None], low, grad


def backwards(local: Local, worth: Tensor | None, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Differentiate `sum_t worth[t] e[t] + sum_i ends[i] eps_i[T]` by the inputs and by the traces before them.

    Args:
        local: derivatives over T steps.
        worth: `[T, B, C, L]`; None for zeros.
        ends: `[k, B, C, L]`.

    Returns: What the input of each step is worth, `[T, B, C, L]`, and each trace before the first, `[k, B, C, L]`.
    """
    kept, driven, shown = local
    length = shown.shape[1]
    rows, bars = ends.new_empty(length, *ends.shape[1:]), ends
    for t in range(length - 1, -1, -1):
        torch.sum(driven[:, t] * bars, 0, out=rows[t])
        bars = (kept[:, :, t] * bars[:, None]).sum(0)
        if worth is not None:
            rows[t].addcmul_(worth[t], shown[-1, t])
            bars.addcmul_(worth[t], shown[:-1, t])
    return rows, bars


def discounted(signal: Tensor, leak: Tensor) -> Tensor:
    """Return `g[s] = sum_(t >= s) leak^(t-s) signal[t]`."""
    later = torch.empty_like(signal)
    later[-1] = signal[-1]
    for t in range(len(later) - 2, -1, -1):
        torch.addcmul(signal[t], leak, later[t + 1], out=later[t])
    return later


def weighed(bars: Tensor, value: Tensor) -> Tensor:
    """Return `sum bars value` over samples and places: `[k, B, C, L] x [B, k, L, K, C or 1]` to `[C, K]`."""
    if value.shape[-1] == 1 < bars.shape[2]:
        return product(bars, value[..., 0].transpose(0, 1))
    total = value.new_zeros(value.shape[3:])
    size = max(1, BLOCK // value[0].numel())
    for some in (slice(start, start + size) for start in range(0, len(value), size)):
        each = bars[:, some].permute(1, 0, 3, 2)[:, :, :, None]  # [b, k, L, 1, C]
        total += (each * value[some]).sum((0, 1, 2))
    return total.T


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
        if stretch.leak is None:
            value, _, grad = advanced(begun(kept, stretch), None, constant(stretch, stretch.constants))
            return kept._replace(value=value), grad, None
        assert stretch.mean is not None
        after, rows = filtered(begun(kept, stretch)[..., 0], stretch.columns, stretch.constants)
        weights = torch.cat([stretch.constants.kept[-1], stretch.constants.driven[-1:]])
        low = torch.zeros_like(rows[0, 0]) if kept.low is None else kept.low[..., 0]
        behind = []
        for held in torch.tensordot(weights, rows, 1):
            low = low * stretch.leak + held
            behind.append(low)
        mean = stretch.mean / stretch.constants.driven[-1]
        grad = torch.einsum("tbcl,tblk->ck", stretch.signal * mean, torch.stack(behind))
        return kept._replace(value=after[..., None], low=low[..., None]), grad, None

    def operations(self, stretch: Stretch) -> int:
        return stretch.columns.numel() * (len(stretch.local.driven) ** 2 + 1 + (stretch.leak is not None))


class Momentary(Trace):
    """Nothing: the credit of a step is that of its own input, as by `BPTT(window=1)`. SLTT.

    Reference: Meng et al. 2023 (arXiv 2302.14311), recalled; equal to OTTT without its filter.
    """

    def credited(self, kept: Kept, stretch: Stretch, moved: bool) -> tuple[Kept, Tensor, Tensor | None]:
        count = len(stretch.local.driven)
        forgets = Linear(stretch.signal.new_zeros(count, count), stretch.signal.new_zeros(count))
        now = constant(stretch, forgets)._replace(leak=None, last=True)
        return kept, advanced(begun(kept, stretch), None, now)[2], None

    def operations(self, stretch: Stretch) -> int:
        return 0


def begun(kept: Kept, stretch: Stretch) -> Tensor:
    """Return the traces of a layer, `[B, k, L, K, C or 1]`; none yet, and the same for all cells, in a new sequence."""
    if kept.value is not None:
        return kept.value
    _, samples, places, width = stretch.columns.shape
    return stretch.columns.new_zeros(samples, len(stretch.local.driven), places, width, 1)


def constant(stretch: Stretch, constants: Linear) -> Stretch:
    """Return a stretch in which the state of every cell is kept and driven by constants, whatever its derivatives."""
    kept, driven, shown = stretch.local
    pairs = zip(constants, (kept, driven), strict=True)
    kept, driven = (part.reshape(*part.shape, 1, 1, 1, 1).expand_as(like) for part, like in pairs)
    return stretch._replace(local=Local(kept, driven, shown), alike=constants, last=False)


def alike(local: Local) -> Linear | None:
    """Return how states are kept and driven, if all cells do it alike in all of these steps; None otherwise."""
    low, high = zip(*(torch.aminmax(distinct(part).flatten(part.ndim - 4), dim=-1) for part in local[:2]), strict=True)
    return Linear(*low) if all(bool((a == b).all()) for a, b in zip(low, high, strict=True)) else None


def distinct(part: Tensor) -> Tensor:
    """Return a derivative `[..., T, B, C, L]` without the axes over which it only repeats its numbers."""
    for axis in range(part.ndim - 4, part.ndim):
        if part.stride(axis) == 0:
            part = part.narrow(axis, 0, 1)
    return part


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


def settled(value: Tensor, columns: Tensor, constants: Linear) -> Tensor:
    """Return the shared traces `[B, k, L, K]` after the steps."""
    driven = constants.driven.reshape(-1, 1, 1)
    for pre in columns[:, :, None].unbind(0):
        if len(driven) == 1:
            value = torch.addcmul(driven * pre, constants.kept, value)
        else:
            value = torch.einsum("ij,bjlk->bilk", constants.kept, value) + driven * pre
    return value


def product(weights: Tensor, rows: Tensor) -> Tensor:
    """Return `sum weights (x) rows` over steps, samples and places: `[T, B, C, L] x [T, B, L, K]` to `[C, K]`."""
    channels, width = weights.shape[2], rows.shape[3]
    return weights.transpose(2, 3).reshape(-1, channels).T @ rows.reshape(-1, width)


def collected(weights: Tensor, rows: Tensor) -> Tensor:
    """Return `sum weights (x) rows` over steps: `[T, B, C, L] x [T, B, L, K]` to `[B, L, K, C]`."""
    return torch.einsum("tbcl,tblk->blkc", weights, rows)


def moved_by(stretch: Stretch, value: Tensor) -> Tensor:
    """Return the sum of `e` over steps and samples, `[C, L, K]`."""
    local, columns = stretch.local, stretch.columns
    none = stretch.signal.new_zeros(len(local.driven), *stretch.signal.shape[1:])
    rows, bars = backwards(local, torch.ones_like(stretch.signal), none)
    found = torch.einsum("tbcl,tblk->clk", rows, columns)
    return found + torch.einsum("kbcl,bklwc->clw", bars, value.expand(*value.shape[:-1], stretch.signal.shape[2]))


TRACES: dict[str, Trace] = {"synapse": PerSynapse(), "presynaptic": Presynaptic(), "step": Momentary()}
