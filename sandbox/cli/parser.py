"""Parse one subcommand, carry it out, and turn exceptions into a message and an exit code."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentParser

from rules.errors import unknown
from sandbox.cli import printing
from sandbox.cli.options import BAD_INPUT, COMMANDS, JSON, OK, Command
from sandbox.cli.printing import complain
from sandbox.cli.remedies import code_of, message_of
from sandbox.cli.words import understood

PLACES = ("out", "folder", "data_dir")  # options that name a folder
TOGETHER = ("run", "resume")  # commands that several processes of torchrun carry out together


def perform(name: str, words: Sequence[str]) -> int:
    """Carry out a subcommand with these arguments; return the exit code."""
    if name not in COMMANDS:
        return complain(str(unknown("command", name, COMMANDS)), BAD_INPUT)
    if name not in TOGETHER and (rank := os.environ.get("TORCHELASTIC_RUN_ID") and os.environ.get("RANK")):
        text = f"torchrun is for {' and '.join(TOGETHER)}; start {name!r} without it, with --jobs if it takes that"
        return complain(text, BAD_INPUT) if rank == "0" else BAD_INPUT
    command = COMMANDS[name]
    parser = parser_for(command)
    given: Any = {}
    printing.forget()
    try:
        spelled = understood(words, name)
        if "--help-all" in spelled:
            printing.put(parser.format_help())
            return OK
        if command.config:
            from sandbox.config.reading import from_words

            if any(word.startswith("--print_config") or word.endswith(".help") for word in spelled):
                parser.parse_args(spelled)  # prints, and ends
            own = [option.name.removeprefix("--").replace("-", "_") for option in (*command.options, JSON)]
            made, rest = from_words(member(command.config), spelled, [*own, "help_all"])
            given = _parsed(command, rest)
            given["made"] = made
        else:
            given = _parsed(command, spelled)
        for option in PLACES:  # the shell expands `--out ~/runs`, but not `--out=~/runs`
            if isinstance(given.get(option), str):
                given[option] = os.path.expanduser(given[option])
        return int(member(command.act)(given))
    except (printing.ReaderGone, printing.OutputLost):
        raise
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        out = any(option.name == "--out" for option in command.options) and not given.get("join")
        return complain(message_of(error, parser, given.get("made"), out), code)


def _parsed(command: Command, words: Sequence[str]) -> Any:
    """Return the values of the options that only the command line has; raise ValueError for one that does not fit."""
    given = parser_for(command._replace(config=""), typed=False).parse_args(_listed(words))
    for option in command.options:
        key = option.name.removeprefix("--").replace("-", "_")
        if option.type not in (str, str | None) and isinstance(given[key], str):
            from sandbox.config.reading import value_of

            given[key] = value_of(option.type, given[key], option.name)
        elif option.type == str | None and given[key] == "null":
            given[key] = None
    return given


def _listed(words: Sequence[str]) -> list[str]:
    """Return words in which `--track+ a --track+=b`, which give one value after the other, are one list.

    >>> _listed(["--track+", "a", "--json", "--track+=b"])
    ['--json', '--track=["a", "b"]']
    """
    found, more, waiting = list[str](), dict[str, list[str]](), list(words)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if name.startswith("--") and name.endswith("+") and (equals or waiting):
            more.setdefault(name[:-1], []).append(value if equals else waiting.pop(0))
        else:
            found.append(f"{name}{equals}{value}")
    return [*found, *(f"{name}={json.dumps(values)}" for name, values in more.items())]


def parser_for(command: Command, typed: bool = True) -> ArgumentParser:
    """Return the parser of a subcommand: the fields of its dataclass, if it has one, and its own options.

    Args:
        command: the subcommand.
        typed: whether its own options are converted to their types; otherwise their values stay text.
    """
    about: dict[str, Any] = {"description": command.summary, "prog": f"sandbox {_name_of(command)}"}
    if command.config:
        from sandbox.config.reading import parser_of

        parser = parser_of(member(command.config), **about)
    else:
        parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, **about)
    for option in (*command.options, JSON):
        if option.flag:
            parser.add_argument(option.name, action="store_true", help=option.sentence)
        else:
            how: dict[str, Any] = {"nargs": option.positional} if option.positional else {}
            if option.name.startswith("-") or option.positional:
                how["default"] = option.default
            if not option.name.startswith("-"):
                how["metavar"] = option.shown
            if typed:
                how["type"] = option.type
            parser.add_argument(option.name, help=option.sentence, **how)
    parser.add_argument("--help-all", action="store_true", help="show every option, with its type and default")
    return parser


def _name_of(command: Command) -> str:
    return next(name for name, other in COMMANDS.items() if other.act == command.act)


def member(place: str) -> Any:
    """Return the object at `package.module:name`."""
    module, name = place.split(":")
    return getattr(import_module(module), name)
