"""Curves of fused loops and synapses against steps, cells, spike density and threads.

python benchmarks/plots.py         # under a minute; writes figures/speed.png, its numbers, and a section of README.md
"""

from __future__ import annotations

import json
import statistics
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib
import torch
from kernels import fastest, ours, peers, step
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from readme import machine, put
from synapses import done, layer
from timing import in_turn, stopwatch

from sandbox.neurons import LIF

FIGURES = Path(__file__).parent / "figures"
TIMES, CELLS = (25, 50, 100, 200, 400, 800, 1600), (16, 64, 256, 1024, 4096)
DENSITIES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
THREADS = (1, 2)
SAMPLES, INNER, OUT = 2560, 784, 256  # of a synapse
ROUNDS = 5
STYLES = (("black", "o", "-"), ("dimgrey", "s", "--"), ("darkgrey", "^", ":"))  # distinguishable without colour

Curves = dict[str, list[float]]


def together(calls: dict[str, Callable[[], object]], curves: Curves) -> None:
    """Add the median time [ms] of each call to its curve; they are called in turn, and once before."""
    for call in calls.values():
        call()
    columns = zip(*in_turn([stopwatch(call) for call in calls.values()], ROUNDS), strict=True)
    for name, column in zip(calls, columns, strict=True):
        curves.setdefault(name, []).append(1e3 * statistics.median(column))


def loops(shapes: Sequence[tuple[int, ...]], threads: Sequence[int]) -> Curves:
    """Time LIF forward and backward, for each shape or each number of threads."""
    ways = {"kernel": ours(LIF()), "plain loop": ours(LIF(), "plain")}
    found, _ = peers("to_value")
    if found:
        name = fastest(found, shapes[0])
        ways[name] = found[name]
    curves: Curves = {}
    for shape in shapes:
        for count in threads:
            torch.set_num_threads(count)
            together({name: step(loop, shape) for name, loop in ways.items()}, curves)
    torch.set_num_threads(1)
    return curves


def weighing() -> Curves:
    """Time forward and weight gradient of a first layer, by events and by the dense product."""
    curves: Curves = {}
    for density in DENSITIES:
        one = [layer(INNER, OUT, SAMPLES, density, first=True)]
        together({"events": partial(done, "events", one), "dense": partial(done, "dense", one)}, curves)
    return curves


def measure() -> dict[str, dict[str, object]]:
    """Return each panel: its title, the label and values of its x axis, and its curves [ms]."""
    torch.set_num_threads(1)
    return {
        "steps": {
            "title": "LIF, forward and backward, 32 x 128 cells",
            "x": "time steps T",
            "at": TIMES,
            "ms": loops([(steps, 32, 128) for steps in TIMES], (1,)),
        },
        "cells": {
            "title": "LIF, forward and backward, T = 100, B = 32",
            "x": "neurons N",
            "at": CELLS,
            "ms": loops([(100, 32, cells) for cells in CELLS], (1,)),
        },
        "density": {
            "title": f"Synapse {INNER} x {OUT}, {SAMPLES} rows, forward and weight",
            "x": "active inputs [%]",
            "at": [100 * density for density in DENSITIES],
            "ms": weighing(),
        },
        "threads": {
            "title": "LIF, forward and backward, T = 100, B = 128, N = 256",
            "x": "threads",
            "at": THREADS,
            "ms": loops([(100, 128, 256)], THREADS),
        },
    }


def panel(axes: Axes, title: str, x: str, at: Sequence[float], ms: Curves) -> None:
    for (name, curve), (colour, marker, line) in zip(ms.items(), STYLES, strict=False):
        axes.plot(at, curve, color=colour, marker=marker, linestyle=line, markersize=4, label=name)
    axes.set(title=title, xlabel=x, ylabel="time [ms]", xscale="log", yscale="log")
    axes.set_xticks(at, [f"{value:g}" for value in at])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def draw(panels: dict[str, dict[str, object]], file: Path) -> None:
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    for axes, content in zip(figure.subplots(2, 2).flat, panels.values(), strict=True):
        panel(axes, **content)  # type: ignore[arg-type]
    figure.savefig(file, dpi=110)


WORDS = """\
Float32 on one thread, except in the last panel; medians of {rounds} alternating calls; both axes are logarithmic.
The peer is the library that was fastest on the first shape. The numbers are in
[figures/speed.json](figures/speed.json).

![Time against steps, cells, density of spikes and threads](figures/speed.png)
"""


def main() -> None:
    warnings.simplefilter("ignore")
    matplotlib.rcParams["axes.titlesize"] = 9
    FIGURES.mkdir(exist_ok=True)
    panels = measure()
    (FIGURES / "speed.json").write_text(json.dumps(panels, indent=1) + "\n")
    draw(panels, FIGURES / "speed.png")
    put("Curves", f"{WORDS.format(rounds=ROUNDS)}\n{machine('torch', 'numba')}")


if __name__ == "__main__":
    main()
