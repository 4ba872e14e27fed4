"""Simulated attention: levels, spectra, correlations and sides as stated, and splits of whole trials."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sandbox.tasks.attention_eeg import AttentionEEG
from sandbox.tasks.attention_sources import (
    LEFT,
    RIGHT,
    background,
    coloured,
    envelope,
    lateralised,
    response,
    topography,
)
from sandbox.tasks.checked import checked
from sandbox.tasks.scalp import ELECTRODES, around, distances, mirrored

SHORT = {"train": 4, "validation": 2, "test": 2, "seconds": 3.0, "components": 4}
MIRROR = [ELECTRODES.index(mirrored(name)) for name in ELECTRODES]


def decibels(signal, noise):
    return 10 * np.log10((signal**2).mean() / (noise**2).mean())


@pytest.mark.parametrize(("snr", "alpha", "ignored"), [(-13.0, -6.0, 0.5), (3.0, -20.0, 0.0)])
def test_levels_are_as_stated(snr, alpha, ignored):
    task = AttentionEEG(**SHORT, snr=snr, alpha=alpha, ignored=ignored)
    found = task.sources(0, 3)
    assert decibels(found.attended + found.ignored, found.noise) == pytest.approx(snr)
    assert decibels(found.alpha, found.noise) == pytest.approx(alpha)
    np.testing.assert_allclose(found.eeg, found.attended + found.ignored + found.alpha + found.noise)
    assert found.ignored.any() == (ignored > 0)


def test_the_ignored_talker_is_as_much_weaker():
    """The same draws with talkers of one strength."""
    weak, strong = (AttentionEEG(**SHORT, ignored=ignored).sources(0, 1) for ignored in (0.5, 1.0))
    ratios = [np.abs(each.ignored).max() / np.abs(each.attended).max() for each in (weak, strong)]
    assert ratios[0] == pytest.approx(0.5 * ratios[1])
    assert 0.3 < ratios[1] < 3


@pytest.mark.parametrize("number", [0, 1])
def test_each_talker_is_seen_as_from_that_side(number):
    """A response has one time course at all electrodes, times the topography of the talker's side."""
    task = AttentionEEG(**SHORT)
    found, side = task.sources(0, number), task.side(number)
    assert side == number
    for part, where in ((found.attended, topography(side)), (found.ignored, topography(1 - side))):
        course = where @ part / (where @ where)
        np.testing.assert_allclose(part, where[:, None] * course, atol=1e-12)
        assert course.std() > 0.01


def slope(x, low, high, rate=128):
    """The slope of the mean power over frequency, both on logarithmic axes."""
    power = (np.abs(np.fft.rfft(x)) ** 2).mean(tuple(range(x.ndim - 1)))
    frequency = np.fft.rfftfreq(x.shape[-1], 1 / rate)
    inside = (frequency >= low) & (frequency <= high)
    return np.polyfit(np.log(frequency[inside]), np.log(power[inside]), 1)[0], power, frequency


def test_envelopes_and_noise_fall_as_one_over_frequency():
    rng = np.random.default_rng(0)
    found, power, frequency = slope(np.stack([envelope(rng, 1280, 128) for _ in range(200)]), 0.5, 8)
    assert found == pytest.approx(-1, abs=0.05)
    outside = (frequency < 0.45) | (frequency > 8.05)
    assert power[outside].max() < 1e-20 * power.max()
    assert slope(np.stack([background(rng, 1280, 128) for _ in range(5)]), 0.5, 60)[0] == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize(("band", "power"), [((0.5, 64.0), 1.0), ((8.0, 13.0), 0.0), ((1.0, 20.0), 2.0)])
def test_coloured_noise_has_a_variance_of_one(band, power):
    x = coloured(np.random.default_rng(1), (2000, 256), 128, band, power)
    np.testing.assert_allclose(x.mean(1), 0, atol=1e-12)
    assert x.var() == pytest.approx(1, abs=0.05)


