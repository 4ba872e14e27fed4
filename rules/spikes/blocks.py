"""The setting of a `with` block for code that torch.compile has compiled, which can guard a list but no ContextVar."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Any


class Blocks:
    """The blocks that have not ended, of all threads.

    `top[0]` is the setting of the block entered last, and None outside of all. A compiled function is checked against
    this list, which all threads share, so `top[0]` is SEVERAL while blocks of two threads overlap.

    >>> blocks = Blocks()
    >>> outer = blocks.enter("a"), blocks.enter("b")
    >>> blocks.leave(outer[0])
    >>> blocks.top
    ['b']
    """

    def __init__(self) -> None:
        self.top: list[Any] = [None]
        self._open: list[tuple[int, Any]] = []  # thread and setting of each
        self._lock = threading.Lock()

    def enter(self, setting: Any) -> tuple[int, Any]:
        """Enter a block of this thread; return what `leave` wants."""
        entry = threading.get_ident(), setting
        with self._lock:
            self._open.append(entry)
            self._show()
        return entry

    def leave(self, entry: tuple[int, Any]) -> None:
        """Leave a block, which need not be the one entered last: blocks of other threads end at other times."""
        with self._lock:
            del self._open[next(i for i, each in enumerate(self._open) if each is entry)]
            self._show()

    def _show(self) -> None:
        threads = {thread for thread, _ in self._open}
        self.top[0] = SEVERAL if len(threads) > 1 else self._open[-1][1] if self._open else None


SEVERAL = "blocks of several threads"


def told(top: list[Any], own: ContextVar[Any]) -> Any:
    """Return the present setting to code that is being compiled; see `Blocks`.

    While blocks of several threads overlap, it is that of the thread's `own`, which torch.compile cannot guard: it
    breaks the graph here and leaves the call to eager code.
    """
    return own.get() if top[0] is SEVERAL else top[0]
