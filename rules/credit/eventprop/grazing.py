"""Spikes at which V only just reaches its threshold: their gradient grows without bound, and is reported."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor

from rules.diagnostics.health import Finding, HealthWarning

GRAZING = 1e-3  # of v_threshold / tau_mem: the derivative of a spike's time is then a thousand times the usual
SHOWN = 3  # spikes named in one warning


def grazing_spikes(name: str, slopes: Tensor, times: Tensor, limit: float = GRAZING) -> Iterator[Finding]:
    """Yield a finding for each spike at which the slope of V is below a limit, the smallest first.

    Args:
        name: of the layer.
        slopes: dV/dt just before each spike, as a share of `v_threshold / tau_mem`, `[B, N, S]`; inf where there is no
            spike.
        times: of the spikes, `[B, N, S]` [ms].
        limit: the smallest slope that is not reported.
    """
    low = (slopes < limit).nonzero()
    for place in sorted(low.tolist(), key=lambda place: float(slopes[tuple(place)])):
        sample, cell, _ = place
        slope, time = float(slopes[tuple(place)]), float(times[tuple(place)])
        yield Finding(
            "grazing",
            f"cell {cell} of {name} in sample {sample} at {time:.6g} ms",
            slope,
            "V reaches its threshold almost flat, so that the derivative of the time of the spike is one over this "
            "slope, in units of tau_mem / v_threshold",
            "clip the norm of the gradient (Trainer(clip=...)), lower the learning rate, or leave the sample out",
        )


def warn_of_grazing(name: str, slopes: Tensor, times: Tensor, limit: float) -> int:
    """Warn of spikes with a slope below a limit, and return how many there are."""
    if not slopes.numel() or not bool((slopes < limit).any()):
        return 0
    found = [*grazing_spikes(name, slopes.detach(), torch.as_tensor(times), limit)]
    rest = f"\nand {len(found) - SHOWN} others" if len(found) > SHOWN else ""
    warnings.warn("\n".join(map(str, found[:SHOWN])) + rest, HealthWarning, stacklevel=4)
    return len(found)
