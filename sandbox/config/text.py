"""YAML of configurations: 1e-3 is a number, what is in quotes stays text, and an alias cannot multiply without end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

LARGEST = 100_000  # values of a configuration, aliases counted as often as they are used
FLOAT = re.compile(
    r"""[-+]?(?:\d[\d_]*\.[\d_]*(?:[eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.[\d_]+(?:[eE][-+]?\d+)?)
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)""",
    re.X,
)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which reads 1e-3 as a number and leaves dates as text."""


class Dumper(yaml.SafeDumper):
    """Puts text in quotes that `Loader` or another reader would take for a number or a date."""


def _resolve(kind: Any, *without: str) -> None:
    kept = {
        first: [(tag, rule) for tag, rule in rules if not tag.endswith(without)]
        for first, rules in kind.yaml_implicit_resolvers.items()
    }
    kind.yaml_implicit_resolvers = kept
    kind.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{FLOAT.pattern})\Z", re.X), "-+.0123456789")


_resolve(Loader, ":float", ":timestamp")
_resolve(Dumper, ":float")  # a date is put in quotes, because other readers take it for one


def loads(text: str, source: str = "the text") -> Any:
    """Return what YAML says.

    Raises:
        ValueError: for what is not YAML, and for more than 100,000 values; the message has the source.

    >>> loads("{lr: 1e-3, label: '007', date: 2024-01-01}")
    {'lr': 0.001, 'label': '007', 'date': '2024-01-01'}
    """
    try:
        found = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(getattr(error, "problem", None) or error).split())[:200]
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"{source}{where} is not YAML: {problem}") from None
    _count(found, LARGEST, source)
    return found


def read(path: Path | str) -> Any:
    """Return what a YAML file says.

    Raises:
        ValueError: as `loads`, and for a file that is not text.
        OSError: for a file that cannot be read.
    """
    try:
        return loads(Path(path).read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not YAML: it is not text in UTF-8") from None


def dumps(content: Any, **layout: Any) -> str:
    """Return YAML that `loads`, or any other reader, reads as the same content.

    >>> print(dumps({"label": "1e3"}), end="")
    label: '1e3'
    """
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False, **layout))


def _count(value: Any, left: int, source: str) -> int:
    """Return how many more values are allowed after these; a value that holds itself uses up all."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        left -= 1
        if left < 0:
            raise ValueError(f"{source} has more than {LARGEST} values, or an alias that multiplies; write it shorter")
        if isinstance(each, Mapping):
            waiting.extend(each.values())
        elif isinstance(each, (list, tuple)):
            waiting.extend(each)
    return left
