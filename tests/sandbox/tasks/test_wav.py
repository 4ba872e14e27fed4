"""WAV files are read as SciPy and the standard library wrote them; tones keep frequency and amplitude at another rate."""

from __future__ import annotations

import io
import math
import re
import struct
import wave

import numpy as np
import pytest
import scipy.io.wavfile
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.tasks.wav import parse_wav, resampled

FAST = settings(max_examples=40, deadline=None)
RATES = [8000, 11025, 16000, 22050, 44100, 48000]


def by_wave(whole, bits, rate=16000):
    """A file of the standard library: whole numbers `[samples, channels]` of 8, 16, 24 or 32 bits."""
    place = io.BytesIO()
    with wave.open(place, "wb") as file:
        file.setparams((whole.shape[1], bits // 8, rate, 0, "NONE", None))
        if bits == 8:
            file.writeframes((whole + 128).astype(np.uint8).tobytes())
        else:
            file.writeframes(b"".join(int(v).to_bytes(bits // 8, "little", signed=True) for v in whole.ravel()))
    return place.getvalue()


def by_scipy(sound, rate=16000):
    place = io.BytesIO()
    scipy.io.wavfile.write(place, rate, sound)
    return place.getvalue()


def header(tag=1, channels=1, rate=8000, block=2, bits=16, data=bytes(8), size=None, extra=b""):
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


@FAST
@given(
    st.sampled_from([8, 16, 24, 32]), st.integers(1, 3), st.integers(1, 40), st.sampled_from(RATES), st.integers(0, 99)
)
def test_whole_numbers_come_back_as_they_were_written(bits, channels, samples, rate, seed):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (samples, channels))
    found = parse_wav(by_wave(whole, bits, rate), "a.wav")
    assert (found.rate, found.bits) == (rate, bits)
    assert np.array_equal(found.sound * 2 ** (bits - 1), whole)


@FAST
@given(st.sampled_from(["<f4", "<f8", "<i4", "<i2", "u1"]), st.integers(1, 3), st.integers(1, 40), st.integers(0, 99))
def test_files_of_scipy_are_read_as_scipy_reads_them(dtype, channels, samples, seed):
    sound = 100 * np.random.default_rng(seed).normal(size=(samples, channels))
    content = by_scipy(np.abs(sound).astype(dtype) if dtype == "u1" else sound.astype(dtype))
    found = parse_wav(content, "a.wav").sound
    _, theirs = scipy.io.wavfile.read(io.BytesIO(content))
    theirs = theirs.reshape(samples, channels).astype(float)
    theirs = {"u1": (theirs - 128) / 128, "<i2": theirs / 2**15, "<i4": theirs / 2**31}.get(dtype, theirs)
    assert np.array_equal(found, theirs)


def test_scipy_reads_24_bits_alike():
    content = by_wave(np.random.default_rng(0).integers(-(2**23), 2**23, (50, 2)), 24)
    _, theirs = scipy.io.wavfile.read(io.BytesIO(content))  # left-justified in 32 bits
    assert np.array_equal(parse_wav(content, "a.wav").sound, theirs / 2**31)


def test_widths_agree_to_the_step_of_quantisation():
    sound = 0.9 * np.sin(np.arange(400) / 7)[:, None]
    exact = parse_wav(by_scipy(sound), "64.wav").mono
    for bits in (8, 16, 24, 32):
        whole = np.round(sound * 2 ** (bits - 1)).astype(np.int64)
        assert np.abs(parse_wav(by_wave(whole, bits), f"{bits}.wav").mono - exact).max() <= 0.5 / 2 ** (bits - 1)
    assert np.abs(parse_wav(by_scipy(sound.astype("<f4")), "32.wav").mono - exact).max() <= 2.0**-24


def test_mono_is_the_mean_of_channels():
    whole = np.array([[100, 300], [-50, 50], [7, 8]])
    assert (parse_wav(by_wave(whole, 16), "a.wav").mono * 2**15).tolist() == [200, 0, 7.5]


def test_an_extensible_header_and_other_chunks_are_read():
    guid = struct.pack("<HHIH", 22, 24, 0, 1) + bytes.fromhex("000000001000800000aa00389b71")
    content = header(0xFFFE, 1, 44100, 3, 24, b"\x00\x00\x40", extra=guid)
    with_list = content[:12] + b"LIST" + struct.pack("<I", 3) + b"abc\x00" + content[12:]
    for each in (content, with_list, content + b"id3 "):
        assert parse_wav(each, "a.wav").mono.tolist() == [0.5]


@FAST
@given(
    st.sampled_from([0, 2**31 - 2**16, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]),
    st.sampled_from([8, 16, 24, 32]),
    st.integers(1, 3),
    st.integers(1, 40),
    st.binary(max_size=1),
    st.integers(0, 99),
)
def test_sound_from_a_pipe_goes_to_the_end_of_the_file(size, bits, channels, samples, rest, seed):
    """Whoever writes into a pipe does not know how long it will be; the rest of a sample at the end is left out."""
    rng = np.random.default_rng(seed)
    whole = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (samples, channels))
    content = bytearray(by_wave(whole, bits))
    place = content.index(b"data") + 4
    del content[place + 4 + samples * channels * bits // 8 :]  # of the pad byte
    content[place : place + 4] = struct.pack("<I", size)
    found = parse_wav(bytes(content) + (rest if bits * channels > 8 else b""), "a.wav")
    assert np.array_equal(found.sound * 2 ** (bits - 1), whole)


def test_no_sound_in_front_of_other_chunks_is_none():
    with pytest.raises(ValueError, match=r"a.wav has 0 bytes of sound, 2 a sample"):
        parse_wav(header(data=b"") + b"LIST\3\0\0\0abc\0fact\4\0\0\0\0\0\0\0", "a.wav")


@pytest.mark.parametrize("pad", [b"", b"\0", b"x"])
@pytest.mark.parametrize("size", [1, 0x24, 0x161])
def test_a_chunk_of_odd_size_is_followed_by_a_byte_or_none(size, pad):
    content = header(data=struct.pack("<hh", 2**14, -(2**15)))
    more = b"LIST" + struct.pack("<I", size | 1) + bytes(size | 1) + pad
    for place in (12, 36):
        assert parse_wav(content[:place] + more + content[place:], "a.wav").mono.tolist() == [0.5, -1.0]


def test_the_format_may_stand_behind_the_sound():
    content = header(channels=1, bits=8, block=1, data=bytes([192, 128, 0]))
    turned = content[:12] + content[36:] + b"\0" + content[12:36]
    for each in (turned, content[:12] + content[36:] + content[12:36]):  # with the byte behind an odd size, and without
        assert parse_wav(each, "a.wav").mono.tolist() == [0.5, 0.0, -1.0]


@FAST
@given(st.integers(1, 3000), st.sampled_from(RATES), st.sampled_from(RATES))
def test_a_resampled_sound_lasts_as_long(samples, old, new):
    assert len(resampled(np.ones(samples), old, new)) == math.ceil(samples * new / old)


@pytest.mark.parametrize("new", RATES)
@pytest.mark.parametrize("old", RATES)
def test_a_tone_keeps_frequency_and_amplitude(old, new):
    """By least squares: at most 0.85 of half of the lower rate to 1 %, and above 1.15 of it less than 1 % is left."""
    nyquist = min(old, new) / 2
    for share in (0.05, 0.5, 0.85, 1.15):
        if share * nyquist >= old / 2:
            continue
        found = resampled(np.sin(2 * np.pi * share * nyquist * np.arange(old // 4) / old), old, new)
        inner = np.arange(len(found) // 4, 3 * len(found) // 4)  # the ends lack what was before and comes behind
        angle = 2 * np.pi * share * nyquist * inner / new
        if share > 1:
            assert found[inner].std() < 0.01
            continue
        (a, b), *_ = np.linalg.lstsq(np.stack([np.sin(angle), np.cos(angle)], 1), found[inner], rcond=None)
        assert (a, b) == pytest.approx((1, 0), abs=0.01)
        assert (found[inner] - a * np.sin(angle) - b * np.cos(angle)).std() < 0.01  # images of the tone


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a WAV file (it is empty): fetch it again"),
        (b"<html> not found", "is not a WAV file (it begins with b'<html> not f', not with RIFF and WAVE)"),
        (header()[:19], "is not a WAV file (no chunk of its format)"),
        (header()[:36], "is not a WAV file (no chunk of its samples)"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0data\0\0\0\0", "is not a WAV file (its header ends early)"),
        (header(data=b""), "has 0 bytes of sound, 2 a sample; wanted some, and whole ones"),
        (header(data=bytes(7)), "has 7 bytes of sound, 2 a sample"),
        (header(size=80), "announces 40 samples and holds 4: fetch it again"),
        (
            header(tag=7, bits=8, block=1),
            "has samples in mu-law of 8 bits; wanted PCM of 8, 16, 24 or 32 bits, or floa",
        ),
        (header(tag=0x55), "has samples in MP3 of 16 bits; wanted PCM"),
        (header(tag=0x1234), "has samples in format 0x1234 of 16 bits; wanted PCM"),
        (header(bits=12), "has samples in PCM of 12 bits; wanted"),
        (header(tag=3), "has samples in floating point of 16 bits; wanted"),
        (header(channels=0), "has 0 channels at 8000 Hz, and 2 bytes for 16 bits of each; wanted 1 to 64 channels"),
        (header(rate=10), "has 1 channels at 10 Hz, and 2 bytes for 16 bits of each; wanted 1 to 64 channels, 1000 to"),
        (header(block=3), "has 1 channels at 8000 Hz, and 3 bytes for 16 bits of each; wanted"),
        (header(tag=3, bits=32, block=4, data=struct.pack("<f", math.nan)), "has samples that are NaN or infinite"),
        (
            header(tag=3, bits=64, block=8, data=struct.pack("<dd", 1e300, -1e301)),
            "has samples up to 1e+301; wanted -2^31 to 2^31 at most: divide it, or leave it out",
        ),
        (
            header(0xFFFE, extra=struct.pack("<HHIH", 22, 16, 0, 1) + bytes.fromhex("00002107d3118644c8c1ca000000")),
            "has samples in the format 010000002107d3118644c8c1ca000000, which is neither PCM nor floating point, but am",
        ),
        (header(0xFFFE), "has samples in format 0xfffe of 16 bits; wanted PCM"),
        (
            b"RIFX" + header()[4:],
            "is RIFX, with the highest byte first; wanted a file that begins with RIFF and WAVE: convert it, ffmpeg -i",
        ),
        (b"RF64" + header()[4:], "is RF64, for sound of more than 4 GiB; wanted a file that begins with RIFF"),
        (b"BW64" + header()[4:], "is BW64, for sound of more than 4 GiB; wanted"),
        (b"riff\x2e\x91\xcf\x11", "is Sony Wave64; wanted"),
        (b"NIST_1A\n   1024\n", "is NIST SPHERE; wanted a file that begins with RIFF and WAVE: convert it, ffmpeg -i"),
        (b"FORM\0\0\0\0AIFF", "is AIFF; wanted"),
        (b"fLaC\0", "is FLAC; wanted"),
        (b"OggS\0", "is Ogg; wanted"),
        (b"ID3\4", "is MP3; wanted"),
        (header()[:12] + header(size=80)[36:] + header()[12:36], "is not a WAV file (no chunk of its format)"),
    ],
)
def test_other_files_are_named(content, message):
    with pytest.raises(ValueError, match=re.escape(f"a.wav {message}")):
        parse_wav(content, "a.wav")
