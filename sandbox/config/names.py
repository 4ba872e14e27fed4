"""What names may be: labels of rules and names of grids, which folders are called after, and names of members."""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import count

LONGEST = 60  # characters of a label
BETWEEN = {" = ": "=", ", ": ","}  # what stands between rules in tables, and what a label may have in its place
UNFIT = re.compile(r"[^\w.=+,()# -]")
LABEL = re.compile(r"[\w=+,()#-](?:[\w.=+,()# -]{0,58}[\w.=+,()#-])?")


def require_label(what: str, text: str) -> None:
    """Raise ValueError for text that cannot be part of the name of a folder on every system.

    Args:
        what: the setting that it was given as.
        text: the label of a rule, or the name of a grid.

    >>> require_label("label", "../mine")
    Traceback (most recent call last):
    ...
    ValueError: label='../mine' is part of the name of a folder: give 1 to 60 letters, digits, spaces and any of ...
    """
    if not LABEL.fullmatch(text):
        raise ValueError(
            f"{what}={text!r} is part of the name of a folder: give 1 to {LONGEST} letters, digits, spaces and any of "
            f". = + , ( ) # - _, without a dot at the beginning or a space at either end, such as {fitting(text)!r}"
        )


def fitting(text: str) -> str:
    """Return a label as near to any text as labels can be.

    >>> fitting("./folder/mine.py:sign lr=0.1")
    '_folder_mine.py_sign lr=0.1'
    """
    return UNFIT.sub("_", text).lstrip(". ")[:LONGEST].rstrip() or "_"


def of_a_row(text: str) -> str:
    """Return a label as near to any text as the label of a rule can be, which a table may put beside others.

    >>> of_a_row("bptt sizes=[3, 4]")
    'bptt sizes=_3,4_'
    """
    for part, instead in BETWEEN.items():
        while part in text:
            text = text.replace(part, instead)
    return fitting(text)


def numbered(name: str, taken: Container[str]) -> str:
    """Return a name, or a label like it with the first number from 2 on that is free.

    >>> numbered("bptt", []), numbered("bptt", ["bptt"]), numbered("own/mine.py:sign", ["own/mine.py:sign"])
    ('bptt', 'bptt#2', 'own_mine.py_sign#2')
    """
    if name not in taken:
        return name
    short = fitting(name)[: LONGEST - 6]
    return next(label for number in count(2) if (label := f"{short}#{number}") not in taken)


def require_member(kind: str, name: str) -> None:
    """Raise ValueError for a name of a user's own member that nothing can be imported by.

    Args:
        kind: of the member, such as "rule".
        name: as package.module:Name or path/to/file.py:Name.

    >>> require_member("task", "mydata:")
    Traceback (most recent call last):
    ...
    ValueError: task 'mydata:' is not package.module:Name or path/to/file.py:Name
    """
    module, _, member = name.rpartition(":")
    path = module.endswith(".py") and module.isprintable()
    if not (member.isidentifier() and (path or all(part.isidentifier() for part in module.split(".")))):
        raise ValueError(f"{kind} {name!r} is not package.module:Name or path/to/file.py:Name")
