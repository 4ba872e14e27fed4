"""The exception for a sequence that a kernel cannot run."""

from __future__ import annotations


class Unsupported(Exception):
    """Raised for a sequence that a kernel cannot run.

    Args:
        reason: why, as a sentence.
        expected: whether the plain loop is meant to run it by design, so that no log line is needed.
        cause: the error that the step itself raised, which the plain loop will raise, too, unless it is about shapes.
    """

    def __init__(self, reason: str, expected: bool = False, cause: Exception | None = None) -> None:
        super().__init__(reason)
        self.expected, self.cause = expected, cause
