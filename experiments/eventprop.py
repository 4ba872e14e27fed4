"""Yin-Yang with spike times alone, learned by EventProp without time steps; writes results/eventprop.json.

python experiments/eventprop.py             # or `make evidence-eventprop`; goes on where it was stopped
python experiments/eventprop.py 3 7         # these seeds alone

Four features become spikes from 0 to 30 ms, and a fifth input fires at 0 ms. 200 current-based cells and 3 of the
output are solved event by event, in compiled loops; the class whose cell fires first wins. All settings are those of
Wunderlich & Pehle 2021, whose script of the published figure is paper/figure2.py of eventprop/eventprop at 3cf602e;
nothing is searched. Silent cells are left as they are, as there. A sequence ends at 100 ms, where theirs has no end.
The test set is looked at once, at the end of a run.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from provenance import continued
from torch import Tensor
from torch.nn import functional as F

from rules.credit.eventprop import Membrane
from sandbox.kernels.spike_times import spike_times
from sandbox.machine.files import write_json
from sandbox.tasks.base import Split
from sandbox.tasks.yinyang import YinYang

KEPT = Path(__file__).parent / "results" / "eventprop.json"
CELL = Membrane(tau_mem=20.0, tau_syn=5.0)
FIRST, LAST, BIAS, HORIZON = 0.0, 30.0, 0.0, 100.0  # ms
TAU_0, TAU_1, ALPHA = 0.5, 6.4, 3e-3  # ms, ms, 1: of the loss
HIDDEN, CLASSES, SEEDS = 200, 3, 20
PUBLISHED, SPREAD, WITHIN = 98.10, 0.18, 0.2  # percent


class Settings(NamedTuple):
    """How long, and how fast."""

    epochs: int = 100
    batch: int = 32
    rate: float = 5e-3
    decay: float = 0.95  # of the rate after every epoch but the first


def latencies(x: Tensor) -> Tensor:
    """Return input times `[B, 5, 1]` [ms] of features `[B, 4]`: later for larger ones, and the fifth always alike.

    >>> latencies(torch.tensor([[0.0, 0.5, 1.0, 0.5]])).flatten().tolist()
    [0.0, 15.0, 30.0, 15.0, 0.0]
    """
    times = FIRST + x * (LAST - FIRST)
    return torch.cat([times, torch.full_like(times[:, :1], BIAS)], 1)[..., None]


def first_spikes(times: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return the first spike of each output, `[B, classes]`, inf for none, and the spikes of hidden cells."""
    hidden = spike_times(times, weights[0], CELL, HORIZON)
    found = spike_times(hidden, weights[1], CELL, HORIZON, most=1)
    late = found.new_full((*found.shape[:2], 1), torch.inf)
    return torch.cat([found, late], 2)[..., 0], hidden


def loss(first: Tensor, y: Tensor) -> Tensor:
    """Return cross-entropy of -t / tau_0 and alpha (e^{t / tau_1} - 1) of the right output; silent ones count as late.

    Samples whose right output is silent have nothing to move.
    """
    there = torch.isfinite(first)
    known = there.gather(1, y[:, None])[:, 0]
    safe = torch.where(there, first, HORIZON)
    mine = safe.gather(1, y[:, None])[:, 0]
    each = F.cross_entropy(-safe / TAU_0, y, reduction="none") + ALPHA * torch.expm1(mine / TAU_1)
    return torch.where(known, each, 0.0).sum() / len(y)


def accuracy(split: Split, weights: list[Tensor]) -> float:
    """Return the share of samples whose right output fires first, in percent."""
    with torch.no_grad():
        first, _ = first_spikes(latencies(split.x.double()), weights)
    right = torch.isfinite(first.amin(1)) & (first.argmin(1) == split.y)
    return 100 * float(right.double().mean())


def learned(seed: int, settings: Settings, task: YinYang, judged: str, hidden: int = HIDDEN) -> dict[str, Any]:
    """Train a network, and return its accuracy [%] on a split, and how many spikes of hidden cells there were."""
    rng, data = torch.Generator().manual_seed(seed), task.load()
    draw = lambda n, m, mean, spread: mean + spread * torch.randn(n, m, generator=rng, dtype=torch.float64)  # noqa: E731
    weights = [draw(hidden, 5, 1.5, 0.78), draw(CLASSES, hidden, 0.93 * HIDDEN / hidden, 0.1 * HIDDEN / hidden)]
    for w in weights:
        w.requires_grad_()
    adam = torch.optim.Adam(weights, lr=settings.rate)
    x, y = latencies(data.train.x.double()), data.train.y
    begun, spikes = time.perf_counter(), 0.0
    for epoch in range(settings.epochs):
        for group in adam.param_groups:
            group["lr"] = settings.rate * settings.decay ** max(epoch - 1, 0)
        spikes = 0.0
        for rows in torch.randperm(len(x), generator=rng).split(settings.batch):
            first, fired = first_spikes(x[rows], weights)
            adam.zero_grad()
            loss(first, y[rows]).backward()  # type: ignore[no-untyped-call]
            adam.step()
            spikes += int(torch.isfinite(fired).sum()) / len(x)
    found = accuracy(getattr(data, judged), weights)
    return {"accuracy": round(found, 2), "hidden spikes": round(spikes, 1), "seconds": time.perf_counter() - begun}


def verdict(found: list[float]) -> dict[str, Any]:
    """Return mean, standard deviation, median and range [%], and whether the mean is that of the authors within 0.2."""
    mean, spread = statistics.fmean(found), statistics.pstdev(found)
    return {
        "mean": round(mean, 2),
        "spread": round(spread, 2),
        "median": round(statistics.median(found), 2),
        "range": [min(found), max(found)],
        "seeds": len(found),
        "as published": abs(mean - PUBLISHED) <= WITHIN,
    }


def recorded(settings: Settings) -> dict[str, Any]:
    """Return all that a run depends on, and what it is compared with."""
    return {
        "task": str(YinYang()),
        "cell": str(CELL),
        "hidden": HIDDEN,
        "code [ms]": [FIRST, LAST, BIAS, HORIZON],
        "loss": {"tau_0 [ms]": TAU_0, "tau_1 [ms]": TAU_1, "alpha": ALPHA},
        **settings._asdict(),
        "published [%]": [PUBLISHED, SPREAD],
    }


def main() -> None:
    """Run the seeds that are missing, and keep each one."""
    torch.set_num_threads(1)
    settings, seeds = Settings(), [int(word) for word in sys.argv[1:]] or range(SEEDS)
    made = continued(
        *(KEPT, "make evidence-eventprop", recorded(settings)), "test accuracy [%]", "hidden spikes", "seconds"
    )
    found = made["test accuracy [%]"]
    for seed in map(str, seeds):
        if seed not in found:
            run = learned(int(seed), settings, YinYang(), "test")
            found[seed], made["hidden spikes"][seed] = run["accuracy"], run["hidden spikes"]
            made["seconds"][seed] = round(run["seconds"])
        made["claim"] = verdict(list(found.values()))
        write_json(KEPT, made)
        print(seed, found[seed], made["claim"], flush=True)


if __name__ == "__main__":
    sys.exit(main())
