"""Read configurations from YAML or the command line into frozen dataclasses; misspelt names get suggestions."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jsonargparse import ArgumentParser, Namespace

from rules.errors import unknown
from sandbox.config.plain import build
from sandbox.machine.plain_yaml import parse_yaml, read_yaml

MISSPELT = re.compile(r"(?:unrecognized arguments: |[Oo]ption '|[Kk]ey '|does not accept option ')(?:--)?([\w.\-]+)")

UNSAID = {"": "no such option"}


def parser_of(kind: type[Any], **keywords: Any) -> ArgumentParser:
    """Build a parser whose options are the fields of a dataclass, with `--config` for a YAML file."""
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, **keywords)
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file with any of the options below; it is code: what it names is imported",
    )
    parser.add_class_arguments(kind)
    return parser


def from_dict(kind: type[Any], content: dict[str, Any]) -> Any:
    """Build an `Experiment` or a `Comparison` from the content of a YAML file, without importing what it names.

    Raises:
        ValueError: for a misspelt key, and for a value of another type than that of its field.

    >>> from sandbox.config.experiment import Experiment
    >>> from_dict(Experiment, {"seed": 3, "rule": {"name": "readout_only"}}).rule.name
    'readout_only'
    """
    if not isinstance(content, dict):
        raise ValueError(f"a configuration is a list of settings such as seed: 3, and this is {content!r:.60}")
    check_keys(kind, content, "a configuration")
    return build(kind, content, "")


def check_keys(hint: Any, value: Any, where: str) -> None:
    """Raise ValueError for a key that a configuration does not have, and suggest the nearest.

    Args:
        hint: type of the value: a dataclass, or the type of one of its fields.
        value: the value as read from YAML.
        where: name of the value, for the message.

    >>> from sandbox.config.experiment import Experiment
    >>> check_keys(Experiment, {"rule": {"name": "bptt", "option": {}}}, "an experiment")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: unknown key of rule 'option'; nearest: 'options'; valid: name, options, ..., epochs, label
    """
    if isinstance(value, list):
        for inner in get_args(hint):
            for each in value:
                check_keys(inner, each, where)
    elif isinstance(value, dict) and is_dataclass(hint):
        hints = get_type_hints(hint)
        for key, part in value.items():
            if key not in hints:
                raise unknown(f"key of {where}", str(key), [field.name for field in fields(hint)])
            check_keys(hints[key], part, str(key))
    elif isinstance(value, dict):
        for inner in get_args(hint):
            if is_dataclass(inner):
                check_keys(inner, value, where)


def check_words(kind: type[Any], words: Sequence[str], others: Collection[str] = ()) -> None:
    """Raise ValueError for a misspelt key inside the value of an option, or in the file given with `--config`.

    A file may also give `others`, the options of the command itself.
    """
    for word in words:
        name, _, text = word.removeprefix("--").partition("=")
        try:
            if name == "config":
                content = read_yaml(Path(text))
                if isinstance(content, dict):
                    content = {key: value for key, value in content.items() if key not in others}
                check_keys(kind, content, "a configuration")
            elif text[:1] in ("{", "["):
                check_keys(hint_of(kind, name.split(".")), parse_yaml(text, word), name.rpartition(".")[2])
            elif text.endswith((".yaml", ".yml")):
                read_yaml(Path(text))
        except OSError:
            continue  # the parser reports it


def hint_of(kind: Any, path: Sequence[str]) -> Any:
    """Return the type of the field at a dotted path; None if there is no such field."""
    for name in path:
        members = [kind, *get_args(kind)]
        kind = next((get_type_hints(m).get(name) for m in members if is_dataclass(m) and isinstance(m, type)), None)
    return kind


def parse(parser: ArgumentParser, read: Callable[[], Namespace]) -> Namespace:
    """Return what `read` parses; a name other than the default's does not inherit the options of the default.

    >>> from sandbox.config.experiment import Experiment
    >>> from_dict(Experiment, {"encoder": {"name": "still"}}).encoder
    Choice(name='still', options={})
    """
    given, defaults = read(), parser.get_defaults()
    options = [action.dest for action in parser._actions if action.dest.endswith(".options")]
    doubtful = [
        place
        for place in (dest.removesuffix(".options") for dest in options if defaults.get(dest))
        if given[f"{place}.name"] != defaults[f"{place}.name"]
        and given[f"{place}.options"] == defaults[f"{place}.options"]
    ]
    if doubtful:  # were these options given, or are they the default's? Read again with a default that nobody gives
        parser.set_defaults({f"{place}.options": UNSAID for place in doubtful})
        again = read()
        parser.set_defaults({f"{place}.options": defaults[f"{place}.options"] for place in doubtful})
        for place in doubtful:
            if again[f"{place}.options"] == UNSAID:
                given[f"{place}.options"] = {}
    return given


def built(kind: type[Any], parser: ArgumentParser, parsed: Namespace) -> Any:
    """Build the dataclass from a parsed namespace; options of the parser that are not fields are ignored."""
    names = [field.name for field in fields(kind)]
    made = parser.instantiate(Namespace({name: parsed[name] for name in names}))  # type: ignore[no-untyped-call]
    return kind(**{name: made[name] for name in names})


def explain(parser: ArgumentParser, error: Exception) -> str:
    """Return the parser's message, with the nearest valid option if one was misspelt."""
    message = str(error)
    found = MISSPELT.search(message)
    if found is None:
        return message
    valid = sorted(valid_options(parser))
    wrong = found[1].removeprefix("--")
    near = difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5) or difflib.get_close_matches(
        wrong.rpartition(".")[2], [option.rpartition(".")[2] for option in valid], n=1, cutoff=0.5
    )
    rest = "--help-all lists all options" if near else f"valid: {', '.join(valid)}"
    return f"{message}\n{f'nearest: {near[0]!r}; ' if near else ''}{rest}"


def valid_options(parser: ArgumentParser) -> set[str]:
    """Return all options of a parser, as dotted paths."""
    return {action.dest for action in parser._actions if action.dest not in ("help", "subcommand")}
