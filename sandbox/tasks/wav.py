"""WAV files of any rate, width and number of channels, and the same sound at another rate."""

from __future__ import annotations

import struct
from math import gcd
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # of the format in a header; others are compressed
BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}
COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM 6.10", 80: "MPEG", 85: "MP3"}
MOST_CHANNELS = 64
RATES = (1_000, 384_000)  # [Hz] lowest and highest
AGAIN = "fetch it again"
WANTED = "wanted PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64: convert it, ffmpeg -i OLD NEW"


class Wav(NamedTuple):
    """The sound of a WAV file."""

    sound: Floats  # [samples, channels]; whole numbers of b bits are divided by 2^(b - 1), into -1..1
    rate: int  # [Hz]
    bits: int  # of a sample

    @property
    def mono(self) -> Floats:
        """The mean of all channels, `[samples]`."""
        mean: Floats = self.sound[:, 0] if self.sound.shape[1] == 1 else self.sound.mean(1)
        return mean


def parse_wav(content: bytes, name: str) -> Wav:
    """Parse a WAV file: PCM of 8, 16, 24 or 32 bits, or floating point, of any rate and number of channels.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ValueError: with the name of the file, what was found and what is allowed, for anything that is not a WAV file,
            compressed sound, headers that contradict themselves, fewer samples than are announced, none at all, and
            numbers that are not finite.

    >>> header = b"RIFF" + struct.pack("<I4s4sIHHIIHH", 40, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    >>> parse_wav(header + b"data" + struct.pack("<Ihh", 4, 2**14, -(2**15)), "two.wav").mono.tolist()
    [0.5, -1.0]
    """
    chunks = _chunks(content, name)
    if len(chunks.get(b"fmt ", b"")) < 16:
        raise ValueError(f"{name} is not a WAV file (its header ends early): {AGAIN}")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", chunks[b"fmt "][:16])
    if tag == EXTENSIBLE and len(chunks[b"fmt "]) >= 40:
        (tag,) = struct.unpack("<H", chunks[b"fmt "][24:26])  # of the GUID, whose other bytes say nothing
    if bits not in BITS.get(tag, ()):
        kind = {PCM: "PCM", FLOAT: "floating point"}.get(tag) or COMPRESSED.get(tag, f"format 0x{tag:04x}")
        raise ValueError(f"{name} has samples in {kind} of {bits} bits; {WANTED}")
    if not (1 <= channels <= MOST_CHANNELS and RATES[0] <= rate <= RATES[1] and block == channels * bits // 8):
        raise ValueError(
            f"{name} has {channels} channels at {rate} Hz, and {block} bytes for {bits} bits of each; wanted 1 to "
            f"{MOST_CHANNELS} channels, {RATES[0]} to {RATES[1]} Hz, and {channels * bits // 8} bytes: {AGAIN}"
        )
    data = chunks[b"data"]
    if not data or len(data) % block:
        raise ValueError(
            f"{name} has {len(data)} bytes of sound, {block} a sample; wanted some, and whole ones: {AGAIN}"
        )
    return Wav(_samples(data, tag, bits, name).reshape(-1, channels), rate, bits)


def resampled(sound: Floats, old: int, new: int) -> Floats:
    """Return a sound at another rate, `[samples] -> [ceil(samples new / old)]`, without what the new rate cannot hold.

    The filter is SciPy's (`scipy.signal.resample_poly`, a Kaiser window of 5.0): tones below 0.85 of half of the lower
    rate keep their amplitude to 1 %, and what is above 1.15 of it falls below 1 %, as tests measure.

    Args:
        sound: `[samples]`.
        old: rate [Hz].
        new: rate [Hz].

    >>> resampled(np.ones(441), 44_100, 8_000).shape
    (80,)
    """
    if old == new:
        return sound
    from scipy.signal import resample_poly

    common = gcd(old, new)
    found: Floats = resample_poly(sound, new // common, old // common)
    return found


def _chunks(content: bytes, name: str) -> dict[bytes, bytes]:
    """Return the first chunk of every kind; raise ValueError for another file, and for one that ends in a chunk."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        said = "it is empty" if not content else f"it begins with {content[:12]!r}, not with RIFF and WAVE"
        raise ValueError(f"{name} is not a WAV file ({said}): {AGAIN}")
    found: dict[bytes, bytes] = {}
    place = 12
    while place + 8 <= len(content) and b"data" not in found:
        kind, size = struct.unpack("<4sI", content[place : place + 8])
        found.setdefault(kind, content[place + 8 : place + 8 + size])
        if kind == b"data" and len(found[kind]) < size:
            raise ValueError(_cut(found, size, name))
        place += 8 + size + size % 2
    if b"fmt " not in found or b"data" not in found:
        part = "samples" if b"fmt " in found else "format"
        raise ValueError(f"{name} is not a WAV file (no chunk of its {part}): {AGAIN}")
    return found


def _cut(found: dict[bytes, bytes], size: int, name: str) -> str:
    """Return what is wrong with a file that ends before its samples."""
    block = struct.unpack("<H", found[b"fmt "][12:14])[0] if len(found.get(b"fmt ", b"")) >= 16 else 1
    one = max(1, block)
    return f"{name} announces {size // one} samples and holds {len(found[b'data']) // one}: {AGAIN}"


def _samples(data: bytes, tag: int, bits: int, name: str) -> Floats:
    """Return samples in the order of the file."""
    width = bits // 8
    if tag == FLOAT:
        found = np.frombuffer(data, f"<f{width}").astype(np.float64)
        if not np.isfinite(found).all():
            raise ValueError(f"{name} has samples that are NaN or infinite; wanted finite numbers: {AGAIN}")
        return found
    if bits == 8:  # without a sign, unlike all others
        return (np.frombuffer(data, np.uint8) - 128.0) / 128
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        bits, width, data = 32, 4, wide.tobytes()
    scaled: Floats = np.frombuffer(data, f"<i{width}") / 2.0 ** (bits - 1)
    return scaled
