"""Trials of an EEG as samples: windows, seen through spatial filters and as maps of the scalp in bands of frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rules.fields import check_fields
from sandbox.tasks.bands import BANDS, Band, band_entropies
from sandbox.tasks.base import Dataset, Split, Task, at_least_one
from sandbox.tasks.csp import spatial_filters
from sandbox.tasks.scalp import ELECTRODES, maps

Array = NDArray[np.float64]
RATE = 128  # samples in a second
SIDE = 32  # of a map
ORDER = 4  # of the filter of the spatial view
ROUNDING = 1e-12  # of a value that was resampled in float64, relative to it, with room
View = Literal["both", "spatial", "frequency", "sequence"]
Parts = tuple[Sequence["Trial"], Sequence["Trial"], Sequence["Trial"]]


class Trial(NamedTuple):
    """One stretch of recording, during which the answer stays the same."""

    eeg: Array  # [64, samples] at 128 Hz
    label: int  # 0 or 1
    subject: int = 0
    name: str = "a trial"  # for messages


@dataclass(frozen=True)
class EEGTask(Task):
    """Base class of tasks that cut trials into windows and look at these in two ways.

    The spatial view is filtered to a band and by common spatial patterns (`sandbox.tasks.csp`); the frequency view is
    the differential entropy in five bands (`sandbox.tasks.bands`) as maps of 32 x 32 (`sandbox.tasks.scalp`). Filters,
    means and deviations are those of windows for training, so that the unit of a recording changes nothing. Windows in
    which an electrode does not vary are refused, with the name of the trial.

    Args:
        window: length of a window [s]; the frequency view wants one that has frequencies in each band, such as 0.5.
        overlap: share by which windows overlap, from 0 to below 1.
        view: "both": the features of the spatial view before those of the frequency view,
            `[n, components * samples + 5 * 32 * 32]`, for the model `s2m_former`; "spatial":
            `[n, 1, components, samples]`; "frequency": `[n, 5, 32, 32]`; "sequence": the spatial view over time,
            `[n, samples, components]`.
        components: spatial filters, at most 64.
        band: of the spatial view [Hz].
    """

    window: float = 1.0
    overlap: float = 0.0
    view: View = "both"
    components: int = 64
    band: Band = (1.0, 8.0)

    imports: ClassVar[tuple[str, ...]] = ("scipy.signal", "scipy.linalg", "scipy.interpolate")

    def __post_init__(self) -> None:
        check_fields(self)
        at_least_one(components=self.components)
        if not self.samples >= 2 or not 0 <= self.overlap < 1:
            raise ValueError(
                f"window={self.window}, overlap={self.overlap}: give a length in seconds, and a share from 0 to below "
                f"1; a window has at least 2 of {RATE} samples a second"
            )
        if self.components > len(ELECTRODES):
            raise ValueError(f"components={self.components}: give at most {len(ELECTRODES)}, the number of electrodes")
        if not 0 < self.band[0] < self.band[1] < RATE / 2:
            raise ValueError(f"band={self.band}: give two frequencies that rise, between 0 and {RATE // 2} Hz")

    @property
    def samples(self) -> int:
        """Samples of a window, rounded down."""
        return math.floor(self.window * RATE) if math.isfinite(self.window) else 0

    @property
    def exchangeable(self) -> bool:
        """False: windows of a trial are alike."""
        return False

    @property
    def memory(self) -> int:
        """1; in a sequence all samples of a window, at most."""
        return self.samples if self.view == "sequence" else 1

    def made(self, parts: Parts) -> Dataset:
        """Return the windows of trials for training, validation and testing."""
        raw, labels = zip(*(self.windows(part) for part in parts), strict=True)
        views = []
        if self.view != "frequency":
            filtered = [
                self.windows([trial._replace(eeg=self.filtered(trial.eeg)) for trial in part])[0] for part in parts
            ]
            views.append(self.spatial(filtered, labels[0]))
        if self.view in ("both", "frequency"):
            views.append(self.frequency(raw))
        joined = [arranged(each, self.view) for each in zip(*views, strict=True)]
        train, validation, test = (
            Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y))
            for x, y in zip(joined, labels, strict=True)
        )
        return Dataset(train, validation, test, classes=2, sequence=self.view == "sequence")

    def windows(self, trials: Sequence[Trial]) -> tuple[Array, NDArray[np.int64]]:
        """Return all windows `[n, 64, samples]` and their labels.

        Raises ValueError for a trial shorter than a window, and for one with an electrode that does not vary in one.
        """
        step = max(1, round(self.samples * (1 - self.overlap)))
        found: list[Array] = []
        labels: list[int] = []
        for trial in trials:
            long = trial.eeg.shape[1]
            if long < self.samples:
                raise ValueError(
                    f"window={self.window}: a window of {self.samples} samples is longer than a trial, of which one "
                    f"has {long}; make windows shorter"
                )
            starts = range(0, long - self.samples + 1, step)
            cut = [trial.eeg[:, start : start + self.samples] for start in starts]
            require_signal(cut, trial.name)
            found += cut
            labels += [trial.label] * len(starts)
        return np.stack(found), np.array(labels, np.int64)

    def filtered(self, eeg: Array) -> Array:
        """Return a trial within the band, filtered forwards and backwards."""
        from scipy.signal import butter, sosfiltfilt

        found: Array = sosfiltfilt(butter(ORDER, self.band, "bandpass", fs=RATE, output="sos"), eeg)
        return found

    def spatial(self, windows: Sequence[Array], labels: NDArray[np.int64]) -> list[Array]:
        """Return the windows of each split through spatial filters, each with a deviation of 1 in training."""
        filters = spatial_filters(windows[0], labels, self.components)
        seen = [filters @ each for each in windows]
        scale = seen[0].std((0, 2), keepdims=True)
        return [each / scale for each in seen]

    def frequency(self, windows: Sequence[Array]) -> list[Array]:
        """Return the maps of each split, of entropies with a mean of 0 and a deviation of 1 at each electrode."""
        bands = list(BANDS.values())
        found = [band_entropies(each, RATE, bands).transpose(0, 2, 1) for each in windows]
        mean, spread = found[0].mean(0), found[0].std(0)
        return [maps((each - mean) / np.where(spread > 0, spread, 1), SIDE) for each in found]


def require_signal(windows: Sequence[Array], name: str) -> None:
    """Raise ValueError for windows `[electrodes, samples]` of a trial in which an electrode does not vary."""
    still = np.array([np.ptp(each, -1) <= ROUNDING * np.abs(each).max(-1) for each in windows])  # [n, electrodes]
    if still.any():
        which = np.flatnonzero(still.any(0))
        more = f" and {len(which) - 1} more" if len(which) > 1 else ""
        raise ValueError(
            f"{name}: electrode {ELECTRODES[which[0]]}{more} (number {which[0] + 1} of {still.shape[1]}) has the same "
            f"value throughout in {still.any(1).sum()} of {len(windows)} windows of {windows[0].shape[1]} samples: "
            "fill it in from its neighbours, or leave that trial out"
        )


def arranged(views: Sequence[Array], view: View) -> Array:
    """Return the samples of a split in the form of a view."""
    if view == "both":
        return np.concatenate([each.reshape(len(each), -1) for each in views], 1)
    return {"spatial": views[0][:, None], "frequency": views[0], "sequence": views[0].swapaxes(1, -1)}[view]
