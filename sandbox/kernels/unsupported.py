"""Why a sequence is left to the plain loop."""

from __future__ import annotations


class Unsupported(Exception):
    """What a kernel cannot honour, as a sentence; `expected` where the plain loop is the right place by design."""

    def __init__(self, reason: str, expected: bool = False) -> None:
        super().__init__(reason)
        self.expected = expected
