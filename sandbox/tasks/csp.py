"""Common spatial patterns: filters over electrodes whose output varies most for one class and least for the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RIDGE = (
    1e-6  # share of the mean variance that is added to each electrode, so that averages to a reference can be undone
)


def spatial_filters(windows: Array, labels: NDArray[np.int64], components: int) -> Array:
    """Return the filters `[components, electrodes]` of two classes, the most telling ones first.

        C1 w = a (C0 + C1) w,    with w' (C0 + C1) w = 1

    C is the mean over windows of a class of their covariance, divided by its trace. Eigenvalues `a` run from 0 to 1,
    and those furthest from 1/2 come first. Signs are such that the largest weight is positive.

    Args:
        windows: `[n, electrodes, samples]`, for training.
        labels: `[n]`, 0 or 1.
        components: number of filters, at most that of the electrodes.

    Raises:
        ValueError: for more components than electrodes, a class without windows, and windows that do not vary.

    Reference: Ramoser, Mueller-Gerking & Pfurtscheller 2000, doi 10.1109/86.895946, recalled.
    """
    from scipy.linalg import eigh

    electrodes = windows.shape[1]
    if not 1 <= components <= electrodes:
        raise ValueError(f"components={components}: give from 1 to {electrodes}, the number of electrodes")
    if missing := [k for k in (0, 1) if not (labels == k).any()]:
        raise ValueError(f"no window for training has the class {missing[0]}: spatial filters need both classes")
    first, second = (covariance(windows[labels == k]) for k in (0, 1))
    values, vectors = eigh(second, first + second)
    order = np.argsort(-np.abs(values - 0.5), kind="stable")[:components]
    filters: Array = vectors[:, order].T
    largest = np.take_along_axis(filters, np.abs(filters).argmax(1)[:, None], 1)
    found: Array = filters * np.sign(largest)
    return found


def covariance(windows: Array) -> Array:
    """Return the mean of the covariances of windows, each divided by its trace, with a small ridge."""
    centred = windows - windows.mean(-1, keepdims=True)
    each = centred @ centred.transpose(0, 2, 1)
    whole = np.trace(each, axis1=1, axis2=2)
    if still := int((whole == 0).sum()):
        raise ValueError(f"{still} of {len(windows)} windows do not vary at any electrode: leave them out")
    mean = (each / whole[:, None, None]).mean(0)
    ridge: Array = mean + RIDGE / len(mean) * np.eye(len(mean))
    return ridge
