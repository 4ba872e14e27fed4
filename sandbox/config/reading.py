"""Reading configurations: YAML or command line into the frozen dataclasses, misspellings answered with the nearest."""

from __future__ import annotations

import difflib
import re
from dataclasses import fields
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace

MISSPELT = re.compile(r"(?:unrecognized arguments: |[Oo]ption '|[Kk]ey '|does not accept option ')(?:--)?([\w.\-]+)")


def parser_of(kind: type[Any], **keywords: Any) -> ArgumentParser:
    """A parser whose options are the fields of a dataclass, with `--config` for a YAML file."""
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, **keywords)
    parser.add_argument("--config", action="config", help="YAML file with any of the options below")
    parser.add_class_arguments(kind)
    return parser


def from_dict(kind: type[Any], content: dict[str, Any]) -> Any:
    """An `Experiment` or a `Comparison` from what a YAML file holds; raises ValueError for a misspelt key.

    >>> from sandbox.config.experiment import Experiment
    >>> from_dict(Experiment, {"seed": 3, "rule": {"name": "readout_only"}}).rule.name
    'readout_only'
    """
    parser = parser_of(kind)
    try:
        return built(kind, parser, parser.parse_object(content))
    except ArgumentError as error:
        raise ValueError(explain(parser, error)) from error


def built(kind: type[Any], parser: ArgumentParser, parsed: Namespace) -> Any:
    """The dataclass that a parsed namespace describes; options of the parser that are no fields are left out."""
    names = [field.name for field in fields(kind)]
    made = parser.instantiate(Namespace({name: parsed[name] for name in names}))  # type: ignore[no-untyped-call]
    return kind(**{name: made[name] for name in names})


def explain(parser: ArgumentParser, error: Exception) -> str:
    """The parser's message, with the nearest valid option where one was misspelt."""
    message = str(error)
    found = MISSPELT.search(message)
    if found is None:
        return message
    valid = sorted(valid_options(parser))
    wrong = found[1].removeprefix("--")
    near = difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5) or difflib.get_close_matches(
        wrong.rpartition(".")[2], [option.rpartition(".")[2] for option in valid], n=1, cutoff=0.5
    )
    hint = f"nearest: {near[0]!r}; " if near else ""
    return f"{message}\n{hint}valid: {', '.join(valid)}"


def valid_options(parser: ArgumentParser) -> set[str]:
    """Every option a parser understands, dotted."""
    return {action.dest for action in parser._actions if action.dest not in ("help", "subcommand")}
