"""Simulated sources of an EEG while somebody listens to one of two talkers: responses to speech, alpha, and noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sandbox.tasks.scalp import around, distances

Array = NDArray[np.float64]
LEFT, RIGHT = 0, 1  # the side of the attended talker
SPEECH = (0.5, 8.0)  # [Hz] within which envelopes vary
ALPHA = (8.0, 13.0)  # [Hz]
SLOWEST = 0.5  # [Hz] of noise
REACH = 0.5  # [rad] over which noise is alike
PEAKS = ((0.05, 0.5, 0.02), (0.1, -1.0, 0.02), (0.19, 0.8, 0.035))  # of the response: time [s], height, width [s]
LONG = 0.4  # [s] of the response
WIDTH = 0.4  # [rad] of a topography


class Sources(NamedTuple):
    """What the electrodes measure, in parts `[64, samples]` whose sum is the EEG."""

    attended: Array
    ignored: Array
    alpha: Array
    noise: Array

    @property
    def eeg(self) -> Array:
        """The sum of all parts."""
        return self.attended + self.ignored + self.alpha + self.noise


def coloured(
    rng: np.random.Generator, shape: tuple[int, ...], rate: float, band: tuple[float, float], slope: float
) -> Array:
    """Return noise `[..., samples]` whose power falls with frequency as `f ** -slope` in a band, and is 0 elsewhere.

    Each row has a mean of 0 and a variance of 1 in expectation.

    >>> x = coloured(np.random.default_rng(0), (500, 128), 128, (8, 13), 0.0)
    >>> round(float(x.var()), 1)
    1.0
    """
    samples = shape[-1]
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    inside = (frequency >= band[0]) & (frequency <= band[1])
    power = np.where(inside, np.maximum(frequency, 1e-9) ** -slope, 0.0)
    size = (*shape[:-1], len(frequency))
    drawn = rng.standard_normal(size) + 1j * rng.standard_normal(size)
    made: Array = np.fft.irfft(np.sqrt(power) * drawn, samples)
    half = samples % 2 == 0 and inside[-1]  # of the highest frequency only the real part counts
    total = 4 * power.sum() - (3 * power[-1] if half else 0.0)
    found: Array = made * samples / np.sqrt(total)
    return found


def envelope(rng: np.random.Generator, samples: int, rate: float) -> Array:
    """Return how the envelope of a talker departs from its mean `[samples]`: power as 1 / f from 0.5 to 8 Hz."""
    return coloured(rng, (samples,), rate, SPEECH, 1.0)


def response(rate: float) -> Array:
    """Return the temporal response function: peaks at 50, 100 and 190 ms behind a change of the envelope."""
    t = np.arange(round(LONG * rate)) / rate
    peaks = [height * np.exp(-0.5 * ((t - at) / width) ** 2) for at, height, width in PEAKS]
    found: Array = np.sum(peaks, 0)
    return found


def topography(side: int) -> Array:
    """Return how strongly each electrode sees the response to the talker on a side, `[64]`.

    In front of the vertex both are seen alike. Above the ears they are seen with opposite signs, positive on the other
    side of the talker, so that the electrodes measure about the same power for both and differ in what varies together.
    """
    across = around("T8", WIDTH) - around("T7", WIDTH)
    return around("FCz", WIDTH) + (across if side == LEFT else -across)


def evoked(rng: np.random.Generator, side: int, samples: int, rate: float) -> Array:
    """Return the response of the electrodes to a talker on a side `[64, samples]`."""
    heard = np.convolve(envelope(rng, samples, rate), response(rate))[:samples]
    return topography(side)[:, None] * heard


def lateralised(rng: np.random.Generator, attended: int, samples: int, rate: float, index: float) -> Array:
    """Return alpha `[64, samples]` at the back of the head, of more power on the side that is attended.

    The power is `1 + index` on that side and `1 - index` on the other.
    """
    drawn = coloured(rng, (2, samples), rate, ALPHA, 0.0)
    power = [1 + index if side == attended else 1 - index for side in (LEFT, RIGHT)]
    where = np.stack([around("PO7", WIDTH), around("PO8", WIDTH)], 1)
    return where @ (np.sqrt(power)[:, None] * drawn)


def background(rng: np.random.Generator, samples: int, rate: float) -> Array:
    """Return noise `[64, samples]` whose power falls as 1 / f, with a correlation of `exp(-angle / 0.5 rad)`."""
    mixing = np.linalg.cholesky(np.exp(-distances() / REACH))
    found: Array = mixing @ coloured(rng, (len(mixing), samples), rate, (SLOWEST, rate / 2), 1.0)
    return found


def sources(
    rng: np.random.Generator,
    attended: int,
    samples: int,
    rate: float,
    *,
    snr: float,
    ignored: float,
    alpha: float,
    lateralisation: float,
) -> Sources:
    """Return the sources of one trial.

    Args:
        rng: generator.
        attended: side of the attended talker, 0 (left) or 1 (right).
        samples: of the trial.
        rate: samples in a second.
        snr: power of both responses together, over electrodes and samples, relative to the noise [dB].
        ignored: amplitude of the response to the ignored talker, relative to that of the attended one.
        alpha: power of alpha relative to the noise [dB].
        lateralisation: index of alpha, from 0 to 1.
    """
    noise = background(rng, samples, rate)
    talkers = [evoked(rng, side, samples, rate) for side in (LEFT, RIGHT)]
    first, second = talkers[attended], ignored * talkers[1 - attended]
    waves = lateralised(rng, attended, samples, rate, lateralisation)
    gain = amplitude(noise, first + second, snr)
    return Sources(gain * first, gain * second, amplitude(noise, waves, alpha) * waves, noise)


def amplitude(noise: Array, signal: Array, level: float) -> float:
    """Return the factor by which the power of a signal reaches a level relative to noise [dB]."""
    return float(np.sqrt((noise**2).mean() / (signal**2).mean() * 10 ** (level / 10)))
