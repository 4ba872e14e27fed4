"""The entry point of the command line: help is printed at once, all other code is imported when it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sandbox.cli import manual
from sandbox.cli.options import BAD_INPUT, COMMANDS, OK


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows `sandbox` on the command line; `sys.argv[1:]` by default.

    Returns: the exit code.

    >>> main(["check", "bptt"])  # doctest: +ELLIPSIS
    bptt
    ok    plain data...
    0
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(manual.overview())
        return OK if words else BAD_INPUT
    name, *rest = words
    if name in COMMANDS and any(word in ("-h", "--help") for word in rest):
        print(manual.page(name))
        return OK
    from sandbox.cli.parser import perform

    code = perform(name, rest)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from sandbox.runs.launched import leave

        leave(code)
    return code
