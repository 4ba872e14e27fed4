"""The entry point of the command line: help is printed at once, all other code is imported when it is needed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from sandbox.cli import interruption, manual, printing
from sandbox.cli.options import BAD_INPUT, COMMANDS, FAILED, INTERRUPTED, OK


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
    with interruption.once():
        try:
            return _answer(words)
        except KeyboardInterrupt:
            return printing.complain(printing.interrupted(), INTERRUPTED)
        except printing.ReaderGone:
            printing.abandon_output()
            return OK
        except printing.OutputLost as error:
            printing.abandon_output()
            return printing.complain(str(error), FAILED)


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        printing.put(manual.overview())
        return OK if words else BAD_INPUT
    name, *rest = words
    if name in COMMANDS and any(word in ("-h", "--help") for word in rest):
        printing.put(manual.page(name))
        return OK
    from sandbox.cli.parser import perform

    code = perform(name, rest)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from sandbox.runs.launched import leave

        leave(code)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
