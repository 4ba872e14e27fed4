"""The figure of a validation: voltages, differences, spikes, convergence, firing rates, frequency response."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from sandbox.reference.conformance.evidence import Convergence, Evidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE: dict[str, Any] = {"color": "0.72", "linewidth": 3.5}
THIN: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": "--"}
MARKERS = ("o", "s", "^", "D")


def conformance_figure(evidence: Evidence, unit: str, tolerance: float) -> Figure:
    """Draw one figure from the data of all tiers, for voltages in `unit` and their relative tolerance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, last = len(evidence.traces), _last_row(evidence)
    figure = Figure(
        figsize=(11.0, 1.15 * rows + (3.2 if last else 0.0) or 1.0), layout="constrained", facecolor="white"
    )
    FigureCanvasAgg(figure)
    heights = ([1.15 * rows] if rows else []) + ([3.2] if last else [])
    parts = list(figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flat) if heights else []
    if rows:
        _traces(parts.pop(0), evidence, unit, tolerance)
    if last:
        columns = parts.pop(0).subplots(1, len(last))
        for axes, draw in zip(np.atleast_1d(columns), last, strict=True):
            draw(axes)
            axes.spines[["top", "right"]].set_visible(False)
    return figure


def png(figure: Figure) -> bytes:
    """Return the bytes of a PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})  # so equal figures give equal bytes
    return file.getvalue()


def _last_row(evidence: Evidence) -> list[Any]:
    found: list[Any] = []
    raster, rates, response = evidence.raster, evidence.rates, evidence.response
    if raster is not None:
        found.append(lambda axes: _raster(axes, raster, evidence.sides))
    if evidence.convergence:
        found.append(lambda axes: _convergence(axes, evidence.convergence))
    if rates is not None:
        found.append(
            lambda axes: _pair(axes, rates.current, rates.solver, rates.ours, "f-I curve", "current [nA]", "rate [Hz]")
        )
    if response is not None:
        found.append(lambda axes: _response(axes, response))
    return found


def _traces(part: Any, evidence: Evidence, unit: str, tolerance: float) -> None:
    """Draw a row for each stimulus: current, membrane, and the difference on a logarithmic axis."""
    traces, (theirs, ours) = evidence.traces, evidence.sides
    grid = part.subplots(len(traces), 3, sharex=True, squeeze=False, width_ratios=(1, 2, 1.4))
    for row, trace in zip(grid, traces, strict=True):
        row[0].plot(trace.t, trace.current, color="black", linewidth=0.8)
        row[0].set_ylabel(trace.stimulus, rotation=0, ha="right", va="center")
        row[1].plot(trace.t, trace.theirs, label=theirs, **WIDE)
        row[1].plot(trace.t, trace.ours, label=ours, **THIN)
        off = np.abs(trace.ours - trace.theirs)
        row[2].semilogy(trace.t, np.where(off > 0, off, np.nan), ".", color="black", markersize=1.5)
        allowed = tolerance * (float(np.nanmax(np.abs(trace.theirs))) or 1.0)
        row[2].axhline(allowed, color="0.4", linestyle=":")
        row[2].set_ylim(1e-18, 10 * max(allowed, float(np.nanmax(off)) if np.isfinite(off).any() else 0.0, 1e-17))
        for axes in row:
            axes.tick_params(labelsize=7)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_title("current [nA]", fontsize=9, loc="left")
    grid[0][1].set_title(f"membrane [{unit}]: grey {theirs}, dashed {ours}", fontsize=9, loc="left")
    grid[0][2].set_title(f"|difference| [{unit}]; dotted: tolerance", fontsize=9, loc="left")
    for axes in grid[-1]:
        axes.set_xlabel("time [ms]", fontsize=8)


def _raster(axes: Axes, raster: Any, sides: tuple[str, str]) -> None:
    axes.plot(*raster.theirs, "|", color="0.7", markersize=7, markeredgewidth=2.2, label=sides[0])
    axes.plot(*raster.ours, "|", color="black", markersize=4, markeredgewidth=0.8, label=sides[1])
    _named(axes, f"spikes under noise: grey {sides[0]}, black {sides[1]}", "time [ms]", "cell")


def _convergence(axes: Axes, rows: list[Convergence]) -> None:
    for number, row in enumerate(rows):
        used = row.used > 0
        name = row.name.removeprefix("order of the ")
        label = f"{name}: slope {row.slope:.2f}" if used.any() else f"{name}: exact"
        error = np.where(row.error > 0, row.error, np.nan)
        marker = MARKERS[number % len(MARKERS)]
        axes.loglog(
            row.dt,
            error,
            marker + ":",
            color="0.55",
            markersize=4,
            markerfacecolor="none",
            label=None if used.any() else label,
        )
        if used.any():
            axes.loglog(row.dt[used], error[used], marker + "-", color="black", markersize=4.5, label=label)
            anchor = error[used][0] * (row.dt / row.dt[used][0]) ** row.order
            axes.loglog(row.dt, anchor, color="0.75", linewidth=3, zorder=0)
    axes.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    _named(axes, "error against dt; grey: the scheme's order", "dt [ms]", "error [scale; spikes: ms]")


def _pair(axes: Axes, x: Any, theirs: Any, ours: Any, title: str, across: str, up: str) -> None:
    axes.plot(x, theirs, label="SciPy", **WIDE)
    axes.plot(x, ours, "x", color="black", markersize=5, label="here")
    axes.legend(fontsize=7, frameon=False)
    _named(axes, title, across, up)


def _response(axes: Axes, response: Any) -> None:
    axes.loglog(response.hertz, response.theory, label="linear theory", **WIDE)
    axes.loglog(response.hertz, response.ours, "x", color="black", markersize=5, label="sandbox, dt to 0")
    axes.legend(fontsize=7, frameon=False)
    _named(axes, "frequency response of the membrane", "frequency [Hz]", "amplitude [v unit / nA]")


def _named(axes: Axes, title: str, across: str, up: str) -> None:
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(up, fontsize=8)
    axes.tick_params(labelsize=7)
