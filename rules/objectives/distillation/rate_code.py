"""Numbers as rates: what neurons make of a constant current, so that a teacher's numbers compare with spikes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class RateCode(NamedTuple):
    """The neurons of a network as a code for numbers, which it tells as `run.internals["code"]`.

    `rate(current)` is the mean output of a neuron that is driven by that current in every step, from rest. For an
    integrator without leak whose reset subtracts the threshold it is within 1 / S of `current / threshold`, cut to 0
    and 1, after S steps.

    >>> import torch
    >>> def integrated(current, steps=4):
    ...     return torch.floor(steps * current.clamp(0, 1)) / steps
    >>> RateCode(integrated, 1.0).rate(torch.tensor([0.3, 2.0])).tolist()
    [0.25, 1.0]
    """

    rate: Callable[[Tensor], Tensor]
    threshold: float  # current at which a neuron fires at once
