"""The exception for a sequence that a kernel cannot run, and what then happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sandbox.kernels.choice import choice, explain

Answer = TypeVar("Answer")


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


def or_plain(neuron: object, fused: Callable[[], Answer], otherwise: Callable[[], Answer | None]) -> Answer | None:
    """Return the result of `fused`; if it is unsupported, that of `otherwise`, and if that is None, log the reason.

    Raises:
        RuntimeError: if `sandbox.kernels.using` requires a kernel; the message names the reason.
    """
    try:
        return fused()
    except Unsupported as reason:
        if choice().mode != "auto":
            if isinstance(reason.cause, ValueError):  # of a parameter, such as a refractory period that is too long
                raise reason.cause from None
            raise RuntimeError(f"{type(neuron).__name__} cannot run in a kernel: {reason}") from None
        if (found := otherwise()) is not None:
            return found
        if not reason.expected:
            explain(type(neuron).__name__, str(reason))
        return None
