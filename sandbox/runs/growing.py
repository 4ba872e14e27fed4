"""Files to which a run appends while it learns, and how much of them belongs to a checkpoint."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from sandbox.machine import files

CHUNK = 1 << 20


class Growing:
    """A file that only grows. A checkpoint counts its bytes and holds their SHA-256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._bytes = 0  # that are ours
        self._digest = hashlib.sha256()
        self._settled = True

    def restart(self) -> None:
        """Remove the file; what was written belongs to no checkpoint."""
        self.path.unlink(missing_ok=True)
        self._bytes, self._digest = 0, hashlib.sha256()

    def write(self, text: str) -> None:
        """Write text after the bytes that are ours, wherever the file ends.

        Unlike what appends, a process that lost its run while it was suspended, and wakes within its last write, writes
        the bytes that its successor has written there, or will.
        """
        content = text.encode()
        with files.opened_to_write(self.path, os.O_CREAT) as file:
            file.seek(self._bytes)
            file.write(content)
        self._bytes += len(content)
        self._digest.update(content)
        self._settled = False

    def settle(self) -> dict[str, Any]:
        """Flush what was written to the disk; return the number of bytes and the SHA-256 of all that is ours."""
        if not self._settled:
            with files.opened_to_write(self.path) as file:
                os.fsync(file.fileno())
            self._settled = True
        return {"bytes": self._bytes, "sha256": self._digest.hexdigest()}

    def require(self, kept: dict[str, Any]) -> None:
        """Check that the file begins with the bytes that a checkpoint counts; change nothing.

        Args:
            kept: what `settle` returned.

        Raises:
            ValueError: for a file that is shorter, or begins with other bytes, and for a symbolic link.
        """
        files.require_plain(self.path)
        wanted, size = kept["bytes"], self.path.stat().st_size if self.path.exists() else 0
        if not isinstance(wanted, int) or wanted < 0:
            raise TypeError(f"{wanted!r} cannot be a number of bytes")
        if size < wanted:
            raise ValueError(
                f"{self.path} is damaged: it has {size} bytes, and the checkpoint beside it counts {wanted}; put the "
                "whole file back, or remove the checkpoint to start this run again"
            )
        digest = hashlib.sha256()
        if wanted > 0:
            with files.opened(self.path) as file:
                for start in range(0, wanted, CHUNK):
                    digest.update(file.read(min(CHUNK, wanted - start)))
        if digest.hexdigest() != kept["sha256"]:
            raise ValueError(
                f"{self.path} is damaged: it is not the file that the checkpoint beside it counts, but was edited or "
                "exchanged; put the right file back, or remove the checkpoint to start this run again"
            )
        self._bytes, self._digest = wanted, digest

    def cut(self) -> None:
        """Drop what was written after the checkpoint."""
        if self.path.exists():
            with files.opened_to_write(self.path) as file:
                file.truncate(self._bytes)
