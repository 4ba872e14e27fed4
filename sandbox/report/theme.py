"""How plots look in a browser: the colours, lines and markers of the printed figures, in the words of plotly.js."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import escape

from sandbox.report.canvas import COLOURS, LINES, MARKERS

DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")  # as `LINES`
SYMBOLS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "x",
    "star",
    "triangle-left",
    "triangle-right",
    "hexagon",
)  # as `MARKERS`
GREY = {"color": "#404040", "width": 1.8, "dash": "dot"}  # of the linear classifier
LONGEST = 18  # letters of a name on an axis; all of them are in the label under the mouse


def colour(number: int, opacity: float = 1.0) -> str:
    """Of the n-th rule."""
    code = COLOURS[number % len(COLOURS)]
    red, green, blue = (int(code[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def line(number: int) -> dict[str, Any]:
    """Of the n-th rule; in grey, dashes tell rules apart."""
    return {"color": colour(number), "dash": DASHES[number % len(LINES)], "width": 2}


def marker(number: int, *, hollow: bool = False) -> dict[str, Any]:
    """Of the n-th rule."""
    symbol = SYMBOLS[number % len(MARKERS)] + ("-open" if hollow else "")
    return {
        "color": colour(number),
        "symbol": symbol,
        "size": 10 if hollow else 7,
        "line": {"width": 2 if hollow else 0, "color": colour(number)},
    }


def layout(x: str, y: str, height: int = 380, **more: Any) -> dict[str, Any]:
    """Axes with their names, a legend below them, and nothing else; the height is that of the axes [px]."""
    axis = {"gridcolor": "#e4e4e4", "linecolor": "#606060", "zeroline": False, "ticks": "outside"}
    base: dict[str, Any] = {
        "height": height,
        "paper_bgcolor": "#fff",
        "plot_bgcolor": "#fff",
        "font": {"family": 'system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif', "size": 13, "color": "#1c2128"},
        "margin": {"l": 62, "r": 16, "t": 34, "b": 54 if broken(x) == x else 72},  # above is room for buttons
        "xaxis": {**axis, "title": {"text": broken(x), "standoff": 8, "font": {"size": 13}}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8, "font": {"size": 13}}},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 13}, "namelength": -1},
        "showlegend": False,
        "dragmode": "zoom",
    }
    for name, part in more.items():
        base[name] = {**base[name], **part} if isinstance(base.get(name), dict) else part
    return base


LEGEND = {
    "orientation": "h",
    "x": 0.02,
    "xref": "container",
    "xanchor": "left",
    "y": 0,
    "yref": "container",
    "yanchor": "bottom",
    "maxheight": 2000,
    "font": {"size": 13},
    "itemwidth": 36,
}


def legend(title: str) -> dict[str, Any]:
    """Over the whole width below the axes."""
    return {**LEGEND, "title": {"text": title, "side": "top", "font": {"size": 12, "color": "#57606a"}}}


def broken(text: str) -> str:
    """The name of an axis, with its unit on a line of its own where both together are long."""
    return text.replace(" [", "<br>[") if len(text) > 24 else text


def name(text: str) -> str:
    """A name that is not taken for markup."""
    return str(escape(text))


def short(text: str) -> str:
    """The same where there is little room: its beginning and its end, which tells it from its like."""
    return name(text if len(text) <= LONGEST else f"{text[:10]}…{text[-(LONGEST - 11) :]}")


def room(names: Sequence[str]) -> int:
    """For names beside an axis [px]; told, as plotly.js would draw twice to find out."""
    return 16 + round(8.2 * max((min(len(name), LONGEST) for name in names), default=0))


def numbers(values: Sequence[float | None]) -> list[float | None]:
    """To six digits; what is not a number leaves a gap."""
    return [None if value is None or not math.isfinite(value) else float(f"{value:.6g}") for value in values]
