"""What an exception means to the user: an exit code, and a message that names the right remedy."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from sandbox.cli import printing
from sandbox.cli.options import BAD_INPUT, FAILED, IN_USE

INPUT = (ArgumentError, ValueError, TypeError, FileNotFoundError, ImportError)
WRONG_PLACE = (NotADirectoryError, FileExistsError, IsADirectoryError)  # a file where a folder is wanted, or vice versa
REMEDIES = {  # after which a command can be continued where it is
    errno.ENOSPC: "make room",
    errno.EDQUOT: "your quota is used up: make room",
    errno.EFBIG: "files may not grow that large: raise the limit (`ulimit -f unlimited`)",
    errno.EMFILE: "too many files are open: raise the limit (`ulimit -n 4096`)",
    errno.ENFILE: "too many files are open on this machine: close some programs",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
    errno.EIO: "the disk does not answer: check it",
    errno.ESTALE: "the file server has lost it: mount it again",
}
HOPELESS = {  # only a folder in another place helps
    errno.EROFS: "this file system is read-only",
    errno.ENAMETOOLONG: "its path is too long",
    errno.ELOOP: "its symbolic links lead in a circle",
}
ON_THE_COMMAND_LINE = {  # what a message calls by its name in Python, as options
    "x EquilibriumPropagation) needs": "--encoder still --network.model '{name: perceptron, options: {hidden: [100]}}'",
    "x ForwardForward) needs": "--encoder still --network.model '{name: perceptron, options: {hidden: [200, 200], "
    "activation: relu}}'",
    "build the model as an nn.Sequential of nn.Linear": "--encoder still --network.model perceptron",
    "build an nn.Sequential of nn.Linear": "--encoder still --network.model perceptron",
    "readout=sandbox.neurons.TwoCompartment(reset='none')": "--network.hidden '[]' --network.readout '{name: "
    "two_compartment, options: {reset: none}}'",
    "neuron=sandbox.LIF(v_threshold=sandbox.learnable(": "--network.model diehl_cook, or --network.neuron own.py:Name",
    "encode a static batch with sandbox.tasks.encode": "another --encoder than still, or --network.model perceptron",
    "and this rule learns from spikes: build": "--network.readout lif, or --network.neuron lif for hidden layers",
    "give smaller weights (gain, an option of the model": "--network.model '{name: perceptron, options: {gain: 0.5}}'",
    "rules.make('bcpnn', taught=False)": "--rule stdp, or --rule bcpnn --rule.options '{taught: false}'",
}
LOCKLESS = "without them two processes could write to one folder"
LARGE = 1000  # from which on a setting is named where memory does not suffice


def code_of(error: Exception) -> int | None:
    """Return the exit code for an exception; None for a bug of this program, which keeps its traceback."""
    from rules.diagnostics.nonfinite import NonFinite
    from rules.team import PeerFailed
    from sandbox.machine.memory import is_exhausted
    from sandbox.runs.book import RunFailed
    from sandbox.runs.folder import FolderInUse

    if isinstance(error, FolderInUse):
        return IN_USE
    if isinstance(error, (RunFailed, NonFinite, PeerFailed, sqlite3.Error)) or is_exhausted(error) or _is_gone(error):
        return FAILED
    if isinstance(error, (*INPUT, *WRONG_PLACE)):
        return BAD_INPUT
    return FAILED if isinstance(error, OSError) else None


def message_of(error: Exception, parser: ArgumentParser, made: Any = None, out: bool = False) -> str:
    """Return the message to print for an error.

    Args:
        error: what happened.
        parser: of the command.
        made: the configuration that the command was given, if it has one.
        out: whether the command takes another folder with --out.
    """
    from sandbox.machine.memory import is_exhausted

    if isinstance(error, ArgumentError):
        from sandbox.config.reading import explain

        return explain(parser, error)
    if is_exhausted(error):
        return f"out of memory ({_first_line(error)}); {_smaller(made)}, then {printing.continuation()}"
    if _is_gone(error):
        folder = printing.begun() or error.filename  # type: ignore[attr-defined]
        return f"{folder} was removed while it was in use; {printing.continuation()}"
    if isinstance(error, WRONG_PLACE):
        return f"{error}; give the name of a folder"
    if code_of(error) == FAILED and isinstance(error, (OSError, sqlite3.Error)):
        return f"{error}; {_remedy(error, out)}"
    return as_options(str(error))


def as_options(message: str) -> str:
    """Return a message with the options that stand for what it says in Python.

    >>> as_options("build an nn.Sequential of nn.Linear")
    'build an nn.Sequential of nn.Linear; as options: --encoder still --network.model perceptron'
    """
    found = next((options for python, options in ON_THE_COMMAND_LINE.items() if python in message), None)
    return f"{message}; as options: {found}" if found else message


def _remedy(error: Exception, out: bool) -> str:
    """Return what mends an error of the disk: where the folder is, or by another folder."""
    from sandbox.runs.folder import NoLocks

    number = (error.errno if isinstance(error, OSError) else None) or 0
    elsewhere = "name another folder with --out" if out else "copy the folder elsewhere and name the copy"
    if isinstance(error, NoLocks) or number in HOPELESS:
        return f"{LOCKLESS if isinstance(error, NoLocks) else HOPELESS[number]}: {elsewhere}"
    return f"{REMEDIES.get(number, 'mend that')}, then {printing.continuation()}; or {elsewhere}"


def _is_gone(error: Exception) -> bool:
    """Return whether the folder that a command works in was removed under its hands."""
    from sandbox.executors.base import Gone

    folder = printing.begun()
    if isinstance(error, Gone):
        return True
    if folder is None or not isinstance(error, FileNotFoundError) or error.filename is None:
        return False
    return Path(error.filename).absolute().is_relative_to(folder.absolute()) and not folder.exists()


def _smaller(made: Any) -> str:
    """Return which settings are large."""
    found = sorted(_numbers(made), key=lambda pair: -pair[1])[:3]
    names = ", ".join(f"{name}={value}" for name, value in found)
    return f"these settings are large: {names}" if names else "lower network.hidden, batch_size or steps of the encoder"


def _numbers(made: Any, where: str = "") -> Iterator[tuple[str, int]]:
    """Yield every large number in a configuration that is not a default, with its name."""
    from sandbox.config.identity import changed

    value = changed(made)
    if isinstance(value, dict):
        for name, inner in value.items():
            if name != "seed":
                yield from _numbers(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _numbers(inner, where)
    elif type(value) is int and value >= LARGE:
        yield where, value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
