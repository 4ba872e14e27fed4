"""The style of figures: colours, lines and markers of the rules, and the layout of a plot for plotly.js."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sandbox.machine.text import markup

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito 2008
LINES: tuple[tuple[Any, str], ...] = (  # for matplotlib and plotly.js; dotted is the linear classifier
    ("-", "solid"),
    ("--", "dash"),
    ("-.", "dashdot"),
    ((0, (8, 2)), "longdash"),
    ((0, (5, 1, 1, 1, 1, 1)), "longdashdot"),
)
MARKERS = (  # for matplotlib and plotly.js
    ("o", "circle"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("D", "diamond"),
    ("v", "triangle-down"),
    ("P", "cross"),
    ("X", "x"),
    ("*", "star"),
    ("<", "triangle-left"),
    (">", "triangle-right"),
    ("h", "hexagon"),
)
GREY = {"color": "#404040", "width": 1.8, "dash": "dot"}  # of the linear classifier
LONGEST = 18  # characters of a name on an axis; the label on hover has the whole name
AXIS = {"gridcolor": "#e4e4e4", "linecolor": "#606060", "zeroline": False, "ticks": "outside"}
FONT = 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif'


def colour(number: int, opacity: float = 1.0) -> str:
    """Return the colour of the n-th rule."""
    code = COLOURS[number % len(COLOURS)]
    red, green, blue = (int(code[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def line(number: int) -> dict[str, Any]:
    """Return the line of the n-th rule; dashes distinguish rules in grey."""
    return {"color": colour(number), "dash": LINES[number % len(LINES)][1], "width": 2}


def marker(number: int, *, hollow: bool = False) -> dict[str, Any]:
    """Return the marker of the n-th rule."""
    symbol, own = MARKERS[number % len(MARKERS)][1], colour(number)
    if hollow:
        return {"color": own, "symbol": f"{symbol}-open", "size": 10, "line": {"width": 2, "color": own}}
    return {"color": own, "symbol": symbol, "size": 7, "line": {"width": 0, "color": own}}


def layout(x: str, y: str, height: int = 380, **more: Any) -> dict[str, Any]:
    """Return a layout with labelled axes, `height` pixels tall; `more` is merged into it."""
    base: dict[str, Any] = {
        "height": height,
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "font": {"family": FONT, "size": 13, "color": "#1c2128"},
        "margin": {"l": 62, "r": 16, "t": 34, "b": 54 if broken(x) == x else 72},  # the top margin has room for buttons
        "xaxis": {**AXIS, "title": {"text": broken(x), "standoff": 8, "font": {"size": 13}}},
        "yaxis": {**AXIS, "title": {"text": y, "standoff": 8, "font": {"size": 13}}},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 13}, "namelength": -1},
        "showlegend": False,
        "dragmode": "zoom",
    }
    for name, part in more.items():
        base[name] = {**base[name], **part} if isinstance(base.get(name), dict) else part
    return base


def legend(title: str) -> dict[str, Any]:
    """Return a legend across the whole width below the axes."""
    left = {"orientation": "h", "x": 0.02, "xref": "container", "xanchor": "left"}
    bottom = {"y": 0, "yref": "container", "yanchor": "bottom", "maxheight": 2000}
    head = {"text": title, "side": "top", "font": {"size": 12, "color": "#57606a"}}
    return {**left, **bottom, "font": {"size": 13}, "itemwidth": 36, "title": head}


def broken(text: str) -> str:
    """Put the unit of an axis on its own line where the name is long."""
    return text.replace(" [", "<br>[") if len(text) > 24 else text


def name(text: str) -> str:
    """Escape what a browser would read as markup."""
    return markup(text)


def short(text: str) -> str:
    """Shorten and escape a name for narrow places; keep beginning and end, because similar names differ there."""
    return name(text if len(text) <= LONGEST else f"{text[:10]}…{text[-(LONGEST - 11) :]}")


def room(names: Sequence[str]) -> int:
    """Estimate the pixels that names beside an axis take; plotly.js would have to draw twice to find out."""
    return 16 + round(8.2 * max((min(len(name), LONGEST) for name in names), default=0))


def numbers(values: Sequence[float | None]) -> list[float | None]:
    """Round to six digits; a value that is not finite becomes a gap."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values]
