"""Read the text files of the UEA and UCR archive of time series, `.ts`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
GAPS = ("?", "nan", "")
FLAGS = ("timestamps", "missing", "univariate", "equallength")  # words of a head that are true or false
COUNTS = ("dimensions", "serieslength")
WORDS = (*FLAGS, *COUNTS, "dimension", "problemname", "classlabel", "targetlabel", "data")


class Series(NamedTuple):
    """The series of a file."""

    values: tuple[NDArray[np.float64], ...]  # [steps, dimensions] of each
    labels: tuple[str, ...]  # the class of each, one of `classes`
    classes: tuple[str, ...]  # in the order of the file's head


class _Head(NamedTuple):
    """What is said in front of the series; None for what is not."""

    classes: tuple[str, ...]
    dimensions: int | None
    steps: int | None  # of every series
    equal: bool  # whether all series are equally long


def read_ts(content: bytes, name: str = "the file") -> Series:
    r"""Read a `.ts` file of classes: dimensions divided by colons, steps by commas, the class last.

    What follows a `#` at the beginning of a line is a remark. Words of the head may be in any case and divided by
    spaces or tabs; `@dimension` is `@dimensions`.

    Args:
        content: of the file, unpacked.
        name: of the file, for messages.

    Raises:
        ValueError: for text that is not UTF-8, a head without `@data` or classes, and one that is misspelt or
            contradicts itself or the series; time stamps, missing values, a class or a number that cannot be read, and
            dimensions of different lengths. The message names the line, and what to do.

    >>> text = b"@dimensions 2\n@classLabel true up down\n@data\n1,2,3:0,0,1:up\n4:5:down\n"
    >>> [each.shape for each in read_ts(text).values], read_ts(text).labels
    ([(3, 2), (1, 2)], ('up', 'down'))
    """
    try:
        lines = _lines(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not a text in UTF-8 ({error}): unpack it, or fetch it again") from error
    said: dict[str, tuple[int, str]] = {}
    head: _Head | None = None
    values: list[NDArray[np.float64]] = []
    labels: list[str] = []
    for number, line in lines:
        try:
            if head is not None:
                found, label = _case(line, head, values)
                values.append(found)
                labels.append(label)
            elif line.lower() == "@data":
                head = _head(said)
            else:
                _say(line, number, said)
        except ValueError as error:
            raise ValueError(f"{name}, line {number}: {error}") from error
    if head is None or not values:
        raise ValueError(f"{name} has no series behind @data; is it a .ts file, and whole?")
    return Series(tuple(values), tuple(labels), head.classes)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines that say something, with their numbers."""
    stripped = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    return ((number, line) for number, line in stripped if line and not line.startswith("#"))


def _say(line: str, number: int, said: dict[str, tuple[int, str]]) -> None:
    """Add a line of the head to what is said; raise ValueError for one that says nothing, or something else."""
    if not line.startswith("@"):
        raise ValueError("a series in front of @data; is it a .ts file?")
    word, *rest = line[1:].split(None, 1) or [""]
    value = rest[0].strip() if rest else ""
    if word.lower() not in WORDS and (near := get_close_matches(word.lower(), WORDS, 1, 0.8)):
        raise ValueError(f"@{word} is not a word of a head: is it @{near[0]}?")
    key = "dimensions" if word.lower() == "dimension" else word.lower()
    if key in FLAGS and value.lower() not in ("true", "false"):
        raise ValueError(f"@{word} is {value!r}; wanted true or false")
    if key in COUNTS and not (value.isascii() and value.isdigit() and int(value) > 0):
        raise ValueError(f"@{word} is {value!r}; wanted a whole number, at least 1")
    if key in said and said[key][1] != value:
        raise ValueError(
            f"@{word} is {value!r}, and line {said[key][0]} says {said[key][1]!r}: leave the right one there"
        )
    said[key] = number, value


def _head(said: dict[str, tuple[int, str]]) -> _Head:
    """Return what a head says; raise ValueError for one that this reader does not take."""
    flags = {key: said[key][1].lower() == "true" for key in FLAGS if key in said}
    if flags.get("timestamps"):
        raise ValueError(
            f"line {said['timestamps'][0]} says that there are time stamps; this reader takes series with a value at "
            "every step: leave the times out"
        )
    first, *classes = said.get("classlabel", (0, ""))[1].split() or [""]
    if first.lower() != "true" or not classes:
        raise ValueError("no classes in its head: wanted a line such as `@classLabel true up down`")
    if twice := [label for label in classes if classes.count(label) > 1]:
        raise ValueError(f"line {said['classlabel'][0]} has the class {twice[0]!r} more than once: leave one of them")
    dimensions, steps = (int(said[key][1]) if key in said else None for key in COUNTS)
    if flags.get("univariate"):
        if dimensions not in (None, 1):
            raise ValueError(
                f"line {said['dimensions'][0]} says {dimensions} dimensions, and line {said['univariate'][0]} that "
                "there is one (@univariate true): leave the right one there"
            )
        dimensions = 1
    equal = flags.get("equallength", False)
    return _Head(tuple(classes), dimensions, steps if equal else None, equal)


def _case(line: str, head: _Head, before: list[NDArray[np.float64]]) -> tuple[NDArray[np.float64], str]:
    """Return the series `[steps, dimensions]` of a line, and its class, behind the series before it."""
    if line.startswith("("):
        stamp = line.partition(")")[0][:40]
        raise ValueError(
            f"the series has time stamps, {stamp}): this reader takes a value at every step: leave the times out"
        )
    *parts, label = (part.strip() for part in line.split(":"))
    if label not in head.classes:
        raise ValueError(f"the class {label!r} is not one of {', '.join(head.classes)}; the line may be cut off")
    wanted = head.dimensions or (before[0].shape[1] if before else len(parts))
    if len(parts) != wanted:
        said = "the head says" if head.dimensions else "the first series has"
        raise ValueError(f"{len(parts)} dimensions, and {said} {wanted}")
    read = [_numbers(part, f"series {len(before) + 1}, dimension {place}") for place, part in enumerate(parts, 1)]
    lengths = [len(each) for each in read]
    if len(set(lengths)) != 1:
        raise ValueError(f"dimensions of {', '.join(map(str, lengths))} steps: wanted one length")
    steps = head.steps or (len(before[0]) if before and head.equal else lengths[0])
    if lengths[0] != steps:
        said = f"@seriesLength is {steps}" if head.steps else f"the first series has {steps}"
        raise ValueError(f"the series has {lengths[0]} steps, and by @equalLength true all have as many: {said}")
    return np.array(read).T, label


def _numbers(part: str, where: str) -> list[float]:
    """Return the values of a dimension; raise ValueError, with its place, for one that is missing or not finite."""
    found = []
    for step, value in enumerate(map(str.strip, part.split(",")), 1):
        if value.lower() in GAPS:
            said = value or "nothing between commas, or behind the last one"
            raise ValueError(
                f"{where}, step {step}: the value is missing ({said}): fill it in, from its neighbours, or leave that "
                "series out"
            )
        number = float(value) if NUMBER.fullmatch(value) else math.nan
        if not math.isfinite(number):
            raise ValueError(
                f"{where}, step {step}: {value[:40]!r} is not a finite number; wanted one such as -1.5 or 2e-3"
            )
        found.append(number)
    return found
