"""The command line: its options as data, one module for each group of subcommands, printing.

Imports everything below it, but only when a subcommand needs it.
"""

from sandbox.cli.entry import main

__all__ = ["main"]
