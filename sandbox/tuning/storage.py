"""Where the trials of a tuning are kept: a SQLite file, a journal that several hosts may write, or a database."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from sandbox.machine import files
from sandbox.machine.mounts import network_type
from sandbox.tuning import journal

SQLITE, JOURNAL = "sqlite", "journal"
FILES = {SQLITE: "tuning.sqlite", JOURNAL: "tuning.journal"}  # in the folder of the tuning
ELSEWHERE = "storage.json"  # names the database, without its password
PATIENCE = 60  # [s] to wait for other processes


def chosen(given: str | None, folder: Path, several_hosts: bool) -> str:
    """Return which storage a tuning uses.

    Args:
        given: `sqlite`, `journal`, the URL of a database, or None for what the folder has, else SQLite; a journal where
            several hosts tune or the file system is one of several hosts.
        folder: of the tuning.
        several_hosts: whether others may join.

    Raises:
        ValueError: for a storage other than the one that has the trials, for SQLite on a network file system, where
            locks of other hosts may not hold and the file is lost, and for something that is none of the three.
    """
    there = next((name for name, file in FILES.items() if os.path.lexists(folder / file)), None)
    if (folder / ELSEWHERE).exists():
        there = str(files.read_json(folder / ELSEWHERE)["storage"])
        if given is None:
            raise ValueError(f"the trials of {folder} are in {there}: name it, with its password, by --storage {there}")
    found = given or there or (JOURNAL if several_hosts or network_type(folder) else SQLITE)
    if found not in FILES and "://" not in found:
        raise ValueError(f"storage={found!r}: give sqlite, journal, or a URL such as postgresql://user@host/name")
    if there is not None and shown(found) != there:
        raise ValueError(f"the trials of {folder} are in {there}, not in {shown(found)}: leave --storage out")
    if found == SQLITE:
        _require_local(folder)
    elif found.startswith("sqlite:"):
        _require_local(Path(optional().engine.make_url(found).database or "."))
    return found


def _require_local(path: Path) -> None:
    kind = network_type(path)
    if kind is not None:
        raise ValueError(
            f"{path} is on a network file system ({kind}), where SQLite can lose trials: use --storage journal, or a "
            "database, --storage postgresql://user@host/name"
        )


def optional() -> Any:
    """Import SQLAlchemy, which Optuna brings."""
    import sqlalchemy

    return sqlalchemy


def shown(storage: str) -> str:
    """Return the name of a storage without its password.

    >>> shown("journal")
    'journal'
    """
    if "://" not in storage:
        return storage
    return str(optional().engine.make_url(storage).render_as_string(hide_password=True))


def keep(storage: str, folder: Path) -> None:
    """Write into a folder which database has its trials, without the password."""
    if "://" in storage:
        files.write_json(folder / ELSEWHERE, {"storage": shown(storage)})


def opened(storage: str, folder: Path) -> Any:
    """Open a storage of Optuna.

    Args:
        storage: `sqlite`, `journal` or the URL of a database.
        folder: of the tuning.

    Raises:
        ValueError: for a file that is a symbolic link, or no file at all, and for a damaged journal.
    """
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if storage in FILES:
        files.require_database(folder / FILES[storage])
    path = str(folder.resolve() / FILES.get(storage, ""))
    if storage == JOURNAL:
        lock = journal.lock(Path(path))
        journal.mend(Path(path), lock)
        try:
            return JournalStorage(JournalFileBackend(path, lock_obj=lock))
        except (LookupError, TypeError, ValueError, AssertionError) as error:  # records that contradict each other
            raise ValueError(
                f"{path} is damaged: Optuna cannot read it ({type(error).__name__}: {error}); put a copy back, or "
                f"remove it, and all trials are repeated: rm {shlex.quote(path)}"
            ) from error
    if storage == SQLITE:  # built from its parts, because a path may hold `?`, and Optuna fills in what is in braces
        storage = (
            optional().URL.create("sqlite", database=path).render_as_string().replace("{", "{{").replace("}", "}}")
        )
    waits = {"connect_args": {"timeout": PATIENCE}} if storage.startswith("sqlite:") else {}
    return RDBStorage(storage, engine_kwargs=waits)
