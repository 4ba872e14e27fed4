"""Objectives on spike times: which unit fires first, and distances between whole spike trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rules.contract import Batch, Objective, Run
from rules.fields import check_fields
from rules.objectives.labels import LABELS, labels, require_whole_sequences, wanted
from rules.objectives.readout import CrossEntropy
from rules.steps import wide, wide_dtype


class FirstSpike(torch.autograd.Function):
    """The step of the first spike of `[T, ...]`, counted from 0, or T if there is none, in float32 at least.

    Backward: -1 at that spike.
    """

    @staticmethod
    def forward(ctx: Any, spikes: Tensor) -> Tensor:
        fired = spikes > 0
        # argmax returns the first of equal maxima, and is not defined for bool
        first = torch.where(fired.any(0), fired.to(torch.int8).argmax(0), len(spikes))
        ctx.save_for_backward(first)
        ctx.steps, ctx.dtype = len(spikes), spikes.dtype
        return first.to(wide_dtype(spikes))

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> Tensor:
        (first,) = ctx.saved_tensors
        steps = torch.arange(ctx.steps, device=error.device).view(-1, *[1] * first.ndim)
        return torch.where(steps == first, -error, 0.0).to(ctx.dtype)


def first_spike(spikes: Tensor) -> Tensor:
    """Return `t_first` of every unit, `[T, ...]` to `[...]`."""
    return FirstSpike.apply(spikes)  # type: ignore[no-any-return, no-untyped-call]


@dataclass(frozen=True)
class FirstSpikeCrossEntropy(CrossEntropy):
    """`CE(-t_first, y)`: the class whose unit fires first wins; a silent unit counts as T.

    Surrogate: d t_first / d s = -1 at the first spike and nothing elsewhere, so a silent unit gets no gradient.
    """

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return -first_spike(run.output)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        return super().__call__(run, batch)


@dataclass(frozen=True)
class FirstSpikeError(Objective):
    """`MSE(t_first / T, on for the class, off for the others)`, targets as shares of the sequence.

    A silent unit counts as T; the surrogate is that of `FirstSpikeCrossEntropy`. Times as shares are a choice of ours.

    Args:
        on: target of the class of the sample, as a share of the sequence, 0 by default.
        off: target of the other classes, 1 by default.

    >>> float(FirstSpikeError()(Run(torch.ones(4, 1, 2)), Batch(torch.zeros(4, 1, 1), torch.tensor([0]))))
    0.5

    Reference: snnTorch's `mse_temporal_loss` (code).
    """

    on: float = 0.0
    off: float = 1.0

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)

    def scores(self, run: Run, lengths: Tensor | None = None) -> Tensor:
        return -first_spike(run.output)

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        share = -self.scores(run) / len(run.output)
        return F.mse_loss(share, wanted(share, labels(run, batch), self.on, self.off))


@dataclass(frozen=True)
class VanRossum(Objective):
    """The van Rossum distance, `mean_b (dt / tau) sum_t,c (k * s - k * s_target)^2` with `k = exp(-t / tau)`.

    The target of the class is a regular train with a spike every `period` steps, that of the others is silence; this
    choice of target is ours.

    Args:
        tau: time constant of the kernel [ms], 10 by default.
        dt: duration of a step [ms], 1 by default.
        period: steps between spikes of the target, 5 by default.

    Reference: van Rossum 2001 (doi 10.1162/089976601300014321), recalled; as a training loss: Zenke & Ganguli 2018.
    """

    tau: float = 10.0
    dt: float = 1.0
    period: int = 5

    needs: ClassVar[frozenset[str]] = LABELS

    def __post_init__(self) -> None:
        check_fields(self)
        if not (self.tau > 0 and self.dt > 0 and self.period >= 1):
            given = f"tau={self.tau}, dt={self.dt}, period={self.period}"
            raise ValueError(f"{given}: give positive times in ms and a period of at least 1 step")

    def __call__(self, run: Run, batch: Batch) -> Tensor:
        require_whole_sequences(batch, self)
        output = wide(run.output)
        steps = len(output)
        beats = torch.arange(steps, device=run.output.device) % self.period == self.period - 1
        target = wanted(output[0], labels(run, batch), 1.0, 0.0) * beats[:, None, None]
        lag = torch.arange(steps, device=output.device, dtype=output.dtype)
        kernel = torch.exp(-(lag[:, None] - lag) * self.dt / self.tau).tril()  # [T, T]
        with torch.autocast(output.device.type, enabled=False):  # half precision cannot add the steps
            filtered = torch.einsum("ts,sbc->tbc", kernel, output - target)
        return self.dt / self.tau * filtered.square().sum((0, 2)).mean()
