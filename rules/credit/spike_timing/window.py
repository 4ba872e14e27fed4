"""How the times of spikes change a weight: pairs and triplets, in traces that each spike adds to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from rules.errors import unknown
from rules.fields import at_least, check_fields

CHOICES = {"pairing": ("all", "nearest"), "shape": ("causal", "symmetric"), "read": ("after", "before", "in_turn")}


class Term(NamedTuple):
    """A part of the change of every weight: the product of a factor of its cell and a factor of its input."""

    cell: Tensor  # [T, B, C, L]
    entry: Tensor  # [T, B, L, K]


@dataclass(frozen=True)
class Window:
    """Spike-timing-dependent plasticity by pairs, and by triplets if an amplitude of those is given.

        x <- exp(-dt / tau_plus) x + pre,       x2 <- exp(-dt / tau_x) x2 + pre
        y <- exp(-dt / tau_minus) y + post,     y2 <- exp(-dt / tau_y) y2 + post
        dw = post x (a_plus + triplet_plus y2) - pre y (a_minus + triplet_minus x2)

    With pairing "nearest" a spike sets its traces in place of adding to them, so that each spike meets the last one of
    the other side alone. The slow traces x2 and y2 are read before the spike of the same cell is added, as published.
    An input that is a number counts as a spike of that size, and 0 as none.

    Args:
        a_plus: change by a pair in which pre comes before post, at lag 0; 1 by default.
        a_minus: minus the change by a pair in which post comes before pre, at lag 0; 1.05 by default.
        tau_plus: time constant of x [ms], 20 by default.
        tau_minus: time constant of y [ms], 20 by default.
        pairing: "all" pairs, or "nearest".
        shape: "causal", or "symmetric", in which pairs of either order strengthen.
        read: x and y are read "after" the spikes of the step are added, so that two spikes in one step are a pair of
            both orders; "before", so that they are none; or "in_turn", inputs before cells, so that they are a pair in
            which pre comes before post, as where Brian2 runs `on_pre` and then `on_post`.
        triplet_plus: amplitude of post-pre-post triplets, 0 by default.
        triplet_minus: amplitude of pre-post-pre triplets, 0 by default.
        tau_x: time constant of x2 [ms], 101 by default.
        tau_y: time constant of y2 [ms], 125 by default.

    Raises:
        ValueError: for an unknown word, a time constant that is not positive, or a negative amplitude.

    >>> pre, post = torch.zeros(2, 11, 1, 1, 1, dtype=torch.float64)
    >>> pre[0], post[10] = 1, 1  # post comes 10 ms after pre
    >>> terms, _ = Window().terms(pre, post, dt=1.0)
    >>> round(float(change(terms)), 4), round(math.exp(-10 / 20), 4)
    (0.6065, 0.6065)

    Reference: pairs with traces, in the form of Morrison, Diesmann & Gerstner 2008 (doi 10.1007/s00422-008-0233-1),
    reconstructed; a_minus after Song, Miller & Abbott 2000 (doi 10.1038/78829), recalled; triplets and their time
    constants after Pfister & Gerstner 2006 (doi 10.1523/JNEUROSCI.1425-06.2006), recalled.
    """

    a_plus: float = 1.0
    a_minus: float = 1.05
    tau_plus: float = 20.0
    tau_minus: float = 20.0
    pairing: Literal["all", "nearest"] = "all"
    shape: Literal["causal", "symmetric"] = "causal"
    read: Literal["after", "before", "in_turn"] = "after"
    triplet_plus: float = 0.0
    triplet_minus: float = 0.0
    tau_x: float = 101.0
    tau_y: float = 125.0

    membranes: ClassVar[bool] = False  # whether it sees membranes, beside spikes

    def __post_init__(self) -> None:
        for name, valid in CHOICES.items():
            if getattr(self, name) not in valid:
                raise unknown(name, getattr(self, name), valid)
        check_fields(self)
        at_least(0, self, "a_plus", "a_minus", "triplet_plus", "triplet_minus")
        for name in ("tau_plus", "tau_minus", "tau_x", "tau_y"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: give a time constant above 0, in ms")

    @property
    def longest(self) -> float:
        """The time in which a pair can form [ms]."""
        return self.tau_plus

    @property
    def triplets(self) -> bool:
        """Whether triplets count."""
        return bool(self.triplet_plus or self.triplet_minus)

    def terms(
        self, pre: Tensor, post: Tensor, dt: float, traces: Sequence[Tensor] = ()
    ) -> tuple[tuple[Term, Term], tuple[Tensor, ...]]:
        """Return the two terms of the change in each step, and the traces after the last one.

        Args:
            pre: what entered each weight, `[T, B, L, K]`: L places that share the weights, K weights of one cell.
            post: spikes of the cells, `[T, B, C, L]`.
            dt: time step [ms].
            traces: those after the step before; empty for none.

        Raises:
            ValueError: for traces that are not of these cells and samples.
        """
        sources = ((pre, self.tau_plus), (post, self.tau_minus), (pre, self.tau_x), (post, self.tau_y))
        kept = sources if self.triplets else sources[:2]
        starts = tuple(traces) or tuple(source[0].new_zeros(source.shape[1:]) for source, _ in kept)
        require_traces(starts, [source for source, _ in kept])
        shown, ends = [], []
        for number, ((source, tau), start) in enumerate(zip(kept, starts, strict=True)):
            after = number < 2 and (self.read == "after" or (self.read == "in_turn" and number == 0))
            rows, end = filtered(source, math.exp(-dt / tau), start, self.pairing == "nearest", after)
            shown.append(rows)
            ends.append(end)
        sign = -1.0 if self.shape == "causal" else 1.0
        later, sooner = self.a_plus * post, self.a_minus * pre
        if self.triplets:
            later, sooner = later + self.triplet_plus * post * shown[3], sooner + self.triplet_minus * pre * shown[2]
        return (Term(later, shown[0]), Term(sign * shown[1], sooner)), tuple(ends)

    def operations(self, pre: Tensor, post: Tensor) -> int:
        """Return the multiply-accumulates of traces and products, zeros included, for as many steps as are given."""
        return (pre.numel() + post.numel()) * (2 if self.triplets else 1) + 2 * pre.numel() * post.shape[2]


def require_traces(traces: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Raise ValueError for traces that are not of the cells and samples of these signals `[T, ...]`."""
    if [trace.shape for trace in traces] != [source.shape[1:] for source in sources]:
        raise ValueError(
            f"the carry has {[tuple(trace.shape) for trace in traces]} as shapes of traces, and this batch asks "
            f"for {[tuple(source.shape[1:]) for source in sources]}: continue a sequence with the rule and the "
            "samples that began it, or begin anew with carry=None"
        )


