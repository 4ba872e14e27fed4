"""Figures for a browser, drawn by plotly.js."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from sandbox.machine.text import script
from sandbox.report import figures, theme
from sandbox.statistics import Interval

Json = dict[str, Any]
SPREAD, MEAN = "band: lowest to highest seed", "band: 95 % interval of the mean"


class Plot(NamedTuple):
    """A figure for plotly.js."""

    message: str
    figure: Json
    choices: tuple[Json, ...]  # what each choice changes, as arguments of Plotly.update


def plot(figure: figures.Figure) -> Plot:
    """Translate a figure for plotly.js."""
    shown = figure.choices or (figures.Choice("", figure.title, figure.content),)
    drawn = [RENDERERS[type(choice.content)](choice.content) for choice in shown]
    changes = [_change(choice, each) for choice, each in zip(shown, drawn, strict=True)]
    return Plot(shown[0].title, drawn[0], tuple(changes) if len(changes) > 1 else ())


def _change(choice: figures.Choice, drawn: Json) -> Json:
    axis = drawn["layout"]["xaxis"]
    own = {f"xaxis.{key}": part for key, part in axis.items() if key not in (*theme.AXIS, "title")}
    return {
        "label": choice.label,
        "message": choice.title,
        "data": {"x": [trace["x"] for trace in drawn["data"]]},
        "layout": {"xaxis.title.text": axis["title"]["text"], **own},
    }


def _curves(content: figures.Curves) -> Json:
    """Draw each rule's mean in a band of its interval, or of all seeds; the legend shows and hides rules."""
    noun = theme.name(content.x.partition(" [")[0])
    data = [
        trace
        for number, (rule, curve) in enumerate(content.curves.items())
        for trace in _curve(number, rule, curve.thinned(), noun)
    ]
    data += _line(content.line, [x for curve in content.curves.values() for x in curve.x] or [0.0])
    several = any(len(curve.seeds) > 1 for curve in content.curves.values())
    mean = any(curve.band for curve in content.curves.values())
    ticks = {} if content.tick is None else {"dtick": content.tick}
    legend = theme.legend((MEAN if mean else SPREAD) if several else "")
    return {"data": data, "layout": theme.layout(content.x, content.y, showlegend=True, legend=legend, xaxis=ticks)}


def _curve(number: int, rule: str, curve: figures.Curve, noun: str) -> list[Json]:
    seeds = np.array(curve.seeds, dtype=float)  # [seeds, points]
    mean, low, high = seeds.mean(0), np.fmin.reduce(seeds), np.fmax.reduce(seeds)
    if curve.band:
        low, high = (np.array([each[end] for each in curve.band]) for end in (1, 2))
    label = [f"{theme.name(rule)}<br>{height:.2f}" for height in mean]
    if len(seeds) > 1:
        label = [f"{text} ({a:.2f} to {b:.2f})" for text, a, b in zip(label, low, high, strict=True)]
    label = [f"{text}<br>at {at} {noun}" for text, at in zip(label, curve.x, strict=True)]
    mode = "lines+markers" if len(curve.x) <= 30 else "lines"
    look = {"line": theme.line(number), "marker": theme.marker(number)}
    thick = _trace(rule, curve.x, mean, mode=mode, **look, hovertext=label)
    return [_band(number, rule, curve.x, low, high), thick] if len(seeds) > 1 else [thick]


def _band(number: int, rule: str, x: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Json:
    around = zip([*x, *list(x)[::-1]], [*low, *high[::-1]], strict=True)
    edge = [(at, height) for at, height in around if math.isfinite(height)]
    fill = {"fill": "toself", "hoverinfo": "skip", "fillcolor": theme.colour(number, 0.14), "showlegend": False}
    return _trace(rule, [at for at, _ in edge], [height for _, height in edge], mode="lines", line={"width": 0}, **fill)


def _panels(content: figures.Panels) -> Json:
    """Draw all panels as one plot, with an entry in the legend for each rule and layer."""
    rules = next(iter(content.layers.values()))
    curves = {f"{rule}, {layer}": found[rule] for rule in rules for layer, found in content.layers.items()}
    drawn = _curves(figures.Curves(content.x, content.y, curves))
    drawn["layout"]["yaxis"]["range"] = list(content.limits)
    return drawn


def _dots(content: figures.Dots) -> Json:
    """Draw all rules in two traces, because many traces are slow."""
    means, line, shapes = content.means, content.line, []
    if line is not None and math.isfinite(line.at):
        ends = {"x0": line.at, "x1": line.at, "y0": 0, "y1": 1, "yref": "paper"}
        shapes.append({"type": "line", **ends, "line": theme.GREY, "layer": "below"})
    rows = {**_names(list(means)), "range": [len(means) - 0.4, -0.6]}
    margin = {"l": theme.room(list(means))}
    layout = theme.layout(content.x, "", 96 + 42 * len(means), yaxis=rows, shapes=shapes, margin=margin)
    return {"data": [_seeds(content), _means(content)], "layout": layout}


def _seeds(content: figures.Dots) -> Json:
    """Draw the seeds faintly below the bars, which would hide them; a single seed is not drawn."""
    several = [(row, rule, content.seeds[rule]) for row, rule in enumerate(content.means)]
    points = [(value, row, rule) for row, rule, seeds in several if len(seeds) > 1 for value in seeds]
    faint = {"color": [theme.colour(content.looks[row], 0.4) for _, row, _ in points], "size": 7}
    x, y = [value for value, _, _ in points], [row + 0.26 for _, row, _ in points]
    label = [f"{theme.name(rule)}<br>a seed: {value:.2f}" for value, _, rule in points]
    return _trace("every seed", x, y, mode="markers", marker=faint, hovertext=label)


def _means(content: figures.Dots) -> Json:
    means = list(content.means.values())
    each = [theme.marker(number, hollow=True) for number in content.looks]
    look = {key: [one[key] for one in each] for key in ("color", "symbol")}
    return _trace(
        "means",
        [mean.mean for mean in means],
        list(range(len(means))),
        mode="markers",
        marker={**look, "size": 10, "line": {"width": 2}},
        error_x=_bar("#505050", means),
        hovertext=[f"{theme.name(rule)}<br>{mean}" for rule, mean in content.means.items()],
    )


def _scatter(content: figures.Scatter) -> Json:
    data = [
        _trace(
            rule,
            [content.costs[rule]],
            [mean.mean],
            mode="markers",
            marker=theme.marker(number, hollow=True),
            error_y=_bar(theme.colour(number), [mean]),
            hovertext=[f"{theme.name(rule)}<br>{mean}"],
        )
        for number, (rule, mean) in enumerate(content.means.items())
    ]
    data += _line(content.line, content.known)
    legend, axis = theme.legend(content.note), _cost_axis(content.known)
    layout = theme.layout(theme.name(content.x), content.y, showlegend=True, legend=legend, xaxis=axis)
    return {"data": data, "layout": layout}


def _cost_axis(costs: Sequence[float]) -> Json:
    """Return a logarithmic axis of more than a decade, so that it has labels; a linear one where a cost is 0."""
    if min(costs) <= 0:
        return {"type": "linear", "tickmode": "auto", "tickformat": "~s", "autorange": True, "range": None}
    low, high = math.log10(min(costs) / 4), math.log10(4 * max(costs))
    steps = (1, 2, 5) if high - low < 2 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(math.floor(low), math.ceil(high)) for step in steps]
    inside = [tick for tick in ticks if low <= math.log10(tick) <= high]
    known = {"type": "log", "tickmode": "array", "tickvals": inside, "tickformat": "~s"}
    return {**known, "autorange": False, "range": [low, high]}


