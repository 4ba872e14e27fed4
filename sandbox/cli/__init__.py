"""The command line: parsing, one module for each group of subcommands, printing. Imports everything below it."""

from sandbox.cli.parser import main

__all__ = ["main"]
