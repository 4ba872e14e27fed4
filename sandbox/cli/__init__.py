"""The command line: its options as data, one module for each group of subcommands, printing.

Imports everything below it, but only when a subcommand needs it.
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, `sandbox.cli.entry.main`, whose module can then be run itself (`python -m`)."""
    from sandbox.cli import entry

    return entry.main(arguments)


__all__ = ["main"]
