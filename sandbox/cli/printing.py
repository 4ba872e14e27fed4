"""Output of the subcommands: a progress bar for people, JSON for machines."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sandbox.machine.text import terminal

MINUTE = 60.0  # [s] between two lines of progress where there is no terminal
_begun: list[tuple[Path, str]] = []  # the folder of this command, and what continues it, after an interruption
_unsaid: list[Path] = []  # the folder of this command, until it is printed


class Bar:
    """Progress on the error stream: a bar on a terminal, a line a minute elsewhere, nothing for machines.

    It appears with the first step, so that an early error is not printed below an empty bar.
    """

    def __init__(self, quiet: bool, unit: str = "step") -> None:
        self.quiet, self.unit = quiet, unit
        self.bar: tqdm[Any] | None = None
        self.printed = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are done."""
        announce()
        if self.quiet or not total:
            return
        if not sys.stderr.isatty():
            if time.monotonic() - self.printed >= MINUTE:
                self.printed = time.monotonic()
                print(f"{done} of {total} {self.unit}s ({done / total:.0%})", file=sys.stderr, flush=True)
            return
        if self.bar is None:
            self.bar = tqdm(unit=self.unit, file=sys.stderr, dynamic_ncols=True)
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *ended: object) -> None:
        if self.bar is not None:
            self.bar.close()


def begin(given: Any, folder: Path, again: str = "sandbox resume") -> Path:
    """Remember the folder of a command, for `continuation`, and for `announce` unless the output is JSON.

    Args:
        given: the parsed command line.
        folder: of the command.
        again: the command that, followed by the folder, continues it.
    """
    _begun[:] = [(folder, again)]
    _unsaid[:] = [] if given.json else [folder]
    return folder


def announce() -> None:
    """Print the folder of the command, once: when there is something in it, so not before a mistake is refused."""
    while _unsaid:
        print(terminal(f"folder: {_unsaid.pop()}"), file=sys.stderr, flush=True)


def begun() -> Path | None:
    """Return the folder in which a command has begun; None if there is none."""
    return _begun[0][0] if _begun else None


def continuation() -> str:
    """Return what continues the command: resuming its folder, or the same command where nothing was begun."""
    if _begun and (_begun[0][0] / "config.yaml").exists():
        folder, again = _begun[0]
        return f"continue: {again} {shlex.quote(str(folder))}"
    return "give the same command again"


def interrupted() -> str:
    """Return the message to print after Ctrl-C."""
    return f"interrupted; {continuation()}" if _begun else "interrupted"


def forget() -> None:
    """Forget the folder of an earlier command of this process."""
    _begun.clear()
    _unsaid.clear()


def complain(message: str, code: int) -> int:
    """Print an error and return its code."""
    with suppress(OSError, ValueError):  # the error stream may be closed, or its disk full
        if _begun and (_begun[0][0] / "config.yaml").exists():
            announce()
        print(terminal(f"error: {message}"), file=sys.stderr, flush=True)
    return code


class ReaderGone(Exception):
    """The reader of the standard output has stopped early, as in `sandbox list | head`."""


class OutputLost(Exception):
    """The standard output cannot be written; the message says why."""


def say(given: Any, facts: Any, text: str) -> None:
    """Print the text, or the facts as JSON; the folder of the command comes first, if it is not printed yet.

    Raises:
        ReaderGone: if the reader of a pipe has stopped.
        OutputLost: for anything else that the output cannot be written for.
    """
    announce()
    put(json.dumps(facts, indent=2, sort_keys=True, default=str) if given.json else terminal(text))


def put(text: str) -> None:
    """Print a text and make sure that it has left this process."""
    try:
        print(text, flush=True)
    except UnicodeEncodeError:  # an output that is no UTF-8 gets what it can hold
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except BrokenPipeError as error:
        raise ReaderGone from error
    except (OSError, ValueError) as error:  # ValueError: closed by the caller
        raise OutputLost(f"the standard output cannot be written ({error})") from error


def abandon_output() -> None:
    """Send what is left in the buffer of the standard output nowhere, so that the end of Python does not complain."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def percent(share: float | None) -> str:
    """Return a share in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.2f} %"
