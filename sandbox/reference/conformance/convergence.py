"""Order of convergence: errors at a sequence of time steps, each half the one before, and the slope through them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sandbox.reference.conformance.evidence import Convergence

Array = NDArray[np.float64]
POINTS = 6  # time steps in a slope: five halvings
SLACK = 0.15  # tolerance of a slope
ORDERS = {  # of Brian2's schemes without noise, where its heun and milstein are Euler's
    **dict.fromkeys(("euler", "exponential_euler", "heun", "milstein"), 1),
    "exact": 0,
    "linear": 0,
    "rk2": 2,
    "rk4": 4,
}


def halvings(coarsest: float, number: int) -> Array:
    """Return `number` time steps [ms], each half the one before."""
    return np.asarray(coarsest * 0.5 ** np.arange(number))


def convergence(name: str, dt: Array, error: Array, floor: float, order: int) -> Convergence | None:
    """Fit the slope of log error against log dt through the finest six steps with errors above a floor; None for fewer.

    A slope that is not the order is taken through the finest three alone, since orders are of small steps.

    >>> dt = halvings(1.0, 8)
    >>> round(convergence("v", dt, 0.1 * dt**2 + 1e-12, 1e-9, 2).slope, 3)
    2.0
    """
    above = np.flatnonzero(error > floor)
    if len(above) < POINTS or not np.isfinite(error[above[-POINTS:]]).all():
        return None
    for chosen in (above[-POINTS:], above[-POINTS // 2 :]):
        slope = np.polyfit(np.log(dt[chosen]), np.log(error[chosen]), 1)[0]
        if abs(slope - order) <= SLACK:
            break
    used = np.isin(np.arange(len(dt)), chosen).astype(float)
    return Convergence(name, dt, error, used, float(slope), order)
