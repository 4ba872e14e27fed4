"""Read YAML that anybody may have written: plain data alone, with bounds on size, depth and what aliases stand for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from sandbox.machine.files import bytes_of

BYTES = 4 << 20  # of a file: a grid of a thousand comparisons takes 2 MB
NODES = 200_000  # with every alias counted as what it stands for
DEPTH = 100
SCALAR = 1 << 16  # characters; YAML 1.1 has numbers whose reading takes time that grows with the square of the length
FLOAT = "tag:yaml.org,2002:float"
INT = "tag:yaml.org,2002:int"
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z")
NUMBER = re.compile(  # 1e-3 and 1.5e3 are words in YAML 1.1, and 1:30.5 is a number
    r"""(?:[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z""",
    re.X,
)

Fast: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast where libyaml is installed


class Loader(Fast):  # type: ignore[misc]
    """Plain data; `1e-3` is a number, as on the command line, and a date is a word."""


class Dumper(yaml.SafeDumper):
    """Writes what `Loader` reads: the word '1e-3' gets quotes, and what occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return that no value is written as an alias of another."""
        return True


# Only decimal numbers are read as numbers: 1:30 is 90 in YAML 1.1, 010 is 8, and 1_0 is 10. What other readers take for
# a number or a date is written in quotes.
Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if not pair[0].endswith((":float", ":int", ":timestamp"))]
    for first, pairs in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(INT, WHOLE, list("-+0123456789"))
for each in (Loader, Dumper):
    each.add_implicit_resolver(FLOAT, NUMBER, list("-+.0123456789"))


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain data.

    Raises:
        ValueError: names the file, and says what is wrong with it: broken YAML, tags such as `!!python/object`, a file
            that is too large, too deep, or grows too large by its aliases.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file; name a YAML file")
    if path.stat().st_size > BYTES:
        raise ValueError(f"{path} is too large for a configuration: {path.stat().st_size} bytes, at most {BYTES}")
    try:
        text = bytes_of(path, BYTES).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text in UTF-8 ({error}); write it again, or remove it") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Any:
    """Return the plain data in a text; raise ValueError, which begins with `name`, as `read_yaml` does.

    >>> parse_yaml("lr: 1e-3", "options")
    {'lr': 0.001}
    >>> parse_yaml("a: !!python/name:os.system", "options")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: options is not valid YAML (could not determine a constructor for the tag ...
    """
    try:
        if not _is_plainly_small(text):
            require_small(text, name)
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML ({_said(error)}); write it again, or remove it") from error
    except (TypeError, OverflowError, KeyError, AttributeError, ValueError) as error:
        if str(error).startswith(name):
            raise
        raise ValueError(f"{name} is not valid YAML ({error}); write it again, or remove it") from error


def dump_yaml(content: Any, **style: Any) -> str:
    """Return plain data as YAML that `read_yaml` reads; `style` as for `yaml.dump`."""
    return str(yaml.dump(content, Dumper=Dumper, sort_keys=False, **style))


def require_small(text: str, name: str) -> None:
    """Raise ValueError, which begins with `name`, for a text whose data would be too many, too deep or too long."""
    around: list[tuple[str | None, int]] = []  # of each collection around an event: its anchor, and the nodes before
    sizes: dict[str, int] = {}  # nodes of each anchor whose node has ended
    nodes = 0
    for event in yaml.parse(text, Loader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"{name} holds the alias *{event.anchor}, which stands for itself or for nothing")
            nodes += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            around.append((event.anchor, nodes))
            nodes += 1
        elif isinstance(event, yaml.ScalarEvent):
            nodes += 1
            if event.anchor:
                sizes[event.anchor] = 1
            if len(event.value) > SCALAR:
                raise ValueError(f"{name} holds a word of {len(event.value)} characters, at most {SCALAR}")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = around.pop()
            if anchor:
                sizes[anchor] = nodes - before
        if len(around) > DEPTH:
            raise ValueError(f"{name} is nested more than {DEPTH} deep")
        if nodes > NODES:
            raise ValueError(f"{name} holds more than {NODES} values, those counted for which its aliases stand")


def _is_plainly_small(text: str) -> bool:
    """Return whether a look is enough to see that a text is small, as configurations are; the bounds are far away.

    Without anchors nothing multiplies, and depth takes brackets, indentation, or dashes in a row.
    """
    few = text.count("[") + text.count("{") < DEPTH // 4
    return len(text) < SCALAR and few and not any(mark in text for mark in ("&", "- -", "? ", " " * (DEPTH // 4)))


def _said(error: yaml.YAMLError) -> str:
    """Return what is wrong, and in which line."""
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return f"{what}, line {mark.line + 1}" if mark is not None else str(what)
