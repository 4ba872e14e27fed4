"""Eligibility traces: what each weight of a layer remembers of the past, one step at a time.

With `e[t]` the derivative of a cell's output at step t by one of its weights, as far as a trace follows it, the gradient
that an online rule assigns is `sum_t S[t] e[t]`, with S the learning signal. A trace belongs to the samples of a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from rules.contract import Local


class Linear(NamedTuple):
    """The constants of cells that integrate linearly: the same for every cell and state, spikes apart."""

    kept: Tensor  # [k, k]  d state' / d state
    driven: Tensor  # [k]  d state' / d current


class Trace(ABC):
    """A kind of trace: `value` is what is kept between two steps, a tensor with the samples in its first axis."""

    linear = False  # whether cells must integrate linearly

    @abstractmethod
    def start(self, columns: Tensor, cells: Tensor, count: int) -> Tensor:
        """Return the trace before the first step.

        Args:
            columns: what enters each weight, `[B, L, K]`.
            cells: a signal of the cells, `[B, C, L]`.
            count: number of state variables of a cell, k.
        """

    @abstractmethod
    def advance(self, value: Tensor, columns: Tensor, local: Local, constants: Linear | None) -> tuple[Tensor, Tensor]:
        """Return the trace after a step, and `e[t]` as something that `credited` understands.

        Args:
            value: the trace before the step.
            columns: what enters each weight, `[B, L, K]`.
            local: derivatives of the cells, their places as `[B, C, L]`.
            constants: of linear cells; None for others.
        """

    @abstractmethod
    def credited(self, e: Tensor, signal: Tensor, local: Local) -> Tensor:
        """Return the gradient of a step, `[C, K]`: the product of `e` and the signal `[B, C, L]`, over B and L."""

    @abstractmethod
    def operations(self, columns: Tensor, cells: Tensor, count: int) -> int:
        """Return the multiply-accumulates of `advance`."""


class PerSynapse(Trace):
    """The past of a cell's own state by each of its weights, all state variables: e-prop, OSTL, SnAp-1.

        eps[t] = kept[t] eps[t-1] + driven[t] pre[t],    e[t] = shown[t] . (eps[t-1], pre[t])

    Reference: Bellec et al. 2020 (doi 10.1038/s41467-020-17236-y), Bohnstingl et al. 2022 (doi
    10.1109/TNNLS.2022.3153985), the authors' code read of the first.
    """

    def start(self, columns: Tensor, cells: Tensor, count: int) -> Tensor:
        (samples, places, width), channels = columns.shape, cells.shape[1]
        return columns.new_zeros(samples, count, channels, places, width)

    def advance(self, value: Tensor, columns: Tensor, local: Local, constants: Linear | None) -> tuple[Tensor, Tensor]:
        pre = columns[:, None]  # [B, 1, L, K]
        count = value.shape[1]
        e = local.shown[-1][..., None] * pre
        after = torch.empty_like(value)
        for new in range(count):
            e = e.addcmul(local.shown[new][..., None], value[:, new])
            total = local.driven[new][..., None] * pre
            for old in range(count):
                total.addcmul_(local.kept[new, old][..., None], value[:, old])
            after[:, new] = total
        return after, e

    def credited(self, e: Tensor, signal: Tensor, local: Local) -> Tensor:
        return torch.einsum("bcl,bclk->ck", signal, e)

    def operations(self, columns: Tensor, cells: Tensor, count: int) -> int:
        return cells.numel() * columns.shape[2] * (count + 1) ** 2


class Presynaptic(Trace):
    """The input alone, filtered as the membrane filters it, and shared by all cells: OTTT, and DECOLLE's two poles.

        eps[t] = kept eps[t-1] + driven pre[t],    e[t] = shown[t] . (eps[t-1], pre[t])

    with constants for all cells, so that a trace has the size of the input.

    Reference: Xiao et al. 2022 (arXiv 2210.04195); Kaiser, Mostafa & Neftci 2020 (arXiv 1811.10766), authors' code read.
    """

    linear = True

    def start(self, columns: Tensor, cells: Tensor, count: int) -> Tensor:
        samples, places, width = columns.shape
        return columns.new_zeros(samples, count, places, width)

    def advance(self, value: Tensor, columns: Tensor, local: Local, constants: Linear | None) -> tuple[Tensor, Tensor]:
        assert constants is not None
        driven = constants.driven[None, :, None, None] * columns[:, None]
        after = torch.einsum("ij,bjlk->bilk", constants.kept, value) + driven
        return after, torch.cat([value, columns[:, None]], 1)

    def credited(self, e: Tensor, signal: Tensor, local: Local) -> Tensor:
        return torch.einsum("sbcl,bslk->ck", signal * local.shown, e)

    def operations(self, columns: Tensor, cells: Tensor, count: int) -> int:
        return columns.numel() * (count * count + count)


class Momentary(Trace):
    """Nothing: the credit of a step is that of its own input, as by `BPTT(window=1)`. SLTT.

    Reference: Meng et al. 2023 (arXiv 2302.14311), recalled; equal to OTTT without its filter.
    """

    def start(self, columns: Tensor, cells: Tensor, count: int) -> Tensor:
        return columns.new_zeros(len(columns), 0)

    def advance(self, value: Tensor, columns: Tensor, local: Local, constants: Linear | None) -> tuple[Tensor, Tensor]:
        return value, columns

    def credited(self, e: Tensor, signal: Tensor, local: Local) -> Tensor:
        return torch.einsum("bcl,blk->ck", signal * local.shown[-1], e)

    def operations(self, columns: Tensor, cells: Tensor, count: int) -> int:
        return 0


TRACES: dict[str, Trace] = {"synapse": PerSynapse(), "presynaptic": Presynaptic(), "step": Momentary()}
