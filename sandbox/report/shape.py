"""What the files of a finished folder hold, which a report checks before it draws: anybody may have edited them.

A shape is a function `(value, place) -> None` that raises ValueError, with place and value, for anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sandbox.measures import NAMES

Shape = Callable[[Any, str], None]
LONGEST = 2000  # characters of a name or a sentence; a figure of longer ones would not fit into memory
LARGEST = 1e300  # of a number, so that sums and squares of differences stay numbers
COUNTS = (
    "forwards",
    "backwards",
    "layer_evaluations",
    "synaptic_operations",
)  # of the first table; others are in a second


def refuse(value: Any, place: str, wanted: str) -> None:
    """Raise ValueError."""
    raise ValueError(f"{place} is {value!r:.60}, and has to be {wanted}")


def number(value: Any, place: str) -> None:
    """Accept a finite number."""
    if type(value) not in (int, float) or not abs(value) <= LARGEST:
        refuse(value, place, "a finite number")


def count(value: Any, place: str) -> None:
    """Accept a whole number that is not negative."""
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(value, place, "a whole number, at least 0")


def whole(value: Any, place: str) -> None:
    """Accept a whole number."""
    if type(value) is not int or not -(2**63) <= value < 2**63:
        refuse(value, place, "a whole number")


def word(value: Any, place: str) -> None:
    """Accept a text."""
    if not isinstance(value, str) or len(value) > LONGEST:
        refuse(value, place, f"a text of at most {LONGEST} characters")


def real(value: Any, place: str) -> None:
    """Accept a number, NaN and infinities among them: a loss may be one."""
    if type(value) is not float:
        number(value, place)


def measure(value: Any, place: str) -> None:
    """Accept the name of a measure."""
    if not isinstance(value, str) or value not in NAMES:
        refuse(value, place, f"one of {', '.join(NAMES)}")


def plain(value: Any, place: str) -> None:
    """Accept a number, a text, or the like."""
    if not (value is None or isinstance(value, bool)):
        (word if isinstance(value, str) else number)(value, place)


def maybe(shape: Shape) -> Shape:
    """Accept null, too."""
    return lambda value, place: None if value is None else shape(value, place)


def every(shape: Shape, length: int | None = None, least: int = 0) -> Shape:
    """Accept a list, of a length where one is given."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, list) or len(value) < least or (length is not None and len(value) != length):
            refuse(value, place, f"a list of {f'at least {least}' if length is None else length}")
        for position, each in enumerate(value):
            shape(each, f"{place}[{position}]")

    return check


def named(shape: Shape, least: int = 0) -> Shape:
    """Accept values by any names."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict) or len(value) < least:
            refuse(value, place, f"a mapping of at least {least}")
        for key, each in value.items():
            word(key, f"a name in {place}")
            shape(each, f"{place}.{key:.60}")

    return check


def having(shapes: Mapping[str, Shape]) -> Shape:
    """Accept a mapping with these keys, and any others; a key that ends with `?` may be missing."""

    def check(value: Any, place: str) -> None:
        if not isinstance(value, dict):
            refuse(value, place, "a mapping")
        for key, shape in shapes.items():
            name = key.removesuffix("?")
            if name in value:
                shape(value[name], f"{place}.{name}")
            elif name == key:
                raise ValueError(f"{place} lacks {name}")

    return check


def both(*shapes: Shape) -> Shape:
    """Accept what all of several shapes accept."""

    def check(value: Any, place: str) -> None:
        for shape in shapes:
            shape(value, place)

    return check


COST = both(named(maybe(number)), having(dict.fromkeys(COUNTS, maybe(number))))
PART = both(named(maybe(real)), having({"loss": real}))
RESULT = having(
    {
        "test": PART,
        "validation": PART,
        "train?": PART,
        "cost": COST,
        "health": every(word),
        "steps": count,
        "parameters": count,
        "parameters_trained": count,
        "firing?": maybe(named(number)),
    }
)


def result(found: Any, place: str, judged: str) -> None:
    """Check `result.json`, whose splits have a number for the measure that the run is judged by."""
    RESULT(found, place)
    for part in ("test", "validation"):
        number(found[part].get(judged), f"{place}.{part}.{judged}")
    for key, value in found["test"].items():
        if key.startswith(f"{judged}_at_"):
            maybe(number)(value, f"{place}.test.{key:.60}")
            if not re.fullmatch("[0-9]{1,9}", key.removeprefix(f"{judged}_at_")):
                raise ValueError(f"{place}.test.{key:.60}: after `at_` comes a number of steps")


def metrics(judged: str) -> Shape:
    """Accept a line of `metrics.jsonl`."""
    numbers = {"epoch": count, f"validation_{judged}": maybe(number)}
    return both(named(maybe(real)), having(numbers))


def look(found: Any, place: str) -> None:
    """Check a row of `microscope.jsonl`."""
    having({"step": count, "layer": word, "reference": word, "cosine": maybe(number)})(found, place)


def provenance(found: Any, place: str) -> None:
    """Check `provenance.json`, which is shown as it is."""
    named(lambda value, place: None)(found, place)
