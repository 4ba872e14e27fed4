"""The short help of the command line, printed from `options` in a fraction of a second."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from sandbox.cli.options import COMMANDS, EXIT_CODES, HELP, JSON, Command, Option

WIDTH = 100


def overview() -> str:
    """Return the help of `sandbox` itself: every subcommand with a sentence."""
    lines = [
        "usage: sandbox COMMAND [options]",
        "",
        "Compare learning rules, check neurons against Brian2, and plug a rule into a model of your own.",
        "",
        "commands:",
        *rows((name, command.summary) for name, command in COMMANDS.items()),
        "",
        "examples:",
        "  sandbox compare --preset demo",
        f"  {COMMANDS['compare'].example}",
        "",
        "`sandbox COMMAND --help` explains one.",
        "",
        EXIT_CODES,
    ]
    return "\n".join(lines)


def page(name: str) -> str:
    """Return the help of one subcommand: the options that are used most, then the others of its own."""
    command = COMMANDS[name]
    positional = [option for option in command.options if not option.name.startswith("-")]
    usage = " ".join(["usage: sandbox", name, *(option.shown for option in positional), "[options]"])
    named = {flag.split(" ")[0] for flag, _ in command.first}
    rest = [described(o) for o in (*command.options, JSON) if o.name.startswith("-") and o.name not in named]
    shown = HELP if command.config else HELP[:1]
    lines = [usage, "", command.summary, "", "example:", f"  {command.example}", ""]
    if positional:
        lines += ["arguments:", *rows((option.shown, option.sentence) for option in positional), ""]
    if command.first:
        lines += ["most used:", *rows(command.first), ""]
    lines += ["options:", *rows([*rest, *shown])]
    if command.config:
        lines += ["", deep(command, name)]
    return "\n".join(lines)


def deep(command: Command, name: str) -> str:
    """Return a note on how to see the settings of an experiment that the short help leaves out."""
    prefix = "experiment." if command.config.endswith(("Comparison", "Curriculum")) else ""
    return (
        f"Every setting of an experiment is an option too, such as --{prefix}encoder.options '{{steps: 10}}' or\n"
        f"--{prefix}microscope.every 100: see `sandbox {name} --help-all`."
    )


def described(option: Option) -> tuple[str, str]:
    """Return an option as the help shows it."""
    return (f"{option.name} {option.shown}".strip(), option.sentence)


def rows(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines of two columns; a long left entry gets a line of its own."""
    found = list(pairs)
    left = min(26, max(len(name) for name, _ in found)) + 4
    lines: list[str] = []
    for name, sentence in found:
        wrapped = textwrap.wrap(sentence, WIDTH - left) or [""]
        if len(name) + 4 > left:
            lines.append(f"  {name}")
        else:
            wrapped[0] = f"{f'  {name}':<{left}}{wrapped[0]}"
            lines.append(wrapped.pop(0))
        lines += [" " * left + line for line in wrapped]
    return lines
