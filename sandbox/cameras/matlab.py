"""Recordings in MATLAB files: the touches of ST-MNIST, and events that `dat2mat.m` made of AEDAT 2."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from sandbox.cameras.events import Events, Sensor, events_of
from sandbox.cameras.need import module

TAXELS = 10  # of a row of ST-MNIST's sensor, and of a column
DVS128 = (128, 128)


def mat(content: bytes, name: str, sensor: Sensor | None = None) -> Events:
    """Parse a MATLAB file of version 5 to 7 with one of two variables.

    `spiketrain` `[101, n]` is a recording of ST-MNIST: 100 taxels, of which number k is in column `k % 10` and row
    `k // 10`, with 1, -1 or 0 for each of n moments, and their times [s] in the last row, rounded to us here. `out1`
    `[n, 6]` is what `dat2mat.m` makes of a recording of CIFAR10-DVS or MNIST-DVS: times [us], two columns without
    meaning, x, y, and polarities of -1 and 1; later versions of it leave the two columns out.

    Args:
        content: of the file.
        name: of the file, for messages.
        sensor: height and width [pixel]; None for 10 x 10 taxels and for the 128 x 128 pixels of the DVS128.

    Raises:
        ValueError: with the name of the file, for other variables or shapes, and as `events_of` does.

    Reference: See et al. 2020, arXiv 2005.04319, for the order of taxels as in tonic (read, not used), which states for
    the authors' archive the checksum sha256:825bb5a64753fff4a2a2c32e3497fa8a951d9c94993e03ba25a057e17d83b884 (not
    checked here); `dat2mat.m`.
    """
    if content.startswith(b"MATLAB 7.3"):
        raise ValueError(f"{name} is a MATLAB file of version 7.3; save it with the option '-v7'")
    try:
        found = module("scipy.io", "MATLAB").loadmat(io.BytesIO(content))
    except Exception as error:  # SciPy raises many kinds for damaged files
        raise ValueError(f"{name} cannot be read ({error}): it is truncated or damaged; copy it again") from error
    if "spiketrain" in found:
        return _touches(found["spiketrain"], name, (TAXELS, TAXELS) if sensor is None else sensor)
    if "out1" in found:
        return _converted(found["out1"], name, DVS128 if sensor is None else sensor)
    names = ", ".join(key for key in found if not key.startswith("__")) or "none"
    raise ValueError(f"{name} has the variables {names}; wanted spiketrain (ST-MNIST) or out1 (dat2mat)")


def _touches(spikes: Any, name: str, sensor: Sensor) -> Events:
    """Return the events of ST-MNIST."""
    if spikes.ndim != 2 or len(spikes) != TAXELS**2 + 1:
        raise ValueError(f"{name}: spiketrain has shape {spikes.shape}; wanted {TAXELS**2 + 1} rows")
    moment, taxel = np.nonzero(spikes[:-1].T)
    t = np.round(spikes[-1, moment].astype(np.float64) * 1e6)
    return events_of(t, taxel % TAXELS, taxel // TAXELS, spikes[taxel, moment], sensor, name)


def _converted(rows: Any, name: str, sensor: Sensor) -> Events:
    """Return the events of `dat2mat.m`."""
    if rows.ndim != 2 or rows.shape[1] not in (4, 6):
        raise ValueError(f"{name}: out1 has shape {rows.shape}; wanted 6 columns (t, -, -, x, y, p), or 4 (t, x, y, p)")
    x, y, p = rows[:, -3:].T
    return events_of(rows[:, 0], x, y, p, sensor, name)
