"""Docstrings as Markdown: doctests and formulas are fenced; also the extension by which mkdocstrings does so.

Google's sections know examples only under a title. Here a doctest may stand anywhere, and without a fence Markdown
would read `>>>` as a quotation.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"(Args|Arguments|Attributes|Raises|Returns|Yields):(.*)")
COMMENT = re.compile(r"#\s*(?!noqa|type:)(\S.*?)(?:\s*# (?:noqa|type:).*)?$")
ITEM = re.compile(r"    ([\w*, ]+?)(?: \([^)]*\))?: (.*)")


class Fences(griffe.Extension):
    """Fences the doctests of every docstring; comments behind fields document them."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Rewrite the docstring of one object, when griffe has read it."""
        if obj.is_attribute and obj.docstring is None and obj.parent.is_class and not obj.name.startswith("_"):
            comment = COMMENT.search(obj.source)
            if comment:
                obj.docstring = griffe.Docstring(comment[1], lineno=obj.lineno, parent=obj)
            elif obj.annotation and "NamedTuple" in map(str, obj.parent.bases):  # no signature shows its fields
                obj.docstring = griffe.Docstring(f"`{obj.annotation}`", lineno=obj.lineno, parent=obj)
        elif obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
            if any(str(base).endswith("NamedTuple") for base in getattr(obj, "bases", ())):  # griffe sees no signature
                obj.docstring.value = obj.docstring.value.replace("\nArgs:\n", "\nAttributes:\n")


def fenced(text: str) -> str:
    r"""Return a docstring whose doctests and `.. math::` blocks are fenced as code.

    >>> fenced(">>> 1 + 1\n2\n\nReference: Peano 1889.")
    '```python\n>>> 1 + 1\n2\n```\n\nReference: Peano 1889.'
    """
    lines: list[str] = []
    closing = ""  # the fence that is open, with its indent
    formula = False
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        starts_math = line.strip() == ".. math::"
        if formula:
            if line.strip() and len(indent) <= len(closing) - 3:
                lines.append(closing)
                lines.append("")
                closing, formula = "", False
            else:
                lines.append(line)
                continue
        if not closing and line.strip().startswith(">>> "):
            lines.append(f"{indent}```python")
            closing = f"{indent}```"
        elif closing and not line.strip():
            lines.append(closing)
            closing = ""
        if starts_math:
            lines.append(f"{indent}```latex")
            closing, formula = f"{indent}```", True
        else:
            lines.append(re.sub(r":math:`([^`]+)`", r"`\1`", line))
    return "\n".join([*lines, closing] if closing else lines)


def markdown(text: str) -> str:
    r"""Return a whole docstring as Markdown: fenced, and with Google's sections as lists.

    >>> print(markdown("Step.\n\nArgs:\n    lr: rate,\n        above 0."))
    Step.
    <BLANKLINE>
    **Args**
    <BLANKLINE>
    - `lr`: rate, above 0.
    """
    lines: list[str] = []
    inside = False
    for line in fenced(text).splitlines():
        section = SECTION.fullmatch(line)
        if section:
            lines += [f"**{section[1]}**" + (f":{section[2]}" if section[2] else ""), ""]
            inside = True
        elif inside and (item := ITEM.fullmatch(line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif inside and line.startswith("    "):
            if lines[-1]:
                lines[-1] += f" {line.strip()}"
            else:
                lines.append(line.strip())
        else:
            inside = inside and not line.strip()
            lines.append(line)
    return "\n".join(lines)
