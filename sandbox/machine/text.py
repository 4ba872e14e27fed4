"""Text that others wrote, made harmless for where it goes: a terminal, a CSV cell, Markdown, HTML or a script.

Each writer passes every name that comes from a folder or a configuration through the function of its destination.
"""

from __future__ import annotations

import html
import json
import re
import shlex
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Control characters, formats (of which bidirectional overrides are some), halves of pairs, separators of lines.
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
FORMULA = ("=", "+", "-", "@")  # with which a spreadsheet begins a formula
INNER = re.compile(r';([\s"]*)(?=[=+\-@])')  # a spreadsheet may take a semicolon for the end of a cell
MARKUP = re.compile(r"([\\`*\[\]|])")  # what makes code, emphasis, links, pictures and cells
LINK = re.compile(r"(?i)(www)\.|:(?=//)")  # what Markdown makes a link without any brackets


def line(text: object) -> str:
    r"""Return a text on one line in which everything is seen: what is hidden becomes an escape.

    >>> line("a\x1b[31m\nb\u202e")
    'a\\x1b[31m\\nb\\u202e'
    """
    return "".join(_seen(letter) for letter in str(text))


def said(error: Exception) -> str:
    r"""Return what an error says about a file that others may have edited, on one line and without names of code.

    >>> said(ValueError("a.json is not valid\nJSON")), said(KeyError("rows"))
    ('a.json is not valid JSON', "a file is damaged: it lacks 'rows'")
    """
    if isinstance(error, KeyError):
        return f"a file is damaged: it lacks {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, (OSError, ValueError)) or type(error).__module__.startswith("sandbox."):
        return " ".join(str(error).split())
    return "a file is damaged: what it holds is of another kind than a run writes"


def terminal(text: object) -> str:
    """Return a text of several lines for a terminal; only their ends stay of what is hidden."""
    return "\n".join(line(part) for part in str(text).split("\n"))


def cell(value: Any) -> Any:
    """Return the value of a CSV cell; text never begins a formula, not behind quotes either, and a number stays one.

    >>> cell("=1+1"), cell("a;=1"), cell(-0.5), cell(None)
    ("'=1+1", "a;'=1", -0.5, None)
    """
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = INNER.sub(r";\1'", line(value))
    return f"'{text}" if re.sub(r'^[\s"]+', "", text).startswith(FORMULA) else text


def markdown(text: object) -> str:
    r"""Return a text for one line or cell of Markdown, where it is neither markup nor HTML.

    >>> markdown("a|b <c> ![d](http://e)")
    'a\\|b &lt;c&gt; !\\[d\\](http&#58;//e)'
    """
    escaped = MARKUP.sub(r"\\\1", html.escape(line(text), quote=False))
    return LINK.sub(lambda found: f"{found[1]}&#46;" if found[1] else "&#58;", escaped)


def code(text: object) -> str:
    """Return a text for a span of code in Markdown, between backticks, which it cannot close."""
    return line(text).replace("`", "'").replace("|", "¦")


def fenced(text: object, language: str = "") -> str:
    """Return a text of several lines as a block of code in Markdown; its fence is longer than any in the text.

    >>> print(fenced("a: ```"))
    ````
    a: ```
    ````
    """
    inner = terminal(text).rstrip("\n")
    longest = max((len(found) for found in re.findall("`+", inner)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{inner}\n{fence}"


def markup(text: object) -> str:
    """Return a text for HTML that is not escaped elsewhere, such as the labels of plotly.js."""
    return html.escape(line(text))


def script(content: Any) -> str:
    """Return JSON that cannot end the script element around it."""
    written = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return written.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def command(*words: object) -> str:
    """Return a command line of this project to be copied into a shell, which sees every word as one.

    >>> command("resume", "my runs/r")
    "sandbox resume 'my runs/r'"
    """
    return shlex.join(["sandbox", *map(str, words)])


def file_name(text: object) -> str:
    """Return a name for a file that stays in its folder: letters, digits, dots within and `_`, at most 80.

    >>> file_name("credit_../../x y")
    'credit_.._.._x_y'
    """
    return re.sub(r"[^\w.-]", "_", str(text), flags=re.ASCII).lstrip(".-")[:80] or "_"


def harmless(value: Any) -> Any:
    """Return plain data whose texts, keys among them, are one line each, for a page that shows them whole."""
    if isinstance(value, str):
        return line(value)
    if isinstance(value, Mapping):
        return {harmless(key): harmless(part) for key, part in value.items()}
    if isinstance(value, Sequence):
        return [harmless(part) for part in value]
    return value


def _seen(letter: str) -> str:
    if letter.isascii():
        return letter if letter.isprintable() else letter.encode("unicode_escape").decode()
    return letter.encode("unicode_escape").decode() if unicodedata.category(letter) in HIDDEN else letter
