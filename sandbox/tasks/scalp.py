"""Sixty-four electrodes on the scalp, in the order of BioSemi's cap, and maps of what they measure."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Electrode, inclination from the vertex and azimuth from the right ear to the nose [degrees]; the left half mirrors it.
RIGHT = (
    "Fp2 92 72 AF8 92 54 AF4 74 65 F2 50 68 F4 60 51 F6 75 41 F8 92 36 "
    "FT8 92 18 FC6 72 21 FC4 50 28 FC2 32 45 C2 23 0 C4 46 0 C6 69 0 "
    "T8 92 0 TP8 92 -18 CP6 72 -21 CP4 50 -28 CP2 32 -45 P2 50 -68 P4 60 -51 "
    "P6 75 -41 P8 92 -36 P10 115 -36 PO8 92 -54 PO4 74 -65 O2 92 -72 "
)
MIDDLE = "Fpz 92 90 AFz 69 90 Fz 46 90 FCz 23 90 Cz 0 0 CPz 23 -90 Pz 46 -90 POz 69 -90 Oz 92 -90 Iz 115 -90 "
ELECTRODES = (
    *("Fp1", "AF7", "AF3", "F1", "F3", "F5", "F7", "FT7", "FC5", "FC3", "FC1", "C1", "C3", "C5", "T7", "TP7"),
    *("CP5", "CP3", "CP1", "P1", "P3", "P5", "P7", "P9", "PO7", "PO3", "O1", "Iz", "Oz", "POz", "Pz", "CPz"),
    *("Fpz", "Fp2", "AF8", "AF4", "AFz", "Fz", "F2", "F4", "F6", "F8", "FT8", "FC6", "FC4", "FC2", "FCz", "Cz"),
    *("C2", "C4", "C6", "T8", "TP8", "CP6", "CP4", "CP2", "P2", "P4", "P6", "P8", "P10", "PO8", "PO4", "O2"),
)


def mirrored(name: str) -> str:
    """Return the electrode on the other side of the head.

    >>> mirrored("AF7"), mirrored("P10"), mirrored("Cz")
    ('AF8', 'P9', 'Cz')
    """
    letters = name.rstrip("0123456789")
    if letters == name:
        return name
    number = int(name[len(letters) :])
    return f"{letters}{number + (1 if number % 2 else -1)}"


def angles() -> Array:
    """Return inclination and azimuth of each electrode, `[64, 2]` [rad]."""
    right, middle = (
        dict(zip(words[::3], zip(map(float, words[1::3]), map(float, words[2::3]), strict=True), strict=True))
        for words in (RIGHT.split(), MIDDLE.split())
    )
    left = {mirrored(name): (inclination, 180 - azimuth) for name, (inclination, azimuth) in right.items()}
    return np.radians([(right | middle | left)[name] for name in ELECTRODES])


def positions() -> Array:
    """Return the electrodes on a sphere of radius 1, `[64, 3]`: to the right, to the front, upwards."""
    inclination, azimuth = angles().T
    flat = np.sin(inclination)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.cos(inclination)], 1)


def projected() -> Array:
    """Return the electrodes on a plane, `[64, 2]`: as far from the vertex as on the sphere, in the same direction."""
    inclination, azimuth = angles().T
    return np.stack([inclination * np.cos(azimuth), inclination * np.sin(azimuth)], 1)


def distances() -> Array:
    """Return the angles between electrodes, `[64, 64]` [rad]."""
    where = positions()
    return np.arccos(np.clip(where @ where.T, -1, 1))


def around(name: str, width: float) -> Array:
    """Return a topography `[64]`: 1 at an electrode, and a Gaussian of the angle to it with this width [rad]."""
    found: Array = np.exp(-0.5 * (distances()[ELECTRODES.index(name)] / width) ** 2)
    return found


@lru_cache
def interpolation(side: int = 32) -> Array:
    """Return the weights by which values of the electrodes make a map, `[side * side, 64]`.

    Piecewise cubic between electrodes (Clough and Tocher, by SciPy), 0 outside of them. Rows of a map go from the front
    to the back, columns from left to right.
    """
    from scipy.interpolate import CloughTocher2DInterpolator

    where = projected()
    low, high = where.min(0), where.max(0)
    x, y = np.meshgrid(np.linspace(low[0], high[0], side), np.linspace(high[1], low[1], side))
    made = CloughTocher2DInterpolator(where, np.eye(len(where)), fill_value=0.0, tol=1e-9)
    found: Array = made(np.stack([x.ravel(), y.ravel()], 1))
    return found


def maps(values: Array, side: int = 32) -> Array:
    """Return maps `[..., side, side]` of values of the electrodes `[..., 64]`."""
    found: Array = values @ interpolation(side).T
    return found.reshape(*values.shape[:-1], side, side)
