"""Auditory attention as KU Leuven and the Technical University of Denmark recorded it, from files of the user's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from sandbox.tasks.archives import located
from sandbox.tasks.attention_files import READERS, subjects
from sandbox.tasks.base import Dataset
from sandbox.tasks.eeg import EEGTask, Parts, Trial

SHARE = 0.8  # of a trial, or of trials, that is for training; half of the rest is for validation
Scheme = Literal["trials", "within", "subjects"]


@dataclass(frozen=True)
class _Recorded(EEGTask):
    """A set of recordings with a file for each listener."""

    split: Scheme = "trials"
    listeners: tuple[int, ...] = ()
    held: int | None = None

    folder: ClassVar[str]
    advice: ClassVar[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.held is not None and self.split != "subjects":
            raise ValueError(f"held={self.held}: it names who is tested on, which split='subjects' does")

    def load(self, data_dir: Path | str | None = None) -> Dataset:
        """Read the folder of the set in a data folder."""
        root = located([self.folder], data_dir, self.advice)
        files = subjects(root)
        if missing := [number for number in self.listeners if number not in files]:
            raise ValueError(f"listeners={self.listeners}: {root} has no file of {missing[0]}, but of {listed(files)}")
        read = READERS[self.folder]
        trials = [trial for number in self.listeners or files for trial in read(files[number])]
        if self.split == "within":
            return self.made(sections(trials))
        if self.split == "subjects":
            return self.made(apart(trials, self.held))
        return self.made(by_trial(trials))


@dataclass(frozen=True)
class KUL(_Recorded):
    """Auditory attention of 16 listeners of KU Leuven: which ear is attended, 64 electrodes.

    Read from the files `S1.mat` ... in `kul/` of a data folder (`sandbox.tasks.attention_files.kul_trials`). Written
    from the layout that the authors' script of preprocessing documents, and tested with files that our tests write: it
    was not run on the recordings. Filters before the spatial view, artefacts and references are left as they are in the
    files. In one trial the same ear is attended throughout, and windows of one trial are alike, so that the authors
    ask to test on other trials than those for training; "within" does not.

    Args:
        window: length of a window [s].
        overlap: share by which windows overlap, from 0 to below 1; published work has 0.5.
        view: "both", "spatial", "frequency" or "sequence", as `sandbox.tasks.eeg.EEGTask` says.
        components: spatial filters, at most 64.
        band: of the spatial view [Hz].
        split: "trials": of each listener and ear the last trial tests and the one before validates, or more of many;
            "within": the first 80 % of each trial train, the next 10 % validate, the rest test; "subjects": one
            listener tests, and the next validates.
        listeners: numbers of listeners; all by default.
        held: the listener who tests, with split="subjects"; the first by default.

    Raises:
        ValueError: for options out of range; in `load`, for files of another layout, and too few trials or listeners.
        FileNotFoundError: in `load`, without the folder; explains what to put where.

    >>> KUL(window=2.0).samples
    256

    Reference: Das, Francart & Bertrand 2019, doi 10.5281/zenodo.3997352; its page was read, its data were not.
    """

    folder: ClassVar[str] = "kul"
    advice: ClassVar[str] = "Fetch S1.mat to S16.mat from https://zenodo.org/records/3997352 into a folder kul."


@dataclass(frozen=True)
class DTU(_Recorded):
    """Auditory attention of 18 listeners of the Technical University of Denmark: which talker, 64 electrodes.

    Read from the files `S1_data_preproc.mat` ... in `dtu/` of a data folder, which the script `preproc_data.m` of the
    authors makes (`sandbox.tasks.attention_files.dtu_trials`). Written from that script, and tested with files that our
    tests write: it was not run on the recordings. By the script the answer is the male (0) or the female (1) talker,
    and not a side.

    Args:
        window: length of a window [s].
        overlap: share by which windows overlap, from 0 to below 1; published work has 0.5.
        view: "both", "spatial", "frequency" or "sequence", as `sandbox.tasks.eeg.EEGTask` says.
        components: spatial filters, at most 64.
        band: of the spatial view [Hz].
        split: "trials", "within" or "subjects", as for `kul`.
        listeners: numbers of listeners; all by default.
        held: the listener who tests, with split="subjects"; the first by default.

    Raises:
        ValueError: for options out of range; in `load`, for files of another layout, and too few trials or listeners.
        FileNotFoundError: in `load`, without the folder; explains what to put where.

    >>> DTU(split="subjects", held=3).exchangeable
    False

    Reference: Fuglsang, Wong & Hjortkjaer 2018, doi 10.5281/zenodo.1199011; its script was read, its data were not.
    """

    folder: ClassVar[str] = "dtu"
    advice: ClassVar[str] = (
        "Fetch DATA_preproc.zip from https://zenodo.org/records/1199011, or run preproc_data.m, and put "
        "S1_data_preproc.mat and so on into a folder dtu."
    )


def by_trial(trials: Sequence[Trial]) -> Parts:
    """Return other trials for each split: of each listener and answer the last ones test, and those before validate."""
    parts: tuple[list[Trial], list[Trial], list[Trial]] = ([], [], [])
    for who in sorted({trial.subject for trial in trials}):
        for label in (0, 1):
            found = [trial for trial in trials if (trial.subject, trial.label) == (who, label)]
            if len(found) < 3:
                raise ValueError(
                    f"listener {who} has {len(found)} trials of class {label}; wanted at least 3, one for each split: "
                    "choose split='within', or listeners with more"
                )
            aside = max(1, round(len(found) * (1 - SHARE) / 2))
            ends = (0, len(found) - 2 * aside, len(found) - aside, len(found))
            for part, start, end in zip(parts, ends, ends[1:], strict=False):
                part += found[start:end]
    return parts


def sections(trials: Sequence[Trial]) -> Parts:
    """Return sections of all trials: the beginning for training, then one for validation, and the end for testing."""
    parts: tuple[list[Trial], list[Trial], list[Trial]] = ([], [], [])
    for trial in trials:
        long = trial.eeg.shape[1]
        ends = (0, round(SHARE * long), round((1 + SHARE) / 2 * long), long)
        for part, start, end in zip(parts, ends, ends[1:], strict=False):
            part.append(trial._replace(eeg=trial.eeg[:, start:end]))
    return parts


def apart(trials: Sequence[Trial], held: int | None) -> Parts:
    """Return the trials of all listeners but two for training, of one of these for validation, and of the held one."""
    known = sorted({trial.subject for trial in trials})
    if len(known) < 3:
        raise ValueError(f"there are files of {listed(known)}; split='subjects' wants at least 3 listeners")
    tested = known[0] if held is None else held
    if tested not in known:
        raise ValueError(f"held={held}: there is no file of that listener, but of {listed(known)}")
    checked = known[(known.index(tested) + 1) % len(known)]
    return (
        [trial for trial in trials if trial.subject not in (tested, checked)],
        [trial for trial in trials if trial.subject == checked],
        [trial for trial in trials if trial.subject == tested],
    )


def listed(numbers: Sequence[int] | dict[int, Path]) -> str:
    """Return numbers of listeners in words."""
    return ", ".join(f"S{number}" for number in numbers)
