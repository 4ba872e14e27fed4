"""Exit codes of exceptions."""

from __future__ import annotations

from jsonargparse import ArgumentError

from sandbox.cli.options import BAD_INPUT, FAILED, IN_USE


def code_of(error: Exception) -> int | None:
    """Return the exit code for an exception; None for a bug of this program, which keeps its traceback."""
    from rules.diagnostics.nonfinite import NonFinite
    from rules.team import PeerFailed
    from sandbox.runs.book import RunFailed
    from sandbox.runs.folder import FolderInUse

    if isinstance(error, FolderInUse):
        return IN_USE
    if isinstance(error, (RunFailed, NonFinite, PeerFailed)):
        return FAILED
    if isinstance(error, (ArgumentError, ValueError, TypeError, FileNotFoundError, ImportError)):
        return BAD_INPUT
    return FAILED if isinstance(error, OSError) else None
