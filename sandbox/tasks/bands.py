"""Bands of frequency of an EEG: what varies within each, and its differential entropy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Band = tuple[float, float]

BANDS: dict[str, Band] = {  # lowest and highest frequency [Hz], both included
    "delta": (1, 3),
    "theta": (4, 7),
    "alpha": (8, 13),
    "beta": (14, 30),
    "gamma": (31, 50),
}
SMALLEST = 1e-12  # share of the variance of a signal, in place of a band without any


def band_variances(x: Array, rate: float, bands: Sequence[Band]) -> Array:
    """Return the variance of signals within each band, `[..., samples] -> [..., bands]`, from their periodogram.

    Variances of bands that share no frequency add up to that of the whole (Parseval).

    Raises:
        ValueError: for a band without a frequency of the periodogram, whose distance is `rate / samples`.

    >>> t = np.arange(128) / 128
    >>> band_variances(2 * np.sin(2 * np.pi * 10 * t), 128, [(8, 13), (14, 30)]).round(6).tolist()
    [2.0, 0.0]
    """
    samples = x.shape[-1]
    power = 2 * np.abs(np.fft.rfft(x)) ** 2 / samples**2
    if samples % 2 == 0:
        power[..., -1] /= 2
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    inside = [(frequency >= low) & (frequency <= high) for low, high in bands]
    for band, chosen in zip(bands, inside, strict=True):
        if not chosen.any():
            raise ValueError(
                f"a window of {samples} samples at {rate:g} Hz has no frequency from {band[0]:g} to {band[1]:g} Hz: "
                "make windows longer, or bands wider"
            )
    return np.stack([power[..., chosen].sum(-1) for chosen in inside], -1)


def differential_entropy(variance: Array) -> Array:
    """Return the differential entropy of a normal distribution, `0.5 ln(2 pi e variance)` [nat].

    >>> round(float(differential_entropy(np.array(1.0))), 4)
    1.4189

    Reference: Shi, Jiao & Lu 2013, doi 10.1109/EMBC.2013.6611075, recalled.
    """
    found: Array = 0.5 * np.log(2 * math.pi * math.e * variance)
    return found


def band_entropies(x: Array, rate: float, bands: Sequence[Band]) -> Array:
    """Return the differential entropy of signals within each band [nat], `[..., samples] -> [..., bands]`.

    A band has at least 1e-12 of the variance of its signal, so that one without any has an entropy, too. In other
    units, all entropies of a signal move by the same amount, the logarithm of their ratio.

    Raises:
        ValueError: for a signal that does not vary, and bands as `band_variances`.

    >>> t = np.arange(128) / 128
    >>> band_entropies(2 * np.sin(2 * np.pi * 10 * t), 128, [(8, 13), (14, 30)]).round(4).tolist()
    [1.7655, -12.05]
    """
    whole = x.var(-1, keepdims=True)
    if not (whole > 0).all():
        raise ValueError("a signal has no variance, of which no entropy is finite: leave it out, or fill it in")
    return differential_entropy(np.maximum(band_variances(x, rate, bands), SMALLEST * whole))
