"""The data behind the figures of a validation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Trace(NamedTuple):
    """One cell under one stimulus."""

    stimulus: str
    t: Array  # [ms]
    current: Array  # [nA]
    theirs: Array  # membrane in Brian2
    ours: Array


class Raster(NamedTuple):
    """The spikes of all cells under the noisy stimulus: times [ms] and cells."""

    theirs: tuple[Array, Array]
    ours: tuple[Array, Array]


class Convergence(NamedTuple):
    """Errors at a sequence of time steps; those marked in `used` determine the slope."""

    name: str
    dt: Array  # [ms]
    error: Array
    used: Array  # booleans, as numbers
    slope: float
    order: int  # of the scheme; 0 for exact


class Response(NamedTuple):
    """Amplitudes of the membrane about its rest, for a sine wave of current."""

    hertz: Array
    ours: Array  # per nA, at dt -> 0
    theory: Array


class Rates(NamedTuple):
    """Firing rates under constant currents."""

    current: Array  # [nA]
    solver: Array  # [Hz]
    ours: Array  # [Hz], at the smallest dt


@dataclass
class Evidence:
    """The data that a validation keeps for its figures, and the names of the two sides in them."""

    traces: list[Trace] = field(default_factory=list)
    raster: Raster | None = None
    convergence: list[Convergence] = field(default_factory=list)
    response: Response | None = None
    rates: Rates | None = None
    sides: tuple[str, str] = ("Brian2", "sandbox")
