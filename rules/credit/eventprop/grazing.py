"""Spikes at which V only just reaches its threshold: their gradient grows without bound, and is reported."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from torch import Tensor

from rules.diagnostics.health import Finding, HealthWarning

GRAZING = 1e-3  # of v_threshold / tau_mem: the derivative of a spike's time is then a thousand times the usual
SHOWN = 3  # spikes named in one warning


class Place(NamedTuple):
    """A spike, and the slope of V just before it."""

    slope: float  # as a share of v_threshold / tau_mem
    sample: int
    cell: int
    time: float  # ms


def grazing_spikes(name: str, places: Iterable[Place]) -> Iterator[Finding]:
    """Yield a finding for each spike of a layer, the smallest slope first."""
    for slope, sample, cell, time in sorted(places):
        yield Finding(
            "grazing",
            f"cell {cell} of {name} in sample {sample} at {time:.6g} ms",
            slope,
            "V reaches its threshold almost flat, so that the derivative of the time of the spike is one over this "
            "slope, in units of tau_mem / v_threshold",
            "clip the norm of the gradient (Trainer(clip=...)), lower the learning rate, or leave the sample out",
        )


def warn_of_grazing(name: str, slopes: Tensor, times: Tensor, limit: float) -> int:
    """Warn of spikes with a slope below a limit, and return how many there are.

    Args:
        name: of the layer.
        slopes: dV/dt just before each spike, as a share of `v_threshold / tau_mem`, `[B, N, S]`; inf for no spike.
        times: of the spikes, `[B, N, S]` [ms].
        limit: the smallest slope that is not reported.
    """
    low = (slopes < limit).nonzero()
    if not len(low):
        return 0
    at = low.unbind(1)
    rows = zip(slopes[at].cpu().tolist(), low[:, :2].cpu().tolist(), times[at].cpu().tolist(), strict=True)
    found = [*grazing_spikes(name, [Place(slope, sample, cell, time) for slope, (sample, cell), time in rows])]
    rest = f"\nand {len(found) - SHOWN} others" if len(found) > SHOWN else ""
    warnings.warn("\n".join(map(str, found[:SHOWN])) + rest, HealthWarning, stacklevel=4)
    return len(found)