def test_noise_is_alike_in_neighbouring_electrodes():
    """Correlations of 120 seconds of noise of few slow components, to 0.1 on average."""
    x = background(np.random.default_rng(2), 128 * 120, 128)
    assert np.abs(np.corrcoef(x) - np.exp(-distances() / 0.5)).mean() < 0.1


def test_the_response_has_its_peaks_where_they_are_stated():
    curve = response(1000)
    rises = [n for n in range(1, len(curve) - 1) if (curve[n] - curve[n - 1]) * (curve[n + 1] - curve[n]) < 0]
    assert len(curve) == 400
    assert np.abs(np.array(rises) - [46, 101, 190]).max() <= 3  # overlapping peaks draw each other a little
    assert (np.sign(curve[rises]) == [1, -1, 1]).all()


def test_talkers_on_both_sides_are_seen_as_mirror_images_of_about_the_same_power():
    left, right = topography(LEFT), topography(RIGHT)
    np.testing.assert_allclose(left[MIRROR], right, atol=1e-12)
    assert left[ELECTRODES.index("T8")] > 0.9 > -0.9 > left[ELECTRODES.index("T7")]
    assert np.abs(left**2 - right**2).max() < 0.25 * (left**2).max()
    assert np.abs(left - right).max() > 1.9


def test_alpha_is_stronger_on_the_attended_side():
    """Powers at the centres of both sides, `1.4 / 0.6`, and nothing outside of the band."""
    rng = np.random.default_rng(3)
    x = np.stack([lateralised(rng, LEFT, 1280, 128, 0.4) for _ in range(60)])
    power = (x**2).mean((0, 2))
    left, right = power[ELECTRODES.index("PO7")], power[ELECTRODES.index("PO8")]
    across = around("PO8", 0.4)[ELECTRODES.index("PO7")] ** 2
    assert left / right == pytest.approx((1.4 + 0.6 * across) / (0.6 + 1.4 * across), rel=0.1)
    frequency = np.fft.rfftfreq(1280, 1 / 128)
    outside = np.abs(np.fft.rfft(x[0, 0]))[(frequency < 7.95) | (frequency > 13.05)]
    assert outside.max() < 1e-9


def test_trials_take_turns_and_belong_to_one_split():
    task = AttentionEEG(**SHORT)
    data = checked(task.load(), "attention_eeg")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 6, 6]
    assert data.train.y.tolist() == [0, 0, 0, 1, 1, 1] * 2
    assert data.shape == (4 * 128 + 5 * 32 * 32,)
    drawn = [task.trial(split, number).eeg for split in range(3) for number in range(2)]
    assert all(not np.array_equal(a, b) for n, a in enumerate(drawn) for b in drawn[:n])


def test_the_seed_decides_everything():
    one, same, other = (AttentionEEG(**SHORT, seed=seed).load() for seed in (1, 1, 2))
    assert one.checksum == same.checksum != other.checksum
    assert not any(torch.equal(a, b) for a, b in zip(one.test.x, other.test.x, strict=True))
    assert torch.equal(AttentionEEG(**{**SHORT, "train": 4, "test": 1}, seed=1).load().test.x, one.test.x[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": 1}, "train=1: give at least 2 trials, one for each side"),
        ({"test": 0}, "test=0: give a whole number, at least 1"),
        ({"ignored": -0.1}, "ignored=-0.1, lateralisation=0.25: give an amplitude of at least 0, and an index from 0"),
        ({"lateralisation": 1.5}, "lateralisation=1.5: give"),
        ({"seconds": 0.0}, "seconds=0.0: give the length of a trial, above 0 and at most an hour"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AttentionEEG(**options)


def test_a_window_longer_than_a_trial_is_refused():
    with pytest.raises(
        ValueError, match="window=4.0: a window of 512 samples is longer than a trial, of which one has"
    ):
        AttentionEEG(**SHORT, window=4.0).load()
