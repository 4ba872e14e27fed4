"""Encoders from samples to sequences: constant current, Poisson spikes, time to first spike, or no change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from rules.draws import uniform
from rules.fields import check_fields
from rules.steps import SLACK

MOST_STEPS = 10_000_000  # of a sequence


def _steps(steps: int) -> None:
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps={steps}: give a whole number of time steps, from 1 to {MOST_STEPS}")


def _unit(x: Tensor, encoder: str) -> None:
    low, high = (float(bound) for bound in torch.aminmax(x))
    if not (low >= 0 and high <= 1):  # written so that NaN is rejected too
        raise ValueError(f"{encoder} wants features between 0 and 1; these run from {low:g} to {high:g}: rescale them")


@dataclass(frozen=True)
class Constant:
    """Encode as the same current at every step, `gain x`; `[B, *f]` to `[steps, B, *f]` without a copy.

    Args:
        steps: number of time steps, 20 by default.
        gain: current for a feature of 1 [nA], 1 by default.

    >>> Constant(steps=3)(torch.ones(2, 4)).shape
    torch.Size([3, 2, 4])
    """

    sequence: ClassVar[bool] = False
    steps: int = 20
    gain: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self)
        _steps(self.steps)

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        current = x if self.gain == 1.0 else self.gain * x
        return current.expand(self.steps, *x.shape)


@dataclass(frozen=True)
class Poisson:
    """Encode as spikes drawn at every step with probability `x max_rate dt / 1000`, for x in 0..1.

    Args:
        steps: number of time steps, 20 by default.
        max_rate: firing rate for a feature of 1 [Hz], 200 by default.
        dt: time step [ms], 1 by default.

    Raises:
        ValueError: for a probability above 1; in a call, for features outside 0..1 or without a generator.

    >>> spikes = Poisson(steps=1000, max_rate=100.0)(torch.ones(1, 1), torch.Generator().manual_seed(0))
    >>> 80 < int(spikes.sum()) < 120
    True
    """

    sequence: ClassVar[bool] = False
    steps: int = 20
    max_rate: float = 200.0  # [Hz]
    dt: float = 1.0  # [ms]

    def __post_init__(self) -> None:
        check_fields(self)
        _steps(self.steps)
        if not 0 < self.max_rate * self.dt <= 1000:
            raise ValueError(
                f"max_rate={self.max_rate} Hz at dt={self.dt} ms is a probability of "
                f"{self.max_rate * self.dt / 1000:g} a step; lower the rate or the step"
            )

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        _unit(x, "Poisson")
        if generator is None:
            raise ValueError("Poisson draws random numbers: pass it a torch.Generator")
        probability = x * (self.max_rate * self.dt / 1000)
        return (uniform((self.steps, *x.shape), generator, x) < probability).to(x.dtype)


@dataclass(frozen=True)
class Latency:
    """Encode as one spike per feature, at step `min(floor((1 - x) steps), steps - 1)`: larger is earlier, 0 is silent.

    A feature that is at most 0.001 steps short of a step belongs to that step, as times do in Brian2, so that quantised
    features such as `k / steps` or pixels reach the step that they mean. Steps are computed in float64 and counted as
    integers, whatever the dtype of the features.

    Args:
        steps: number of time steps, 20 by default.

    Raises:
        ValueError: in a call, for features outside 0..1.

    >>> Latency(steps=4)(torch.tensor([[1.0, 0.5, 0.0]]))[:, 0].mT.tolist()
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """

    sequence: ClassVar[bool] = False
    steps: int = 20

    def __post_init__(self) -> None:
        check_fields(self)
        _steps(self.steps)

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        _unit(x, "Latency")
        exact = (1 - x.double()) * self.steps + SLACK
        at = exact.floor().long().clamp(max=self.steps - 1)  # 1 - x rounds to 1 for the smallest x
        times = torch.arange(self.steps, device=x.device).view(-1, *[1] * x.ndim)
        return ((times == at) & (x > 0)).to(x.dtype)


@dataclass(frozen=True)
class AsRecorded:
    """Use samples that are sequences already, time first: `[B, T, *f]`, or tokens `[B, T]`, to `[T, B, *f]`; no copy.

    Args:
        steps: number of time steps to keep, from the first; None, the default, for all.

    Raises:
        ValueError: in a call, for samples with fewer steps.

    >>> AsRecorded(steps=3)(torch.ones(2, 5, 4)).shape
    torch.Size([3, 2, 4])
    """

    sequence: ClassVar[bool] = True
    steps: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps is not None:
            _steps(self.steps)

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if x.ndim < (3 if x.is_floating_point() else 2):
            raise ValueError(f"AsRecorded wants [batch, time, *features]; given was {list(x.shape)}")
        if self.steps is not None and self.steps > x.shape[1]:
            raise ValueError(f"steps={self.steps}: the samples have {x.shape[1]} time steps; give that or fewer")
        return x[:, : self.steps].transpose(0, 1)


@dataclass(frozen=True)
class Still:
    """Use the sample as it is, `[B, *f]`, without a time axis: for models without time.

    >>> Still()(torch.ones(2, 4)).shape
    torch.Size([2, 4])
    """

    sequence: ClassVar[bool] = False
    timed: ClassVar[bool] = False

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return x


class Encoder(Protocol):
    """An encoder from samples to a sequence, time first; a plain function is one too."""

    sequence: bool  # True if it expects sequences, [B, T, *f]; False by default
    timed: bool  # True if its result has several time steps; True by default

    def __call__(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Encode samples `[B, ...]` as `[T, B, ...]`, with random numbers from the generator alone."""
        ...


def wants_sequences(encoder: Any) -> bool:
    """Return whether an encoder expects samples that are sequences already."""
    return bool(getattr(encoder, "sequence", False))


def is_timed(encoder: Any) -> bool:
    """Return whether the result of an encoder has several time steps; True unless it declares `timed = False`."""
    return bool(getattr(encoder, "timed", True))


def check_sequence(encoder: Any, sequence: bool) -> None:
    """Raise ValueError if an encoder does not fit the samples of a task.

    An encoder with `sequence = True` needs samples that are sequences; any other needs single samples.

    >>> check_sequence(AsRecorded(), sequence=True)
    """
    wanted = wants_sequences(encoder)
    name = getattr(encoder, "__name__", type(encoder).__name__)
    if sequence and not wanted:
        raise ValueError(
            f"encoder {name} makes sequences of single samples, and those of this task are sequences "
            "already: use the encoder as_recorded, or declare `sequence = True` in the encoder"
        )
    if wanted and not sequence:
        single = ", ".join(key for key, encoder in ENCODERS.items() if not encoder.sequence)
        raise ValueError(
            f"encoder {name} wants samples that are sequences, and those of this task are single: use one of {single}"
        )


ENCODERS: dict[str, Any] = {
    "constant": Constant,
    "poisson": Poisson,
    "latency": Latency,
    "as_recorded": AsRecorded,
    "still": Still,
}
