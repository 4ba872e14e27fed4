"""The file of a checkpoint: plain data with a checksum of itself, and the run that it belongs to."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from sandbox.machine import files
from sandbox.machine.tensors import read_tensors
from sandbox.runs import folder as folders

NAME = "checkpoint.pt"
MARK = b"sha256:"  # the checksum is the comment at the end of the zip archive that torch writes; torch reads over it
LENGTH = len(MARK) + 64
PARTS = ("book", "bound", "looks", "metrics", "trainer")  # of a checkpoint, beside its format


class RunFailed(RuntimeError):
    """A run stopped with an error; its folder keeps the last good checkpoint."""


def packed(state: dict[str, Any]) -> bytes:
    """Return the bytes of a checkpoint, which end with the checksum of all before it.

    >>> content = packed({"step": 3})
    >>> torch.load(io.BytesIO(content), weights_only=True)
    {'step': 3}
    """
    file = io.BytesIO()
    torch.save(state, file)
    plain = file.getvalue()
    comment = MARK + hashlib.sha256(plain).hexdigest().encode()
    return plain[:-2] + len(comment).to_bytes(2, "little") + comment  # the last two bytes are the comment's length, 0


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: of the file.
        state: its `PARTS`; the format is added.
    """
    files.write_atomically(path, packed({"format": folders.FORMAT, **state}))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint whose checksum is right, without running anything in it.

    Checkpoints are plain data. One that names classes was written by an earlier version, or by somebody who wants their
    code to run here.

    Raises:
        RunFailed: for a file that cannot be read; the message names the remedy.
    """
    try:
        content = files.bytes_of(path)
    except (OSError, ValueError) as error:
        raise unreadable(path, str(error)) from error
    why = _damage(content)
    if why is not None:
        classes: list[str] = []
        with suppress(Exception):  # only a complete file can be searched for class names
            classes = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
        if classes:
            raise RunFailed(
                f"{path} holds pickled classes ({', '.join(classes[:3])}), as written by earlier versions; reading "
                "them can run code, so it is not loaded. Remove it to start this run again"
            )
        raise unreadable(path, why)
    try:
        state: dict[str, Any] = read_tensors(path)
    except Exception as error:  # written by somebody else, with a checksum
        raise unreadable(path, f"{type(error).__name__}: it is not plain data") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != folders.FORMAT:
        raise unreadable(path, f"it has format {found!r}, this version reads {folders.FORMAT}")
    missing = [part for part in PARTS if not isinstance(state.get(part), dict)]
    if missing:
        raise unreadable(path, f"it lacks {', '.join(missing)}")
    return state


def _damage(content: bytes) -> str | None:
    """Return what is wrong with the checksum of a file; None if it is right."""
    plain, comment = content[:-LENGTH], content[-LENGTH:]
    if not comment.startswith(MARK):
        return "it does not end with a checksum: it is empty, cut off, or not a checkpoint"
    if hashlib.sha256(plain[:-2] + bytes(2)).hexdigest().encode() != comment.removeprefix(MARK):
        return "its checksum is wrong: its content has changed since it was written"
    return None


def unreadable(path: Path, why: str) -> RunFailed:
    """Return the error for a checkpoint that cannot be read."""
    return RunFailed(f"{path} cannot be read ({why}); remove it to start this run again")
