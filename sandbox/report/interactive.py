"""Figures for a browser, from the numbers of the printed ones: curves with bands, dots with intervals, a matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sandbox.report import theme
from sandbox.report.canvas import Curve
from sandbox.statistics import Interval

Figure = dict[str, Any]
BAND = "band: lowest to highest seed"


def curves(found: Mapping[str, Curve], x: str, y: str, linear: float | None = None, **layout: Any) -> Figure:
    """The mean of each rule over its seeds, in a band from the lowest to the highest; a legend that filters."""
    data = [
        trace
        for number, (rule, curve) in enumerate(found.items())
        for trace in _curve(number, rule, curve.thinned(), x.partition(" [")[0])
    ]
    data += _linear(linear, [place for curve in found.values() for place in curve.x] or [0.0])
    legend = theme.legend(BAND if any(len(curve.seeds) > 1 for curve in found.values()) else "")
    return {"data": data, "layout": theme.layout(x, y, showlegend=True, legend=legend, **layout)}


def _curve(number: int, rule: str, curve: Curve, noun: str) -> list[Figure]:
    seeds = np.array(curve.seeds, dtype=float)  # [seeds, points]
    mean = seeds.mean(0)
    traces = []
    if len(seeds) > 1:
        edges = [*np.fmin.reduce(seeds), *np.fmax.reduce(seeds)[::-1]]
        around = [
            (at, edge) for at, edge in zip([*curve.x, *list(curve.x)[::-1]], edges, strict=True) if math.isfinite(edge)
        ]
        x, y = [at for at, _ in around], [edge for _, edge in around]
        traces.append(
            _trace(
                rule,
                x,
                y,
                mode="lines",
                line={"width": 0},
                fill="toself",
                hoverinfo="skip",
                fillcolor=theme.colour(number, 0.14),
                showlegend=False,
            )
        )
    told = [f"{theme.name(rule)}<br>{height:.2f}" for height in mean]
    if len(seeds) > 1:
        told = [
            f"{text} ({low:.2f} to {high:.2f})"
            for text, low, high in zip(told, np.fmin.reduce(seeds), np.fmax.reduce(seeds), strict=True)
        ]
    told = [f"{text}<br>at {at} {theme.name(noun)}" for text, at in zip(told, curve.x, strict=True)]
    mode = "lines+markers" if len(curve.x) <= 30 else "lines"
    return [
        *traces,
        _trace(rule, curve.x, mean, mode=mode, line=theme.line(number), marker=theme.marker(number), hovertext=told),
    ]


def dots(
    found: Mapping[str, Interval],
    seeds: Mapping[str, Sequence[float]],
    x: str,
    linear: float | None = None,
    numbers: Mapping[str, int] | None = None,
) -> Figure:
    """A line of the figure a rule, in their order: mean with its interval, and faintly every seed.

    `numbers` says which look each rule has, where they are not in the order of the table.
    """
    looks = list(range(len(found))) if numbers is None else [numbers[rule] for rule in found]
    data = [_seeds(found, seeds, looks), _means(found, looks)]  # two traces for all rules: many are slow
    shapes = []
    if linear is not None and math.isfinite(linear):
        shapes.append(
            {
                "type": "line",
                "x0": linear,
                "x1": linear,
                "y0": 0,
                "y1": 1,
                "yref": "paper",
                "line": theme.GREY,
                "layer": "below",
            }
        )
    ticks = {
        "tickvals": list(range(len(found))),
        "ticktext": [theme.short(rule) for rule in found],
        "ticks": "",
        "range": [len(found) - 0.4, -0.6],
    }
    layout = theme.layout(
        x, "", 96 + 42 * len(found), yaxis=ticks, shapes=shapes, margin={"l": theme.room(list(found))}
    )
    return {"data": data, "layout": layout}


def _seeds(found: Mapping[str, Interval], seeds: Mapping[str, Sequence[float]], looks: Sequence[int]) -> Figure:
    """Faintly, below the means, where the bars do not hide them; none of a single seed."""
    points = [(value, place, rule) for place, rule in enumerate(found) if len(seeds[rule]) > 1 for value in seeds[rule]]
    faint = {"color": [theme.colour(looks[place], 0.4) for _, place, _ in points], "size": 7}
    x, y = [value for value, _, _ in points], [place + 0.26 for _, place, _ in points]
    told = [f"{theme.name(rule)}<br>a seed: {value:.2f}" for value, _, rule in points]
    return _trace("every seed", x, y, mode="markers", marker=faint, hovertext=told)


def _means(found: Mapping[str, Interval], looks: Sequence[int]) -> Figure:
    each = [theme.marker(number, hollow=True) for number in looks]
    marker = {
        "color": [one["color"] for one in each],
        "symbol": [one["symbol"] for one in each],
        "size": 10,
        "line": {"width": 2},
    }
    told = [f"{theme.name(rule)}<br>{middle}" for rule, middle in found.items()]
    return _trace(
        "means",
        [middle.mean for middle in found.values()],
        list(range(len(found))),
        mode="markers",
        marker=marker,
        error_x=_bar("#505050", list(found.values())),
        hovertext=told,
    )


def scatter(found: Mapping[str, Interval], costs: Mapping[str, float], x: str, y: str, linear: float | None) -> Figure:
    """A point a rule at its cost, with the interval of its mean."""
    data = [
        _trace(
            rule,
            [costs[rule]],
            [middle.mean],
            mode="markers",
            marker=theme.marker(number, hollow=True),
            error_y=_bar(theme.colour(number), [middle]),
            hovertext=[f"{theme.name(rule)}<br>{middle}"],
        )
        for number, (rule, middle) in enumerate(found.items())
    ]
    ends = [value for value in costs.values() if math.isfinite(value)] or [0.0]
    data += _linear(linear, ends)
    legend = theme.legend("bar: 95 % interval of the mean" if any(math.isfinite(m.low) for m in found.values()) else "")
    axis = cost_axis(list(costs.values()))
    return {"data": data, "layout": theme.layout(x, y, showlegend=True, legend=legend, xaxis=axis)}


def cost_axis(costs: Sequence[float]) -> Figure:
    """Logarithmic, over more than a decade so that it has labels; where there is a 0 among the costs, linear."""
    whole = [cost for cost in costs if math.isfinite(cost)]
    if not whole or min(whole) <= 0:
        return {"type": "linear", "tickmode": "auto", "tickformat": "~s", "autorange": True, "range": None}
    low, high = math.log10(min(whole) / 4), math.log10(4 * max(whole))
    steps = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(math.floor(low), math.ceil(high)) for step in steps]
    inside = [tick for tick in ticks if low <= math.log10(tick) <= high]
    return {
        "type": "log",
        "tickmode": "array",
        "tickvals": inside,
        "tickformat": "~s",
        "autorange": False,
        "range": [low, high],
    }


def matrix(
    values: Sequence[Sequence[float]],
    told: Sequence[Sequence[str]],
    text: Sequence[Sequence[str]],
    x: Sequence[str],
    y: Sequence[str],
    reach: float | None = None,
) -> Figure:
    """Rows by columns, each cell with its number; blue above 0, orange below it, white where there is none."""
    flat = [abs(value) for row in values for value in row if math.isfinite(value)]
    reach = reach or max(flat, default=1.0) or 1.0
    colours = [[0, "#e8913c"], [0.5, "#ffffff"], [1, "#5aa5de"]]  # pale enough for black letters
    heat = {
        "type": "heatmap",
        "z": [theme.numbers(row) for row in values],
        "zmin": -reach,
        "zmax": reach,
        "colorscale": colours,
        "hoverinfo": "text",
        "hoverongaps": True,
        "hovertext": [list(row) for row in told],
        "text": [list(row) for row in text],
        "texttemplate": "%{text}",
        "textfont": {"size": 13, "color": "#000"},
        "x": list(range(len(x))),
        "y": list(range(len(y))),
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    columns = {
        "tickvals": list(range(len(x))),
        "ticktext": [theme.short(name) for name in x],
        "side": "top",
        "showgrid": False,
        "ticks": "",
        "tickangle": -90 if len(x) > 3 else 0,
    }
    rows = {
        "tickvals": list(range(len(y))),
        "ticktext": [theme.short(name) for name in y],
        "autorange": "reversed",
        "showgrid": False,
        "ticks": "",
    }
    left, top = theme.room(y), 34 + (theme.room(x) if len(x) > 3 else 24)
    layout = theme.layout(
        "",
        "",
        top + 14 + 34 * len(y),
        xaxis=columns,
        yaxis=rows,
        plot_bgcolor="#f0f0f0",
        margin={"l": left, "t": top, "b": 14},
    )
    layout["meta"] = {"narrowest": left + 20 + (54 if len(x) > 3 else 90) * len(x)}  # [px]; below it the figure scrolls
    return {"data": [heat], "layout": layout}


def _linear(accuracy: float | None, over: Sequence[float]) -> list[Figure]:
    """A dotted line over an axis; none where it is not known."""
    if accuracy is None or not math.isfinite(accuracy):
        return []
    label = f"linear classifier, test {accuracy:.2f} %"
    return [_trace(label, [min(over), max(over)], [accuracy] * 2, mode="lines", line=theme.GREY, hovertext=[label] * 2)]


def _trace(rule: str, x: Sequence[float], y: Sequence[float], **more: Any) -> Figure:
    return {
        "type": "scatter",
        "name": theme.name(rule),
        "legendgroup": theme.name(rule),
        "x": theme.numbers(x),
        "y": theme.numbers(y),
        "hoverinfo": "text",
        **more,
    }


def _bar(colour: str, found: Sequence[Interval]) -> Figure:
    """From its ends: a BCa interval need not lie around the mean."""
    return {
        "type": "data",
        "symmetric": False,
        "color": colour,
        "thickness": 1.6,
        "width": 5,
        "array": theme.numbers([high - mean for mean, _, high in found]),
        "arrayminus": theme.numbers([mean - low for mean, low, _ in found]),
    }
