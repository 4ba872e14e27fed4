"""The model of the ear is checked against SciPy's spectra, closed forms, and a neuron stepped in a loop."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from sandbox.tasks.mel import integrate_and_fire, mel_energy, mel_filters, power, to_mel

RATE, FRAME, HOP, FFT = 8000, 200, 80, 256
FREQUENCIES = np.arange(FFT // 2 + 1) * RATE / FFT


@pytest.fixture
def noise():
    return np.random.default_rng(0).normal(size=(2, 4000))


def test_power_is_scipys_spectrogram(noise):
    window = np.hamming(FRAME)
    _, _, theirs = scipy.signal.stft(
        noise,
        RATE,
        window=window,
        nperseg=FRAME,
        noverlap=FRAME - HOP,
        nfft=FFT,
        boundary=None,
        padded=False,
        scaling="spectrum",
    )
    scale = window.sum() ** 2 / np.square(window).sum()  # SciPy divides the spectrum by the sum of the window
    ours = power(noise, FRAME, HOP, FFT)
    # both in float64; sums of 200 terms leave a relative error below 1e-12 of the largest
    np.testing.assert_allclose(ours, scale * np.abs(theirs.transpose(0, 2, 1)) ** 2, rtol=1e-9, atol=1e-12)


def test_power_obeys_parseval(noise):
    ours = power(noise, FRAME, HOP, FFT)
    both_sides = ours[..., 0] + 2 * ours[..., 1:-1].sum(-1) + ours[..., -1]
    window = np.hamming(FRAME)
    frames = np.stack([noise[:, t * HOP : t * HOP + FRAME] * window for t in range(ours.shape[1])], 1)
    np.testing.assert_allclose(both_sides / FFT * np.square(window).sum(), np.square(frames).sum(-1), rtol=1e-9)


def test_power_of_white_noise_is_its_variance():
    ours = power(3 * np.random.default_rng(1).normal(size=(400, FRAME)), FRAME, HOP, FFT)[:, 0, 20:-20]
    # a power is exponential, its deviation as large as its mean; 89 neighbours are worth 89 * 200 / 256 / 1.4 = 50
    # draws, as the window correlates them: five standard errors of 400 frames
    assert abs(ours.mean() / 9 - 1) < 5 / math.sqrt(400 * 50)


def test_the_scale_is_htks():
    assert to_mel(0.0) == 0
    assert to_mel(700.0) == pytest.approx(2595 * math.log10(2), rel=1e-12)
    # HTK's code has 1127 ln(1 + f / 700), the same to the five digits of 1127
    np.testing.assert_allclose(to_mel(FREQUENCIES), 1127 * np.log(1 + FREQUENCIES / 700), rtol=1e-4)
    assert to_mel(1000.0) == pytest.approx(1000, abs=0.1)  # by which the scale is defined


@pytest.mark.parametrize(("channels", "low", "high"), [(40, 50.0, 4000.0), (20, 0.0, 4000.0), (5, 300.0, 3400.0)])
def test_filters_are_triangles_that_sum_to_one(channels, low, high):
    filters = mel_filters(channels, FFT, RATE, low, high)
    centres = 700 * (10 ** (np.linspace(to_mel(low), to_mel(high), channels + 2) / 2595) - 1)  # [Hz], with both ends
    between = (centres[1] <= FREQUENCIES) & (centres[-2] >= FREQUENCIES)
    np.testing.assert_allclose(filters.sum(0)[between], 1, rtol=1e-9)
    for weights, left, right in zip(filters, centres[:-2], centres[2:]):
        inside = (left + 1e-6 < FREQUENCIES) & (right - 1e-6 > FREQUENCIES)  # [Hz] clear of rounding
        assert (weights[inside] > 0).all()
        assert (weights[~inside] < 1e-6).all()


@pytest.mark.parametrize("channel", range(20))
def test_a_sine_at_the_centre_of_a_channel_is_loudest_there(channel):
    filters = mel_filters(20, FFT, RATE, 50.0, 4000.0)
    frequency = 700 * (10 ** (np.linspace(to_mel(50.0), to_mel(4000.0), 22)[channel + 1] / 2595) - 1)
    sine = np.sin(2 * np.pi * frequency * np.arange(RATE // 4) / RATE)
    energy = mel_energy([sine], filters, FRAME, HOP, steps=10).value
    assert (energy.argmax(-1) == channel).all()


def test_channels_between_two_fourier_frequencies_are_refused():
    message = r"channels=200 from 50 to 4000 Hz: no Fourier frequency, 31.25 Hz apart, is in channel 2; use fewer"
    with pytest.raises(ValueError, match=message):
        mel_filters(200, FFT, RATE, 50.0, 4000.0)


@pytest.mark.parametrize(("samples", "frames"), [(199, 0), (200, 1), (279, 1), (280, 2), (920, 10), (9000, 10)])
def test_sounds_are_followed_by_silence_or_cut(samples, frames, noise):
    filters = mel_filters(5, FFT, RATE, 300.0, 3400.0)
    sound = np.resize(noise[0], samples)
    energy = mel_energy([sound, noise[1]], filters, FRAME, HOP, steps=10)
    assert energy.sounding.sum(1).tolist() == [frames, 10]
    assert energy.sounding[0].tolist() == [step < frames for step in range(10)]
    assert energy.value.shape == (2, 10, 5)
    for t in range(frames):
        alone = power(sound[None, t * HOP : t * HOP + FRAME], FRAME, HOP, FFT)[0, 0] @ filters.T
        np.testing.assert_allclose(energy.value[0, t], alone, rtol=1e-9)


DRIVES = st.lists(st.integers(-64, 256), min_size=1, max_size=40)  # in 64ths, so that all sums are exact


@given(drive=DRIVES, threshold=st.sampled_from([0.5, 1.0, 2.0]))
def test_spikes_are_those_of_a_neuron_stepped_in_a_loop(drive, threshold):
    v, expected = Fraction(0), []
    for u in drive:
        v += min(max(Fraction(u, 64), Fraction(0)), Fraction(threshold))
        spike = v >= threshold
        v -= Fraction(threshold) * spike
        assert 0 <= v < threshold
        expected.append(float(spike))
    assert integrate_and_fire(np.array(drive)[:, None] / 64, threshold)[:, 0].tolist() == expected


def test_channels_and_sounds_fire_apart():
    drive = np.random.default_rng(2).normal(size=(3, 20, 4))
    alone = [[integrate_and_fire(drive[n, :, c : c + 1], 1.5)[:, 0] for c in range(4)] for n in range(3)]
    assert np.array_equal(integrate_and_fire(drive, 1.5), np.transpose(alone, (0, 2, 1)))


@pytest.mark.parametrize("parts", [3, 7, 10, 49, 100])
def test_a_constant_share_of_the_threshold_fires_at_every_whole_sum(parts):
    """A drive of 1/n reaches the threshold at step n, 2n ..., counted in fractions; a sum of floats may fall short."""
    spikes = integrate_and_fire(np.full((5 * parts, 1), 1 / parts), 1.0).flatten()
    assert (np.flatnonzero(spikes) + 1).tolist() == [parts, 2 * parts, 3 * parts, 4 * parts, 5 * parts]
