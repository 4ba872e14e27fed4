"""WAV files of any rate, width and number of channels, and the same sound at another rate."""

from __future__ import annotations

import struct
from math import gcd
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # of the format in a header; others are compressed
BITS = {PCM: (8, 16, 24, 32), FLOAT: (32, 64)}
COMPRESSED = {2: "ADPCM", 6: "A-law", 7: "mu-law", 17: "IMA ADPCM", 49: "GSM 6.10", 80: "MPEG", 85: "MP3"}
SUBTYPE = bytes.fromhex("000000001000800000aa00389b71")  # a GUID of an extensible header, behind its format
OTHERS = {  # how files begin that are sound, and no WAV file of this reader
    b"RIFX": "RIFX, with the highest byte first",
    b"RF64": "RF64, for sound of more than 4 GiB",
    b"BW64": "BW64, for sound of more than 4 GiB",
    b"riff": "Sony Wave64",
    b"NIST_1A": "NIST SPHERE",
    b"FORM": "AIFF",
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
}
KINDS = (b"fmt ", b"data", b"LIST", b"fact", b"PEAK", b"bext", b"cue ", b"smpl", b"inst", b"JUNK", b"id3 ", b"iXML")
MOST_CHANNELS = 64
RATES = (1_000, 384_000)  # [Hz] lowest and highest
LOUDEST = 2.0**31  # of floating point, which may hold whole numbers
OPEN = 0x7FFF_0000  # bytes that a data chunk announces, from which on a stream did not know where it would end
ENDLESS = -1  # in place of a number of bytes that is not known
AGAIN = "fetch it again"
CONVERT = "convert it, ffmpeg -i OLD NEW"
WANTED = f"wanted PCM of 8, 16, 24 or 32 bits, or floating point of 32 or 64: {CONVERT}"


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

    Programs that write into a pipe, such as ffmpeg and sox, cannot know how long the sound will be, and announce 0
    bytes, or 2^31 - 2^16 and more: such sound goes to the end of the file, without the rest of a sample there. The
    format may stand behind the sound, and the byte that follows a chunk of odd size may be missing.

    Args:
        content: of the file.
        name: of the file, for messages.

    Raises:
        ValueError: with the name of the file, what was found and what is allowed, for anything that is not a WAV file,
            compressed sound, headers that contradict themselves, fewer samples than are announced, none at all, and
            numbers that are not finite or beyond 2^31.

    >>> header = b"RIFF" + struct.pack("<I4s4sIHHIIHH", 40, b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    >>> parse_wav(header + b"data" + struct.pack("<Ihh", 4, 2**14, -(2**15)), "two.wav").mono.tolist()
    [0.5, -1.0]
    """
    form, data, announced = _chunks(content, name)
    if len(form) < 16:
        raise ValueError(f"{name} is not a WAV file (its header ends early): {AGAIN}")
    tag, channels, rate, _, block, bits = struct.unpack("<HHIIHH", form[:16])
    if tag == EXTENSIBLE and len(form) >= 40:
        if form[26:40] != SUBTYPE:
            raise ValueError(
                f"{name} has samples in the format {form[24:40].hex()}, which is neither PCM nor floating point, but "
                f"ambisonic sound, for one; {WANTED}"
            )
        (tag,) = struct.unpack("<H", form[24:26])
    if bits not in BITS.get(tag, ()):
        kind = {PCM: "PCM", FLOAT: "floating point"}.get(tag) or COMPRESSED.get(tag, f"format 0x{tag:04x}")
        raise ValueError(f"{name} has samples in {kind} of {bits} bits; {WANTED}")
    if not (1 <= channels <= MOST_CHANNELS and RATES[0] <= rate <= RATES[1] and block == channels * bits // 8):
        raise ValueError(
            f"{name} has {channels} channels at {rate} Hz, and {block} bytes for {bits} bits of each; wanted 1 to "
            f"{MOST_CHANNELS} channels, {RATES[0]} to {RATES[1]} Hz, and {channels * bits // 8} bytes: {AGAIN}"
        )
    if len(data) < announced:
        raise ValueError(f"{name} announces {announced // block} samples and holds {len(data) // block}: {AGAIN}")
    if announced == ENDLESS:
        data = data[: len(data) // block * block]
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


def require_finite(sound: Floats, name: str) -> None:
    """Raise ValueError, with a name, for sound with values that are no numbers, or beyond `LOUDEST`."""
    largest = np.abs(sound).max(initial=0)
    if not np.isfinite(largest):
        raise ValueError(
            f"{name} has samples that are NaN or infinite; wanted finite numbers: {AGAIN}, or leave it out"
        )
    if largest > LOUDEST:
        raise ValueError(
            f"{name} has samples up to {largest:g}; wanted -2^31 to 2^31 at most: divide it, or leave it out"
        )


class _Chunks(NamedTuple):
    """What a file says of its sound."""

    form: bytes
    data: bytes
    announced: int  # bytes of data; ENDLESS where the header did not know


def _chunks(content: bytes, name: str) -> _Chunks:
    """Return the first chunks of format and samples; raise ValueError for another file, and for one without them."""
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        _refuse(content, name)
    found: dict[bytes, bytes] = {}
    place, announced = 12, 0
    while place + 8 <= len(content) and not {b"fmt ", b"data"} <= set(found):
        kind, size = struct.unpack("<4sI", content[place : place + 8])
        place += 8
        if kind == b"data" and b"data" not in found:
            announced = ENDLESS if _endless(content, place, size) else size
        end = len(content) if kind == b"data" and announced == ENDLESS else place + size
        found.setdefault(kind, content[place:end])
        place = end + (size % 2 and content[end : end + 4] not in KINDS)
    if b"fmt " not in found or b"data" not in found:
        part = "samples" if b"fmt " in found else "format"
        raise ValueError(f"{name} is not a WAV file (no chunk of its {part}): {AGAIN}")
    return _Chunks(found[b"fmt "], found[b"data"], announced)


def _refuse(content: bytes, name: str) -> NoReturn:
    """Raise ValueError for a file that is not a WAV file, with what to do."""
    for begin, kind in OTHERS.items():
        if content.startswith(begin):
            raise ValueError(f"{name} is {kind}; wanted a file that begins with RIFF and WAVE: {CONVERT}")
    said = "it is empty" if not content else f"it begins with {content[:12]!r}, not with RIFF and WAVE"
    raise ValueError(f"{name} is not a WAV file ({said}): {AGAIN}")


def _endless(content: bytes, place: int, size: int) -> bool:
    """Return whether samples from a place on go to the end of the file, because whoever wrote it could not know more.

    Where a size is 0 and other chunks follow up to the end of the file, there are no samples.
    """
    if size >= OPEN:
        return place + size > len(content)
    if size or place == len(content):
        return False
    while place + 8 <= len(content) and all(32 <= letter < 127 for letter in content[place : place + 4]):
        (length,) = struct.unpack("<I", content[place + 4 : place + 8])
        place += 8 + length + length % 2
    return not len(content) <= place <= len(content) + 1


def _samples(data: bytes, tag: int, bits: int, name: str) -> Floats:
    """Return samples in the order of the file."""
    width = bits // 8
    if tag == FLOAT:
        found = np.frombuffer(data, f"<f{width}").astype(np.float64)
        require_finite(found, name)
        return found
    if bits == 8:  # without a sign, unlike all others
        return (np.frombuffer(data, np.uint8) - 128.0) / 128
    if bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        bits, width, data = 32, 4, wide.tobytes()
    scaled: Floats = np.frombuffer(data, f"<i{width}") / 2.0 ** (bits - 1)
    return scaled
