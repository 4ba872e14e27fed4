"""Speech Commands from a folder as published, filled here: splits by the lists, files of any kind, bad ones named."""

from __future__ import annotations

import re
import wave

import numpy as np
import pytest
import scipy.io.wavfile
import torch

from sandbox.tasks import published
from sandbox.tasks.checked import checked
from sandbox.tasks.encode import AsRecorded
from sandbox.tasks.files import VARIABLE
from sandbox.tasks.gsc import GSC, WORDS
from sandbox.tasks.hearing import Scale
from sandbox.tasks.loader import Loader
from sandbox.tasks.wav import resampled

SMALL = {"channels": 20, "fft": 512}


def sound(word, take, samples=16000):
    """Noise beside a tone that tells the word."""
    rng = np.random.default_rng([word, take])
    return 0.3 * np.sin(2 * np.pi * (200 + 100 * word) * np.arange(samples) / 16000) + 0.05 * rng.normal(size=samples)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four recordings of each word: numbers 0 and 1 for training, 2 for validation, 3 for testing."""
    cards = {"recordings": {"train": [70, 71], "validation": [35], "test": [35]}, "name": "Small"}
    monkeypatch.setattr(published.yaml, "safe_load", lambda text: cards)
    root = tmp_path / "gsc"
    for k, word in enumerate(WORDS):
        (root / word).mkdir(parents=True)
        for take in range(4):
            put(root / word / f"{take:08x}_nohash_0.wav", sound(k, take, 16000 - 2000 * take))
    (root / "_background_noise_").mkdir()
    put(root / "_background_noise_" / "white.wav", sound(0, 9))
    for name, take in (("validation", 2), ("testing", 3)):
        (root / f"{name}_list.txt").write_text("".join(f"{word}/{take:08x}_nohash_0.wav\n" for word in WORDS[::-1]))
    return tmp_path


def put(path, samples, rate=16000):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", None))
        file.writeframes((samples * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2").tobytes())


def everything(split):
    return split.take(torch.arange(len(split)), torch.Generator())


def test_splits_are_those_of_the_lists(folder):
    data = checked(GSC(**SMALL).load(folder), "gsc")
    assert [len(split) for split in data[:3]] == [70, 35, 35]
    assert (data.shape, data.classes) == ((20,), 35)
    for split, takes in zip(data[:3], ((0, 1), (2,), (3,))):
        assert split.y.tolist() == [k for k in range(35) for _ in takes]
        assert split.names == [f"{word}/{take:08x}_nohash_0.wav" for word in WORDS for take in takes]
    assert not GSC().exchangeable


def test_levels_are_those_of_one_sound_after_another(folder):
    task = GSC(**SMALL)
    data, ear = task.load(folder), task.ear()
    train = [ear.levels([data.train.sound(name)], [name]) for name in data.train.names]
    scale = Scale.of(*(np.concatenate(each) for each in zip(*train)))
    x, _ = everything(data.test)
    for row in (0, 17, 34):
        level = ear.levels([data.test.sound(data.test.names[row])], ["a"])
        wanted = np.where(level.sounding[..., None], (level.value - scale.mean) / scale.spread, 0)[0]
        np.testing.assert_allclose(x[row], wanted, atol=1e-6)  # float32 of numbers near 1
    known, _ = everything(data.train)
    heard = known[(known != 0).any(2)]
    assert heard.mean(0).abs().max() < 1e-5
    assert (heard.std(0, unbiased=False) - 1).abs().max() < 1e-5


def test_some_recordings_set_the_scale(folder, monkeypatch):
    monkeypatch.setattr("sandbox.tasks.gsc.SCALED", 7)
    train = GSC(**SMALL).load(folder).train
    seen = []
    monkeypatch.setattr(train, "sound", lambda name: seen.append(name) or sound(0, 0))
    train.measured()
    assert [train.names.index(name) for name in seen] == [0, 12, 23, 34, 46, 58, 69]  # 11.5 apart


def test_the_tone_of_a_word_is_where_it_belongs(folder):
    x, _ = everything(GSC(channels=40, fft=1024, low=100.0).load(folder).test)
    loudest = x[:, :50].mean(1).argmax(1)
    assert loudest[0] < loudest[12] < loudest[34]


def test_batches_say_where_recordings_end(folder):
    data = checked(GSC(lengths=True, **SMALL).load(folder), "gsc")
    assert data.train.lengths.tolist() == [98, 86] * 35  # of 16,000 and 14,000 samples, frames of 400, 160 apart
    batch = next(iter(Loader(data.train, AsRecorded(), 70, shuffle=False)))
    assert batch.lengths.equal(data.train.lengths)
    assert not batch.x[86:, 1].any()
    assert batch.x[:86, 1].any(1).all()
    assert GSC(**SMALL).load(folder).train.lengths is None


def test_spikes_are_zeros_and_ones(folder):
    x, _ = everything(GSC(code="spikes", **SMALL).load(folder).validation)
    assert x.unique().tolist() == [0, 1]
    assert 0.05 < x.mean() < 0.3


def test_files_of_other_kinds_sound_alike(folder):
    """24 bits, floating point, stereo and other rates: levels in deviations, of which rounding and filters take little."""
    split = GSC(low=100.0, high=3500.0, **SMALL).load(folder).test
    plain = split.take(torch.tensor([7]), torch.Generator())[0]
    path = folder / "gsc" / split.names[7]
    _, whole = scipy.io.wavfile.read(path)
    exact = whole / 2**15
    for rate in (8000, 16000, 44100):
        other = resampled(exact, 16000, rate)
        for kind in ("24", "float", "stereo"):
            if kind == "24":
                with wave.open(str(path), "wb") as file:
                    file.setparams((1, 3, rate, 0, "NONE", None))
                    bits = (other * 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
                    file.writeframes(bits.tobytes())
            else:
                scipy.io.wavfile.write(path, rate, (np.stack([other, other], 1) if kind == "stereo" else other))
            found = split.take(torch.tensor([7]), torch.Generator())[0]
            assert (found - plain).abs().max() < (1e-3 if rate == 16000 else 0.15)


def test_recordings_that_do_not_fit_are_named(folder):
    path = folder / "gsc" / "yes" / "00000003_nohash_0.wav"
    for samples, message in (
        (399, "yes/00000003_nohash_0.wav has 399 samples at 16000 Hz, 24.9375 ms; wanted a frame of 25 ms at least"),
        (
            18000,
            "yes/00000003_nohash_0.wav lasts 1125 ms, 111 frames of 10 ms; wanted at most steps=100: give steps=111",
        ),
    ):
        put(path, sound(0, 0, samples))
        for lengths in (False, True):
            with pytest.raises(ValueError, match=re.escape(message)):
                everything(GSC(lengths=lengths, **SMALL).load(folder).test)
    assert everything(GSC(late="cut", lengths=True, **SMALL).load(folder).test)[0].shape == (35, 100, 20)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a WAV file (it is empty)")):
        everything(GSC(**SMALL).load(folder).test)


def test_silence_is_a_sample(folder):
    put(folder / "gsc" / "bed" / "00000003_nohash_0.wav", np.zeros(16000))
    assert not everything(GSC(code="spikes", **SMALL).load(folder).test)[0][1].any()


def test_a_list_of_windows_is_read(folder):
    """With a mark of UTF-8 in front, and two bytes at each end of a line."""
    before = GSC(**SMALL).load(folder).validation.names
    path = folder / "gsc" / "validation_list.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert GSC(**SMALL).load(folder).validation.names == before


def test_lists_and_folders_with_something_else_are_named(folder):
    root = folder / "gsc"
    testing = root / "testing_list.txt"
    good = testing.read_text()
    for text, message in (
        ("yes/../../secret.wav\n", "testing_list.txt has 'yes/../../secret.wav'; wanted lines such as yes/"),
        ("/etc/passwd\n", "testing_list.txt has '/etc/passwd'; wanted"),
        ("hello/00000003_nohash_0.wav\n", "has 'hello/00000003_nohash_0.wav'; wanted"),
        ("\n", "testing_list.txt has no line; wanted"),
        ("yes/0000000a_nohash_0.wav\n", "1 are missing, such as yes/0000000a_nohash_0.wav: unpack the archive again"),
        ("yes/00000002_nohash_0.wav\n", "some are in both: unpack the archive again"),
    ):
        testing.write_text(text)
        with pytest.raises(ValueError, match=re.escape(message)):
            GSC(**SMALL).load(folder)
    testing.unlink()
    with pytest.raises(ValueError, match=r"testing_list.txt is missing: unpack the archive again"):
        GSC(**SMALL).load(folder)
    testing.write_text(good)
    for path in (root / "wow").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"wow has no recordings; wanted some for each of 35 words"):
        GSC(**SMALL).load(folder)


def test_another_number_of_recordings_is_warned_of(folder):
    put(folder / "gsc" / "bed" / "a_nohash_0.wav", sound(0, 0))
    put(folder / "gsc" / "bed" / "b_nohash_0.wav", sound(0, 0))
    with pytest.warns(
        UserWarning, match=r"gsc has 72 recordings for train, and Small has 70: accuracies are not those"
    ):
        GSC(**SMALL).load(folder)


def test_checksums_follow_files_and_settings(folder):
    made = [
        GSC(**SMALL, **o).load(folder).checksum for o in ({}, {}, {"low": 60.0}, {"late": "cut"}, {"lengths": True})
    ]
    assert made[0] == made[1]
    assert len(set(made)) == 4
    put(folder / "gsc" / "bed" / "a_nohash_0.wav", sound(0, 0))
    assert GSC(**SMALL).load(folder).checksum not in made


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fft": 512}, "channels=140 from 50 to 8000 Hz: no Fourier frequency, 31.25 Hz apart, is in channel"),
        ({"high": 9000.0}, "low=50.0 Hz, high=9000.0 Hz: give 0 <= low < high <= 8000; the recordings have 16000"),
        ({"rate": 100}, "rate=100 Hz: give 2000 to 96000"),
        ({"steps": 0}, "steps=0: give a whole number, at least 1"),
        ({"code": "mel"}, "unknown code 'mel'"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GSC(**options)


def test_without_files_the_error_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with pytest.raises(
        FileNotFoundError, match=r"gsc/validation_list.txt, .*speech_commands_v0.02.tar.gz .*--data-dir"
    ):
        GSC().load()
