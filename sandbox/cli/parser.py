"""Parse one subcommand, carry it out, and turn exceptions into a message and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from rules.errors import unknown
from sandbox.cli import printing
from sandbox.cli.codes import code_of
from sandbox.cli.options import BAD_INPUT, COMMANDS, FAILED, INTERRUPTED, JSON, OK, Command
from sandbox.cli.words import understood

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
    try:
        if "--help-all" in words:
            parser.print_help()
            return OK
        spelled = understood(words, name)
        if command.config:
            from sandbox.config.reading import built, check_words, parse

            own = [option.name.removeprefix("--").replace("-", "_") for option in (*command.options, JSON)]
            check_words(member(command.config), spelled, [*own, "help_all"])
            given = parse(parser, lambda: parser.parse_args(spelled))
            given["made"] = built(member(command.config), parser, given)
        else:
            given = parser.parse_args(spelled)
        return int(member(command.act)(given))
    except BrokenPipeError:  # the reader of a pipe stopped early: `sandbox list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return complain(interrupted(), INTERRUPTED)
    except Exception as error:
        code = code_of(error)
        if code is None:
            raise
        return complain(message_of(error, parser, code), code)


def parser_for(command: Command) -> ArgumentParser:
    """Return the parser of a subcommand: the fields of its dataclass, if it has one, and its own options."""
    about: dict[str, Any] = {"description": command.summary}
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
            parser.add_argument(option.name, type=option.type, help=option.sentence, **how)
    parser.add_argument("--help-all", action="store_true", help="show every option, with its type and default")
    return parser


def member(place: str) -> Any:
    """Return the object at `package.module:name`."""
    module, name = place.split(":")
    return getattr(import_module(module), name)


def message_of(error: Exception, parser: ArgumentParser, code: int) -> str:
    """Return the message to print for an error."""
    if isinstance(error, ArgumentError):
        from sandbox.config.reading import explain

        return explain(parser, error)
    if code == FAILED and isinstance(error, OSError):
        return f"{error}; make room or name another folder with --out, then continue: {printing.continuation()}"
    return str(error)


def interrupted() -> str:
    """Return the message to print after Ctrl-C."""
    return f"interrupted; continue: {printing.continuation()}" if printing.begun() else "interrupted"


def complain(message: str, code: int) -> int:
    """Print an error and return its code."""
    print(f"error: {message}", file=sys.stderr)
    return code
