"""What a page needs to draw its figures: plotly.js, the few lines that call it, and leave for these two alone."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sandbox.report.canvas import Plot

HERE = Path(__file__).parent
PLOTLY = HERE / "vendor" / "plotly-cartesian.min.js"  # lines, dots and matrices; all of plotly.js takes 0.8 s to parse


def scripts() -> tuple[Markup, ...]:
    """plotly.js and ours, in the order in which they run."""
    return tuple(Markup(path.read_text(encoding="utf-8")) for path in (PLOTLY, HERE / "plots.js"))


def allowed(texts: tuple[Markup, ...]) -> str:
    """The scripts that a browser may run, by their hashes; any other, such as one in a name, it refuses."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{found}'" for found in hashes) or "'none'"


def as_json(plots: Mapping[str, Plot]) -> Markup:
    """All figures, as text that ends no element."""
    content = {
        name: {"figure": plot.figure, "choices": [choice._asdict() for choice in plot.choices]}
        for name, plot in plots.items()
    }
    text = json.dumps(finite(content), separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e"))


def finite(content: Any) -> Any:
    """The same with null for every number that JSON does not know."""
    if isinstance(content, dict):
        return {key: finite(part) for key, part in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(part) for part in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