def filtered(signal: Tensor, leak: float, start: Tensor, nearest: bool, after: bool) -> tuple[Tensor, Tensor]:
    """Return a trace of a signal `[T, ...]` in each step, after or before that of the step is added, and at the end.

    >>> filtered(torch.tensor([1.0, 1.0, 0.0]), 0.5, torch.zeros(()), nearest=False, after=True)
    (tensor([1.0000, 1.5000, 0.7500]), tensor(0.7500))
    """
    rows = latest(signal, leak, start) if nearest else added(signal, leak, start)
    end = rows[-1].clone()
    return (rows if after else leak * torch.cat([start[None], rows[:-1]])), end


def added(signal: Tensor, leak: float, start: Tensor) -> Tensor:
    """Return `x[t] = leak x[t - 1] + signal[t]`, `[T, ...]`, by products of a block of steps with powers of `leak`."""
    flat = signal.flatten(1) if signal.ndim > 1 else signal[:, None]
    at = torch.arange(BLOCK, device=signal.device)
    powers = torch.where(at[:, None] >= at, leak ** (at[:, None] - at).clamp(min=0).to(flat), 0.0)
    fading = leak ** (at + 1).to(flat)[:, None]
    rows, last = torch.empty_like(flat), start.reshape(1, -1)
    for first in range(0, len(flat), BLOCK):
        block = flat[first : first + BLOCK]
        held = rows[first : first + BLOCK]
        torch.addmm(fading[: len(block)] * last, powers[: len(block), : len(block)], block, out=held)
        last = held[-1:]
    return rows.view(signal.shape)


def latest(signal: Tensor, leak: float, start: Tensor) -> Tensor:
    """Return the last entry of a signal that is not 0, faded by `leak` for each step since, `[T, ...]`."""
    at = torch.arange(len(signal), device=signal.device).reshape(-1, *[1] * (signal.ndim - 1))
    when = torch.where(signal != 0, at, -1).cummax(0).values
    value = torch.where(when < 0, start, signal.gather(0, when.clamp(min=0)))
    return value * leak ** (at - when).to(signal)


def change(terms: Sequence[Term]) -> Tensor:
    """Return the sum over steps, samples and places of terms, `[C, K]`.

    A factor that is mostly 0, as spikes are, is taken by its entries that are not: the work is that of cells that fire.
    """
    return sum_of([product(*term) for term in terms])


def product(cell: Tensor, entry: Tensor) -> Tensor:
    """Return the sum over steps, samples and places of a product, `[C, K]`.

    >>> product(torch.ones(2, 1, 1, 1), torch.full((2, 1, 1, 3), 2.0))
    tensor([[4., 4., 4.]])
    """
    one, other = cell.transpose(2, 3).flatten(0, 2), entry.flatten(0, 2)  # [T B L, C] and [T B L, K]
    if cell.device.type != "cpu":
        return one.T @ other
    if int(one.count_nonzero()) < SPARSE * one.numel():
        by_cells: Tensor = torch.sparse.mm(one.T.to_sparse(), other)
        return by_cells
    if int(other.count_nonzero()) < SPARSE * other.numel():
        by_entries: Tensor = torch.sparse.mm(other.T.to_sparse(), one)
        return by_entries.T
    return one.T @ other


BLOCK = 16  # steps, of a product that stays in cache and is not long enough to cost more than the steps themselves
SPARSE = 0.1  # share of entries that are not 0, below which a sparse product is faster than a dense one


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors."""
    first, *others = parts
    for other in others:
        first = first + other
    return first
