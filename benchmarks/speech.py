"""How much faster than speech its tasks hear it: mel channels, resampling, and spikes counted in steps, on one core.

python benchmarks/speech.py
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from readme import machine, put, table
from timing import in_turn, spent

from sandbox.networks.rebinned import rebin
from sandbox.tasks import FSDD, GSC
from sandbox.tasks.hearing import Ear, Scale
from sandbox.tasks.spike_files import Bins, Spikes
from sandbox.tasks.wav import resampled

RECORDINGS = 50
SHORT = 0.44  # [s] of a recording of fsdd, as a rule
SPIKES = 8000  # of a second through the cochlea
ROUNDS = 9


def hearing(ear: Ear, seconds: float) -> Callable[[], object]:
    """Return a call that hears recordings of noise."""
    rng = np.random.default_rng(0)
    sounds = [rng.normal(scale=0.1, size=round(seconds * ear.rate)) for _ in range(RECORDINGS)]
    names = ["noise"] * RECORDINGS

    def call() -> None:
        level = ear.levels(sounds, names)
        ear.coded(level, Scale.of(level.value, level.sounding))

    return call


def resampling(old: int, new: int) -> Callable[[], object]:
    """Return a call that resamples recordings of a second."""
    sounds = np.random.default_rng(0).normal(size=(RECORDINGS, old))
    return lambda: [resampled(sound, old, new) for sound in sounds]


def counting(bins: Bins) -> Callable[[], object]:
    """Return a call that counts the spikes of recordings of a second."""
    rng = np.random.default_rng(0)
    every = [Spikes(rng.uniform(0, 1, SPIKES), rng.integers(0, 700, SPIKES)) for _ in range(RECORDINGS)]
    return lambda: [bins(spikes, "noise") for spikes in every]


def main() -> None:
    """Write the section."""
    torch.set_num_threads(1)
    fine = (torch.rand(1000, RECORDINGS, 140, generator=torch.Generator().manual_seed(0)) < 0.05).float()
    calls = {
        "mel channels and spikes as in `fsdd`, 8 kHz, 40 channels": (hearing(FSDD().ear(), SHORT), SHORT),
        "mel levels as in `gsc`, 16 kHz, 140 channels": (hearing(GSC().ear(), 1.0), 1.0),
        "from 22.05 to 8 kHz": (resampling(22_050, 8_000), 1.0),
        "from 44.1 to 16 kHz": (resampling(44_100, 16_000), 1.0),
        "8,000 spikes in 100 steps and 140 channels, as in `shd`": (counting(Bins(100, 10.0)), 1.0),
        "8,000 spikes in 1,000 steps and 700 channels": (counting(Bins(1000, 1.0, 1)), 1.0),
        "1,000 steps of 140 channels summed to 100 (`rebin`)": (lambda: rebin(fine, 10), 1.0),
    }
    in_turn([spent(call) for call, _ in calls.values()], 1)
    times = in_turn([spent(call) for call, _ in calls.values()], ROUNDS)
    body = []
    for number, (name, (_, seconds)) in enumerate(calls.items()):
        took = statistics.median(row[number] for row in times) / RECORDINGS
        body.append((name, f"{1e3 * took:.3f} ms", f"{seconds / took:.0f}", ">= 100"))
    head = ("what", "CPU time of a recording", "times faster than speech", "target")
    said = f"Medians of {ROUNDS} rounds over {RECORDINGS} recordings of noise; for `fsdd` of 0.44 s, else of 1 s."
    put("Speech", f"{said}\n\n{table(head, body)}\n\n{machine('torch', 'numpy', 'scipy', 'learning-rule-sandbox')}")


if __name__ == "__main__":
    main()
