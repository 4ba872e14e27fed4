"""What tasks of speech hear: lengths, silence, sounds that would be padding alone, and how fast they hear it."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks.checked import checked
from sandbox.tasks.fsdd import FSDD, Recording
from sandbox.tasks.hearing import Ear, Scale, as_loud
from sandbox.tasks.mel import mel_energy


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=samples)


def test_the_number_of_frames_is_that_of_the_energy():
    ear = Ear(8000, steps=20)
    for samples in (200, 201, 279, 280, 1000, 5000):
        sounding = mel_energy([noise(samples)], ear.filters(), 200, 80, 20).sounding
        assert min(ear.frames(samples), 20) == sounding.sum()
    assert ear.frames(199) == ear.frames(0) == 0


def test_a_longer_transform_sees_the_same_power():
    """Zeros behind a frame put frequencies between those there are; a sum over a wide channel stays the same."""
    short, long = (Ear(8000, channels=5, steps=40, fft=fft) for fft in (256, 2048))
    a, b = (10 ** (ear.levels([noise(4000)], ["a"]).value / 10) / ear.filters().sum(1) for ear in (short, long))
    np.testing.assert_allclose(a, b, rtol=0.1)  # of frames of 25 ms; the grid samples each ripple twice at least


def test_a_sound_without_a_whole_frame_is_named():
    ear = Ear(8000, steps=5)
    message = "b.wav has 199 samples at 8000 Hz, 24.875 ms; wanted a frame of 25 ms at least, because all of its steps"
    with pytest.raises(ValueError, match=re.escape(message)):
        ear.levels([noise(400), noise(199)], ["a.wav", "b.wav"])


def test_a_sound_with_more_frames_than_steps_is_cut_or_named():
    ear = Ear(8000, steps=5)
    long, short = noise(1000), noise(520)
    whole, cut = ear.levels([long], ["a.wav"]), ear.levels([short], ["a.wav"], "refuse")
    assert whole.sounding.all()
    assert cut.sounding.all()
    message = "a.wav lasts 125 ms, 11 frames of 10 ms; wanted at most steps=5: give steps=11, or late='cut'"
    with pytest.raises(ValueError, match=re.escape(message)):
        ear.levels([long], ["a.wav"], "refuse")


def test_silence_is_heard_and_never_fires():
    ear = Ear(8000, steps=10)
    level = ear.levels([noise(900), np.zeros(900)], ["a", "b"])
    scale = Scale.of(level.value[:1], level.sounding[:1])
    assert level.sounding[1].sum() == 9
    assert not ear.coded(level, scale)[1].any()


@pytest.mark.parametrize("offset", [1.0, -0.3])
def test_an_offset_is_not_loud(offset):
    """A tone of 0.01 on an offset is as loud as the tone; a constant is silent, and a small mean stays to the bit."""
    ear, tone = Ear(8000, steps=10), 0.01 * np.sin(2 * np.pi * 440 * np.arange(900) / 8000)
    tone -= tone.mean()
    moved, still, small = tone + offset, np.full(900, offset), tone + 0.001
    level = ear.levels([tone, moved, still, np.zeros(900)], ["a"] * 4).value
    np.testing.assert_allclose(level[1], level[0], atol=1e-6)  # [dB]; rounding of 1 + 0.01 in float64
    np.testing.assert_array_equal(level[2], level[3])
    np.testing.assert_array_equal(as_loud(small), small / np.sqrt(np.mean(small**2)))


@settings(deadline=None, max_examples=50)
@given(st.floats(-0.0099, 0.0099))
def test_an_offset_makes_a_sound_quieter_by_a_decibel_and_a_quarter_at_most(offset):
    tone = np.where(np.arange(800) % 2, 0.01, -0.01)
    change = 20 * np.log10(as_loud(tone + offset).std())
    assert -1.2501 < change < 1e-9


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1e300, "b.wav has samples up to 1e+300; wanted -2^31 to 2^31 at most: divide it, or leave it out"),
        (-np.inf, "b.wav has samples that are NaN or infinite; wanted finite numbers"),
        (np.nan, "b.wav has samples that are NaN or infinite"),
    ],
)
def test_a_sound_whose_power_is_no_number_is_named(value, message):
    sound = noise(900)
    sound[5] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        Ear(8000).levels([noise(900), sound], ["a.wav", "b.wav"])


@pytest.mark.parametrize("fft", [199, 2**17])
def test_a_transform_is_as_long_as_a_frame(fft):
    with pytest.raises(ValueError, match=rf"fft={fft}: give from 200 points, those of a frame, to 65536"):
        Ear(8000, fft=fft)


def test_lengths_say_where_recordings_of_digits_end():
    few = [Recording(d, "theo", take, noise(1500 + 100 * take, d)) for d in range(10) for take in range(12)]
    data = checked(FSDD(lengths=True).dataset(few), "fsdd")
    assert [len(part) for part in data[:3]] == [20, 50, 50]
    assert data.test.lengths.tolist() == [1 + (1300 + 100 * take) // 80 for _ in range(10) for take in range(5)]
    assert FSDD().dataset(few).test.lengths is None
    with pytest.raises(ValueError, match=r"0_theo_0.wav has 100 samples at 8000 Hz"):
        FSDD().dataset([Recording(0, "theo", 0, noise(100)), *few])


@pytest.mark.parametrize(
    ("rate", "options"),
    [(8000, {"steps": 98}), (16000, {"channels": 140, "high": 8000.0, "steps": 100, "fft": 2048, "code": "levels"})],
)
def test_hearing_is_a_hundred_times_faster_than_speech(rate, options):
    """Of the time of one core, the best of three; benchmarks/speech.py has ratios of 400 and more."""
    ear, sounds = Ear(rate, **options), [noise(rate, seed) for seed in range(10)]
    took = []
    for _ in range(3):
        begun = time.thread_time()
        level = ear.levels(sounds, ["a"] * 10)
        ear.coded(level, Scale.of(level.value, level.sounding))
        took.append(time.thread_time() - begun)
    assert 10 / min(took) > 100
