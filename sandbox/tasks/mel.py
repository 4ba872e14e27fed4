"""From sound to spikes: the energy of a mel filter bank, and an integrate-and-fire neuron for each channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-9  # of a sum of thousands of shares of a threshold in float64; less than 1e-3, which would shift spikes
CHUNK = 256  # sounds whose spectra are in memory at a time, at most
POINTS = 2**21  # of spectra in memory, as a rule: 16 bytes each


def to_mel(hertz: Floats | float) -> Floats:
    """Convert Hz to the mel scale as in HTK, `2595 log10(1 + f / 700)`.

    Reference: O'Shaughnessy 1987, Speech Communication: Human and Machine, p. 150; Young et al. 2006, The HTK Book,
    section "Filterbank Analysis".
    """
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_filters(channels: int, fft: int, rate: float, low: float, high: float) -> Floats:
    """Build triangular mel filters, each from one neighbour's centre to the other's, `[channels, fft // 2 + 1]`.

        W[c, k] = max(0, 1 - |mel(k rate / fft) - m[c]| / d),   m[c] = mel(low) + (c + 1) d,
        d = (mel(high) - mel(low)) / (channels + 1)

    `rate`, `low` and `high` in Hz. Raises ValueError for a channel so narrow that no Fourier frequency is in it.

    >>> mel_filters(channels=3, fft=8, rate=8000.0, low=0.0, high=4000.0).round(2).tolist()
    [[0.0, 0.14, 0.0, 0.0, 0.0], [0.0, 0.86, 0.16, 0.0, 0.0], [0.0, 0.0, 0.84, 0.5, 0.0]]

    Reference: Young et al. 2006, The HTK Book, section "Filterbank Analysis".
    """
    bottom, top = to_mel(low), to_mel(high)
    width = (top - bottom) / (channels + 1)
    centres = bottom + width * np.arange(1, channels + 1)
    frequencies = to_mel(np.arange(fft // 2 + 1) * rate / fft)
    filters: Floats = np.clip(1 - np.abs(frequencies - centres[:, None]) / width, 0, None)
    empty = np.flatnonzero(filters.sum(1) == 0)
    if empty.size:
        raise ValueError(
            f"channels={channels} from {low:g} to {high:g} Hz: no Fourier frequency, {rate / fft:g} Hz "
            f"apart, is in channel {empty[0]}; use fewer channels or longer frames"
        )
    return filters


def power(sounds: Floats, frame: int, hop: int, fft: int) -> Floats:
    """Compute the power of frames under a Hamming window w, `[n, samples]` to `[n, steps, fft // 2 + 1]`.

        P[t, k] = |sum_j w[j] s[t hop + j] exp(-2 pi i j k / fft)|^2 / sum_j w[j]^2

    With this scaling the expected power of white noise is its variance, at every frequency.
    """
    window = np.hamming(frame)
    frames = np.lib.stride_tricks.sliding_window_view(sounds, frame, axis=1)[:, ::hop]  # [n, steps, frame]
    spectrum = np.fft.rfft(frames * window, fft)
    found: Floats = np.abs(spectrum) ** 2 / np.square(window).sum()
    return found


class Energy(NamedTuple):
    """Energy in channels, and the frames that lie within the sound."""

    value: Floats  # [n, steps, channels]
    sounding: NDArray[np.bool_]  # [n, steps]


def mel_energy(sounds: Sequence[Floats], filters: Floats, frame: int, hop: int, steps: int) -> Energy:
    """Compute the energy of the first `steps` frames of sounds, of `frame` samples each and `hop` samples apart.

    A sound that ends earlier is followed by silence; a remainder shorter than a frame does not count as sounding.
    """
    length = (steps - 1) * hop + frame
    padded = np.zeros((len(sounds), length))
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = sound[:length]
    fft = 2 * (filters.shape[1] - 1)
    rows = min(CHUNK, max(1, POINTS // (steps * filters.shape[1])))
    chunks = (padded[start : start + rows] for start in range(0, len(padded), rows))
    energy = np.concatenate([power(chunk, frame, hop, fft) @ filters.T for chunk in chunks])
    whole = 1 + (np.array([len(sound) for sound in sounds]) - frame) // hop
    return Energy(energy, np.arange(steps) < whole[:, None])


def integrate_and_fire(drive: Floats, threshold: float) -> Floats:
    """Return spikes, 0 or 1, of one neuron without leak per channel, `[..., steps, channels]`.

        v[t] = v[t-1] + u[t] - threshold s[t-1],   s[t] = 1 where v[t] >= threshold

    Here u is the drive clipped to 0..threshold, so that one spike per step is enough. Since v is the remainder of the
    input, all steps are computed at once: s[t] = floor(U[t] / threshold) - floor(U[t-1] / threshold), where U is the
    sum of u. A sum that rounding left 1e-9 thresholds short of a whole number has reached it.

    >>> integrate_and_fire(np.array([[0.5], [0.75], [-3.0], [0.75], [9.0]]), threshold=1.0).T.tolist()
    [[0.0, 1.0, 0.0, 1.0, 1.0]]
    """
    fired = np.floor(np.cumsum(np.clip(drive / threshold, 0, 1), axis=-2) + ROUNDING)
    return np.diff(fired, axis=-2, prepend=0)