def _matrix(content: figures.Matrix) -> Json:
    """Draw cells blue above 0, orange below and white without a number; a figure that is too narrow scrolls."""
    x, y, many = content.x, content.y, len(content.x) > 3
    heat = {
        "type": "heatmap",
        "z": [theme.numbers(row) for row in content.values],
        "zmin": -content.largest,
        "zmax": content.largest,
        "colorscale": [[0, "#e8913c"], [0.5, "#ffffff"], [1, "#5aa5de"]],  # pale enough for black text
        "hoverinfo": "text",
        "hoverongaps": True,
        "hovertext": [["<br>".join(map(theme.name, label)) for label in row] for row in content.hover],
        "text": [list(row) for row in content.text],
        "texttemplate": "%{text}",
        "textfont": {"size": 13, "color": "#000"},
        "x": list(range(len(x))),
        "y": list(range(len(y))),
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    columns = {**_names(x), "side": "top", "showgrid": False, "tickangle": -90 if many else 0}
    rows = {**_names(y), "autorange": "reversed", "showgrid": False}
    left, top = theme.room(y), 34 + (theme.room(x) if many else 24)
    margin = {"l": left, "t": top, "b": 14}
    height = top + 14 + 34 * len(y)
    layout = theme.layout("", "", height, xaxis=columns, yaxis=rows, plot_bgcolor="#f0f0f0", margin=margin)
    layout["meta"] = {"narrowest": left + 20 + (54 if many else 90) * len(x)}
    return {"data": [heat], "layout": layout}


RENDERERS: dict[type, Callable[[Any], Json]] = {
    figures.Curves: _curves,
    figures.Panels: _panels,
    figures.Dots: _dots,
    figures.Scatter: _scatter,
    figures.Matrix: _matrix,
}


def _names(names: Sequence[str]) -> Json:
    """Label an axis with names in place of numbers."""
    return {"tickvals": list(range(len(names))), "ticktext": [theme.short(name) for name in names], "ticks": ""}


def _line(line: figures.Line | None, over: Sequence[float]) -> list[Json]:
    """Draw a dotted horizontal line; none where its value is unknown."""
    if line is None or not math.isfinite(line.at):
        return []
    ends = [min(over), max(over)]
    return [_trace(line.label, ends, [line.at] * 2, mode="lines", line=theme.GREY, hovertext=[line.label] * 2)]


def _trace(rule: str, x: Sequence[float], y: Sequence[float], **more: Any) -> Json:
    name = theme.name(rule)
    points = {"x": theme.numbers(x), "y": theme.numbers(y)}
    return {"type": "scatter", "name": name, "legendgroup": name, **points, "hoverinfo": "text", **more}


def _bar(colour: str, found: Sequence[Interval]) -> Json:
    """Draw bars between the ends of the intervals: a BCa interval need not contain the mean."""
    above = theme.numbers([high - mean for mean, _, high in found])
    below = theme.numbers([mean - low for mean, low, _ in found])
    look = {"type": "data", "symmetric": False, "color": colour, "thickness": 1.6, "width": 5}
    return {**look, "array": above, "arrayminus": below}


def as_json(plots: Mapping[str, Plot]) -> Markup:
    """Write all plots as JSON that is safe inside a script element: `<`, `>` and `&` are escaped."""
    content = {name: {"figure": each.figure, "choices": each.choices} for name, each in plots.items()}
    return Markup(script(content))
