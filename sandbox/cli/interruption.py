"""Ctrl-C: the first one ends a command in order, and an impatient second one does not disturb that."""

from __future__ import annotations

import atexit
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GRACE = 1.0  # [s] after a Ctrl-C in which another one is taken for the same


class Once:
    """A handler of SIGINT that raises KeyboardInterrupt, but not twice within `GRACE` seconds."""

    def __init__(self) -> None:
        self.last: float | None = None

    def __call__(self, *received: Any) -> None:
        """Raise KeyboardInterrupt, unless one was raised just now."""
        now = time.monotonic()
        if self.last is None or now - self.last > GRACE:
            self.last = now
            raise KeyboardInterrupt


@contextmanager
def once() -> Iterator[None]:
    """Handle SIGINT by `Once` in a block.

    After an interruption the handler stays, so that a second Ctrl-C does not disturb the end of the process; later ones
    interrupt as usual. Nothing changes in another thread, or where somebody else handles SIGINT.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = Once()
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        if handler.last is None:
            signal.signal(signal.SIGINT, before)
        else:  # Python itself takes the handler away when it ends, and the process would die of the second signal
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
