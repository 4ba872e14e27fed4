"""Speech synthesised by espeak-ng, where it is installed, and kept in the user's cache under its version."""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from sandbox.machine.files import write_atomically
from sandbox.tasks.files import VARIABLE, data_folders
from sandbox.tasks.wav import parse_wav

PROGRAM = "espeak-ng"
FOLDER = "spoken-espeak"  # in a data folder
VERSION = re.compile(r"(?:text-to-speech: )(\d[\w.-]{0,40})", re.ASCII)
PATIENCE = 60  # [s] for a word, which takes about 0.01 s
QUIET = 2**7  # of 2^15, below which both ends of a word are cut
INSTALL = "install it (apt-get install espeak-ng, dnf install espeak-ng, brew install espeak-ng)"


class Utterance(NamedTuple):
    """What is said, and how."""

    word: str
    voice: str  # variant of a voice, m1 to m8 or f1 to f5
    accent: str  # voice of a language, en-us
    speed: int  # [words a minute]
    pitch: int  # 0 to 99

    @property
    def name(self) -> str:
        """The utterance in one word, for messages."""
        return "-".join(map(str, self))


class Speech(NamedTuple):
    """Utterances that were synthesised."""

    sounds: tuple[NDArray[np.int16], ...]  # [samples] of each
    rate: int  # [Hz]
    version: str

    @property
    def checksum(self) -> str:
        """SHA-256 over the samples of all utterances, each behind their number."""
        digest = hashlib.sha256()
        for sound in self.sounds:
            digest.update(len(sound).to_bytes(8, "little") + sound.astype("<i2").tobytes())
        return digest.hexdigest()


def installed() -> str | None:
    """Return the version of espeak-ng on the search path; None without it.

    Raises ValueError for a program of that name that does not say which version it is.
    """
    if shutil.which(PROGRAM) is None:
        return None
    said = _run("--version")
    found = VERSION.search(said)
    if found is None:
        raise ValueError(f"{PROGRAM} --version says {said[:80]!r}; wanted 'text-to-speech: ' and a version: {INSTALL}")
    return found[1]


def spoken(plan: Sequence[Utterance], name: str, data_dir: Path | str | None = None) -> Speech:
    """Return what a plan says: from the first data folder that has it, else from espeak-ng, and then kept in the cache.

    The file is `spoken-espeak/espeak-ng-VERSION-NAME.npz`. Without the program, a file of any version is read.

    Args:
        plan: the utterances, in their order.
        name: of the plan, in the name of the file.
        data_dir: the folder that is searched first.

    Raises:
        FileNotFoundError: without the program and a file; explains what to install or to put where.
        ValueError: for a file that is damaged or of another plan, and a program that fails or has not all voices.
    """
    version = installed()
    folders = [folder / FOLDER for folder in data_folders(data_dir)]
    pattern = f"{PROGRAM}-{'*' if version is None else version}-{name}.npz"
    for folder in folders:
        kept = sorted(folder.glob(pattern))
        if kept:
            return read(kept[-1], plan)
    if version is None:
        raise FileNotFoundError(
            f"{PROGRAM} is not on the search path, and none of {', '.join(map(str, folders))} has {pattern}: {INSTALL}"
            f", or put a file that was made elsewhere into one of these folders, or into DIR/{FOLDER}/ and name DIR "
            f"with --data-dir or {VARIABLE}"
        )
    return _made(plan, folders[-1] / pattern, version)


def read(path: Path, plan: Sequence[Utterance]) -> Speech:
    """Read a file that was kept; raise ValueError unless it is whole and of this plan."""
    try:
        with np.load(path, allow_pickle=False) as file:
            sound, ends, rate, planned = (file[key] for key in ("sound", "ends", "rate", "plan"))
            sounds = tuple(np.split(sound.astype(np.int16), ends[:-1]))
            speech = Speech(sounds, int(rate), path.stem.removeprefix(f"{PROGRAM}-").split("-")[0])
            fits = bytes(planned) == _written(plan) and len(sounds) == len(plan) and int(ends[-1]) == len(sound)
    except Exception as error:  # NumPy raises many kinds for damaged files
        raise ValueError(f"{path} cannot be read ({error}): remove it, and it is made again") from error
    if not fits or not all(map(len, sounds)) or speech.rate <= 0:
        raise ValueError(f"{path} holds other utterances than the {len(plan)} wanted: remove it, and it is made again")
    return speech


def said(one: Utterance, folder: Path) -> tuple[NDArray[np.int16], int]:
    """Return the samples of an utterance, without the silence at both ends, and their rate [Hz]."""
    path = folder / "word.wav"
    path.unlink(missing_ok=True)
    voice = f"{one.accent}+{one.voice}"
    _run("-v", voice, "-s", str(one.speed), "-p", str(one.pitch), "-w", str(path), one.word)
    if not path.is_file():
        raise ValueError(f"{PROGRAM} wrote nothing for {one.name}: {INSTALL} again")
    wav = parse_wav(path.read_bytes(), f"what {PROGRAM} says for {one.name}")
    sound = np.round(wav.mono * 2**15).astype(np.int16)
    loud = np.flatnonzero(np.abs(sound.astype(int)) >= QUIET)
    if not len(loud):
        raise ValueError(f"{PROGRAM} is silent for {one.name}: {INSTALL} again, with its voices")
    return sound[loud[0] : loud[-1] + 1], wav.rate


def _made(plan: Sequence[Utterance], path: Path, version: str) -> Speech:
    """Synthesise a plan, and keep it in a file; another process that was faster has made the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        if path.exists():
            return read(path, plan)
        with TemporaryDirectory() as folder:
            found = [said(one, Path(folder)) for one in tqdm(plan, desc=path.stem, leave=False)]
        sounds = tuple(sound for sound, _ in found)
        _require_different(plan, sounds)
        rate = found[0][1]
        held = io.BytesIO()
        np.savez_compressed(
            held,
            sound=np.concatenate(sounds),
            ends=np.cumsum([len(sound) for sound in sounds]),
            rate=np.int64(rate),
            plan=np.frombuffer(_written(plan), np.uint8),
        )
        write_atomically(path, held.getvalue())
    return Speech(sounds, rate, version)


def _require_different(plan: Sequence[Utterance], sounds: Sequence[NDArray[np.int16]]) -> None:
    """Raise ValueError for two utterances with the same samples: espeak-ng leaves out variants that it lacks."""
    seen: dict[bytes, Utterance] = {}
    for one, sound in zip(plan, sounds, strict=True):
        other = seen.setdefault(hashlib.sha256(sound.tobytes()).digest(), one)
        if other is not one:
            raise ValueError(
                f"{PROGRAM} says {other.name} and {one.name} with the same samples; wanted different ones, so that no "
                f"voice is in two splits: {INSTALL} again, with all variants of its voices"
            )


def _written(plan: Sequence[Utterance]) -> bytes:
    return "\n".join(one.name for one in plan).encode()


def _run(*given: str) -> str:
    """Return what the program prints; raise ValueError if it fails."""
    try:
        done = subprocess.run([PROGRAM, *given], capture_output=True, text=True, errors="replace", timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{PROGRAM} {' '.join(given)} failed ({error}): {INSTALL} again") from error
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())[:200]
        raise ValueError(
            f"{PROGRAM} {' '.join(given)} failed with code {done.returncode} ({complaint}): {INSTALL} again"
        )
    return done.stdout
