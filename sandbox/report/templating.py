"""Parts of the pages: templates, images, and the scripts that a browser may run."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from sandbox.machine import text

TEMPLATES = Path(__file__).parent / "templates"
PLOTLY = TEMPLATES / "vendor" / "plotly-cartesian.min.js"  # a part of plotly.js: parsing all of it takes 0.8 s


def environment() -> Environment:
    """Build the environment of the templates: text is escaped in HTML, and a missing name is an error.

    What is hidden in a text, such as a control character, is shown as an escape everywhere.
    """
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _seen(value: Any) -> Any:
    return text.terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def inline(png: bytes) -> Markup:
    """Encode a PNG as the `src` of an image."""
    return Markup("data:image/png;base64,") + base64.b64encode(png).decode()


def scripts() -> tuple[Markup, ...]:
    """Read plotly.js and our script, in the order in which they run."""
    return tuple(Markup(path.read_text(encoding="utf-8")) for path in (PLOTLY, TEMPLATES / "plots.js"))


def allowed(texts: tuple[Markup, ...]) -> str:
    """Return the hashes of the scripts that a browser may run; it refuses others, such as one in a rule's name."""
    hashes = (base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in texts)
    return " ".join(f"'sha256-{found}'" for found in hashes) or "'none'"
