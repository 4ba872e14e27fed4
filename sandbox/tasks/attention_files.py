"""Recordings of auditory attention in the files of KU Leuven and of the Technical University of Denmark."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sandbox.tasks.eeg import RATE, Trial
from sandbox.tasks.matlab_files import cells, read_matlab
from sandbox.tasks.scalp import ELECTRODES

Array = NDArray[np.float64]
SUBJECT = re.compile(r"S(\d{1,3})(?:_data_preproc)?\.mat")
EARS = {"L": 0, "R": 1}
TALKERS = {1: 0, 2: 1}
FASTEST = 100_000  # samples in a second


def kul_trials(path: Path) -> list[Trial]:
    """Read the trials of a listener of KU Leuven.

    A cell array `trials`, or `preproc_trials`, of structs with `RawData.EegData` `[samples, 64]`,
    `FileHeader.SampleRate` and `attended_ear`, "L" or "R".

    Raises:
        ValueError: with the trial and what was found, for anything else.
    """
    name, value = read_matlab(path, ("trials", "preproc_trials"))
    found = []
    for number, trial in enumerate(cells(value), 1):
        where = f"{path}, {name}{{{number}}}"
        ear = entry(trial, "attended_ear", where)
        if ear not in EARS:
            raise ValueError(f"{where}.attended_ear is {ear!r}; wanted 'L' or 'R'")
        rate = whole(entry(trial, "FileHeader.SampleRate", where), f"{where}.FileHeader.SampleRate")
        eeg = electrodes(entry(trial, "RawData.EegData", where), f"{where}.RawData.EegData", extra=0)
        found.append(Trial(resampled(eeg, rate), EARS[ear], subject(path), where))
    return found


def dtu_trials(path: Path) -> list[Trial]:
    """Read the trials of a listener of the Technical University of Denmark, as `preproc_data.m` of its authors saves.

    A struct `data` with a cell array `eeg` of `[samples, 64 or more]`, of which the first 64 are electrodes,
    `event.eeg.value`, 1 or 2 for each, and `fsample.eeg`. By that script 1 is the male and 2 the female talker.

    Raises:
        ValueError: with the trial and what was found, for anything else.
    """
    _, data = read_matlab(path, ("data",))
    signals = cells(entry(data, "eeg", f"{path}, data"))
    events = entry(data, "event.eeg.value", f"{path}, data")
    values = [np.ravel(each)[0] for each in (cells(events) if not isinstance(events, np.ndarray) else events.ravel())]
    if len(values) != len(signals):
        raise ValueError(f"{path}: data.eeg has {len(signals)} trials, and data.event.eeg.value {len(values)} answers")
    rate = whole(entry(data, "fsample.eeg", f"{path}, data"), f"{path}, data.fsample.eeg")
    found = []
    for number, (signal, value) in enumerate(zip(signals, values, strict=True), 1):
        if value not in TALKERS:
            raise ValueError(f"{path}, data.event.eeg.value{{{number}}} is {value}; wanted 1 or 2")
        where = f"{path}, data.eeg{{{number}}}"
        eeg = electrodes(signal, where, extra=None)
        found.append(Trial(resampled(eeg, rate), TALKERS[int(value)], subject(path), where))
    return found


READERS: dict[str, Callable[[Path], list[Trial]]] = {"kul": kul_trials, "dtu": dtu_trials}


def subjects(folder: Path) -> dict[int, Path]:
    """Return the files of a folder by the number of the listener; raise ValueError where there are none.

    Names are `S1.mat` or `S1_data_preproc.mat`, and so on.
    """
    found: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if SUBJECT.fullmatch(path.name):
            if subject(path) in found:
                raise ValueError(f"{folder} has {found[subject(path)].name} and {path.name}: leave one of them there")
            found[subject(path)] = path
    if not found:
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:5]) or "nothing"
        raise ValueError(f"{folder} holds {held}; wanted files such as S1.mat or S1_data_preproc.mat, one a listener")
    return dict(sorted(found.items()))


def subject(path: Path) -> int:
    """Return the number of the listener in the name of a file.

    >>> subject(Path("S12_data_preproc.mat"))
    12
    """
    match = SUBJECT.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} names no listener; wanted S1.mat or S1_data_preproc.mat")
    return int(match[1])


def entry(value: Any, names: str, where: str) -> Any:
    """Return a field of a struct, of one inside it behind a dot; raise ValueError with the fields that there are."""
    for name in names.split("."):
        if not isinstance(value, dict) or name not in value:
            held = f"the fields {', '.join(value)}" if isinstance(value, dict) else f"a {type(value).__name__}"
            raise ValueError(f"{where} has no {names}: at {name} there is {held}")
        value = value[name]
    return value


def whole(value: Any, where: str) -> int:
    """Return a rate as a whole number; raise ValueError for any other."""
    if np.ndim(value) or not np.issubdtype(type(value), np.number) or value != int(value) or not 0 < value < FASTEST:
        raise ValueError(f"{where} is {value!r}; wanted a whole number of samples in a second")
    return int(value)


def electrodes(value: Any, where: str, extra: int | None) -> Array:
    """Return a signal as `[64, samples]`; raise ValueError for another number of electrodes.

    Args:
        value: `[samples, channels]`.
        where: it was found.
        extra: number of channels behind the electrodes; None for any.
    """
    count, shape = len(ELECTRODES), np.shape(value)
    if len(shape) != 2 or shape[1] < count or (extra is not None and shape[1] != count + extra):
        turned = " (are its axes exchanged?)" if len(shape) == 2 and shape[0] == count else ""
        more = "" if extra == 0 else " or more"
        raise ValueError(f"{where} has shape {shape}{turned}; wanted [samples, {count}{more}]")
    eeg: Array = np.asarray(value, np.float64)[:, :count].T
    if not np.isfinite(eeg).all():
        raise ValueError(f"{where} has values that are not finite: fill the gaps, or leave that trial out")
    return eeg


def resampled(eeg: Array, rate: int) -> Array:
    """Return a signal `[64, samples]` at 128 Hz, with a low-pass filter where samples become fewer."""
    from scipy.signal import resample_poly

    if rate == RATE:
        return eeg
    found: Array = resample_poly(eeg, RATE, rate, axis=1, padtype="line")
    return found
