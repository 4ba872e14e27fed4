"""Folders from which code is loaded: nobody else may be able to write there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class NotPrivate(PermissionError):
    """Somebody else can write to a folder from which code would be loaded."""


def require_private(folder: Path, files: Iterable[Path] = ()) -> None:
    """Raise NotPrivate if anybody but this user and root owns, or can write to, a folder or files in it.

    What is in a folder that others cannot enter may have any mode, because they cannot reach it. Windows is not looked
    at: it has no such modes, and its folders of a user are private.

    Args:
        folder: has to exist.
        files: and folders below it; those that do not exist are passed over.
    """
    if not hasattr(os, "geteuid"):
        return
    closed = not folder.stat().st_mode & 0o077
    for path in (folder, *files):
        if not path.exists():
            continue
        status = path.stat()
        if status.st_uid not in (os.geteuid(), 0):
            raise NotPrivate(f"{path} belongs to another user; code is not loaded from it")
        if status.st_mode & 0o022 and not closed:
            raise NotPrivate(f"others can write to {path}; code is not loaded from it (chmod go-w {path})")
