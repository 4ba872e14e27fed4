"""How far a threshold has risen, as a share of its end, in closed form for a learning rate along half a cosine."""

from __future__ import annotations

import math


def s_lats(progress: float) -> float:
    """Return the share for a rate that changes at every update, `x + sin(pi x) / pi`.

    Args:
        progress: share of the updates so far, x, from 0 to 1.

    >>> s_lats(0.0), s_lats(0.5), s_lats(1.0)
    (0.0, 0.8183098861837907, 1.0)

    Reference: Chen et al. 2023 (arXiv 2302.13019), from the authors' code.
    """
    return 1.0 if progress >= 1 else progress + math.sin(math.pi * progress) / math.pi


def lats(progress: float, epochs: int) -> float:
    """Return the share for a rate that changes at every epoch n of N, linear inside of an epoch.

        (1 + 2 n + sin(pi (n - 1/2) / N) / sin(pi / 2N)) / (2 (N + 1))

    with the slope `(1 + cos(pi n / N)) / (N + 1)` an epoch. These are the sums of `1 + cos(pi n / N)`, which are N + 1
    over all epochs from 0 to N - 1.

    Args:
        progress: share of the updates so far, from 0 to 1.
        epochs: N.

    >>> [round(lats(n / 4, 4), 3) for n in range(5)]
    [0.0, 0.4, 0.741, 0.941, 1.0]

    Reference: Chen et al. 2023 (arXiv 2302.13019), from the authors' code.
    """
    if progress >= 1:
        return 1.0
    n = math.floor(progress * epochs + 1e-9)  # so that the start of an epoch is not the end of the one before
    begun = 1 + 2 * n + math.sin(math.pi * (n - 0.5) / epochs) / math.sin(math.pi / (2 * epochs))
    slope = (1 + math.cos(math.pi * n / epochs)) / (epochs + 1)
    return begun / (2 * (epochs + 1)) + slope * (progress * epochs - n)


def pgh(progress: float, beta: float) -> float:
    """Return the share for a penalty that is scaled by `beta^x`, the integral of `beta^u (1 + cos pi u)` from 0 to x.

    Args:
        progress: share of the updates so far, x, from 0 to 1.
        beta: scale of the penalty at the end; 1 gives `s_lats`.

    Raises:
        ValueError: for a beta that is not above 0, whose logarithm the formula needs.

    >>> round(pgh(0.5, 0.1), 4), pgh(1.0, 0.1)
    (0.9218, 1.0)

    Reference: Chen et al. 2023 (arXiv 2302.13019), from the authors' code, whose default of 0 is not in its domain.
    """
    if not beta > 0:
        raise ValueError(f"beta={beta}: give the scale of the penalty at the end, above 0")
    log, x, square = math.log(beta), progress, math.pi**2
    if progress >= 1 or abs(log) < 1e-6:  # both quotients vanish at beta = 1
        return s_lats(progress)
    power = math.exp(log * x)  # beta^x
    turning = log * math.cos(math.pi * x) + math.pi * math.sin(math.pi * x)
    part = square * (power - 1) + (power - 2) * log**2 + power * log * turning
    return part / (square * (beta - 1) - 2 * log**2)
