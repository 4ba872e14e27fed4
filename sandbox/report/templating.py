"""What the pages are made of: templates, pictures, and the scripts that a browser may run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
PLOTLY = TEMPLATES / "vendor" / "plotly-cartesian.min.js"  # a part of plotly.js, which takes 0.8 s to parse whole


def environment() -> Environment:
    """Find the templates; text is escaped in HTML, and a name that is not given is an error."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def inline(png: bytes) -> Markup:
    """Write a picture as the `src` of an image."""
    return Markup("data:image/png;base64,") + base64.b64encode(png).decode()


def scripts() -> tuple[Markup, ...]:
    """Read plotly.js and ours, in the order in which they run."""
    return tuple(Markup(path.read_text(encoding="utf-8")) for path in (PLOTLY, TEMPLATES / "plots.js"))


def allowed(texts: tuple[Markup, ...]) -> str:
    """Name the scripts that a browser may run, by their hashes; it refuses any other, such as one in a name."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{found}'" for found in hashes) or "'none'"
