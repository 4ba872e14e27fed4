"""Read the text files of the UEA and UCR archive of time series, `.ts`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Series(NamedTuple):
    """The series of a file."""

    values: tuple[NDArray[np.float64], ...]  # [steps, dimensions] of each
    labels: tuple[str, ...]  # the class of each, one of `classes`
    classes: tuple[str, ...]  # in the order of the file's head


def read_ts(content: bytes, name: str = "the file") -> Series:
    r"""Read a `.ts` file of classes: dimensions divided by colons, steps by commas, the class last.

    A value that is missing, `?`, is NaN. What follows a `#` at the beginning of a line is a remark.

    Args:
        content: of the file, unpacked.
        name: of the file, for messages.

    Raises:
        ValueError: for text that is not UTF-8, a head without `@data` or classes, time stamps, a class or a number that
            cannot be read, dimensions of different lengths, and another number of dimensions than the head says; the
            message names the line.

    >>> text = b"@dimensions 2\n@classLabel true up down\n@data\n1,2,3:0,0,1:up\n4:5:down\n"
    >>> [each.shape for each in read_ts(text).values], read_ts(text).labels
    ([(3, 2), (1, 2)], ('up', 'down'))
    """
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not a text in UTF-8 ({error}): unpack it, or fetch it again") from error
    head: dict[str, str] = {}
    values: list[NDArray[np.float64]] = []
    labels: list[str] = []
    begun = False
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        if begun:
            try:
                found, label = _case(line, head)
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from error
            values.append(found)
            labels.append(label)
        elif line.lower() == "@data":
            begun = True
            _require(head, name)
        elif line.startswith("@"):
            key, _, said = line[1:].partition(" ")
            head[key.lower()] = said.strip()
        else:
            raise ValueError(f"{name}, line {number}: a series in front of @data; is it a .ts file?")
    if not values:
        raise ValueError(f"{name} has no series behind @data; is it a .ts file, and whole?")
    return Series(tuple(values), tuple(labels), tuple(head["classlabel"].split()[1:]))


def _require(head: Mapping[str, str], name: str) -> None:
    """Raise ValueError for a head that this reader does not take."""
    if head.get("timestamps", "false").lower() == "true":
        raise ValueError(f"{name} has time stamps; this reader takes series with a value at every step")
    said = head.get("classlabel", "").split()
    if len(said) < 2 or said[0].lower() != "true":
        raise ValueError(f"{name} has no classes in its head: wanted a line such as `@classLabel true up down`")


def _case(line: str, head: Mapping[str, str]) -> tuple[NDArray[np.float64], str]:
    """Return the series `[steps, dimensions]` of a line, and its class."""
    *parts, label = line.split(":")
    classes = head["classlabel"].split()[1:]
    if label not in classes:
        raise ValueError(f"the class {label!r} is not one of {', '.join(classes)}; the line may be cut off")
    wanted = int(head["dimensions"]) if "dimensions" in head else len(parts)
    if len(parts) != wanted:
        raise ValueError(f"{len(parts)} dimensions, and the head says {wanted}")
    read = [[math.nan if value == "?" else float(value) for value in part.split(",")] for part in parts]
    if len({len(each) for each in read}) != 1:
        raise ValueError(f"dimensions of {', '.join(str(len(each)) for each in read)} steps: wanted one length")
    return np.array(read).T, label
