"""Which folders were made by this user: a configuration names code, and code of others runs only if it is trusted."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from platformdirs import user_data_dir

from sandbox.machine import files

NAME = "made-here.txt"  # beside config.yaml: the signatures of the configurations that were written here, one a line
VARIABLE = "SANDBOX_KEY"
PURPOSE = b"learning-rule-sandbox configuration\0"
LENGTH = 32  # bytes of the secret


class Untrusted(ValueError):
    """A folder from elsewhere names code."""


def sign(folder: Path, text: str) -> None:
    """Note in a folder that its configuration, which is about to be written, is this user's own.

    Earlier signatures stay: whichever of the old and the new text a kill leaves, one of them belongs to it. Without a
    secret nothing is written, and the folder is not known as made here.
    """
    key = secret()
    if key is None:
        return
    mine, found = _signature(key, text.encode()), _signatures(folder)
    if mine not in found:
        files.write_atomically(folder / NAME, "".join(f"{line}\n" for line in [*found, mine]))


def made_here(folder: Path) -> bool:
    """Return whether this user's own command wrote the configuration in a folder, as it is there now."""
    key = secret(create=False)
    try:
        content = files.bytes_of(folder / "config.yaml", files.TEXT)
    except (OSError, ValueError):
        return False
    return key is not None and any(
        hmac.compare_digest(_signature(key, content), line) for line in _signatures(folder) if line.isascii()
    )


def require_trust(folder: Path, config: Any, trust: bool) -> None:
    """Raise Untrusted if a configuration names code, unless the folder was made here or the user trusts it.

    Args:
        folder: of a run, a comparison, a grid or a tuning.
        config: its configuration, as `read_config` returns it.
        trust: whether the user has read the code and trusts it.
    """
    names = named_code(config)
    if names and not trust and not made_here(folder):
        listed = "\n".join(f"  {name}" for name in names)
        raise Untrusted(
            f"{folder} was not made here by you, and its configuration names code, which would be run:\n{listed}\n"
            f"Read that code first; if you trust it, run `sandbox resume {shlex.quote(str(folder))} --trust`"
        )


def named_code(config: Any) -> list[str]:
    """Return the names in a configuration that stand for code, in their order: all with a colon, and class paths.

    A device such as `cuda:1` is the one word with a colon that is none.

    >>> named_code({"task": {"name": "mine.py:Task"}, "device": "cuda:1", "rules": ["bptt", "os:system"]})
    ['mine.py:Task', 'os:system']
    """
    return list(dict.fromkeys(_names(config)))


def _names(config: Any) -> Iterator[str]:
    if isinstance(config, str):
        if ":" in config:
            yield config
    elif isinstance(config, Mapping):
        for key, part in config.items():
            if key == "class_path" and isinstance(part, str):
                yield part
            elif not (key == "device" and isinstance(part, str) and part.partition(":")[2].isdecimal()):
                yield from _names(key)
                yield from _names(part)
    elif isinstance(config, (list, tuple)):
        for part in config:
            yield from _names(part)


def secret(*, create: bool = True) -> bytes | None:
    """Return this user's secret; None if there is none and none can be made, or if others can read it."""
    with suppress(OSError, RuntimeError):  # no home folder, a read-only disk
        path = place()
        if create and not path.exists():
            _create(path)
        with open(path, "rb") as file:
            found, status = file.read(LENGTH + 1), os.fstat(file.fileno())
        private = os.name == "nt" or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
        return found if private and len(found) == LENGTH else None
    return None


def place() -> Path:
    """Return the file of the secret: SANDBOX_KEY, or one in the user's data folder."""
    return Path(os.environ.get(VARIABLE) or Path(user_data_dir("learning-rule-sandbox")) / "key")


def _create(path: Path) -> None:
    """Write a new secret that nobody else can read, whole or not at all; one process does, others wait."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(path.with_name(f".{path.name}.lock"), timeout=10):  # Timeout is an OSError
        if path.exists():
            return
        beside = path.with_name(f".{path.name}.new")
        beside.unlink(missing_ok=True)  # of a process that was killed
        with open(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(LENGTH))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)


def _signature(key: bytes, content: bytes) -> str:
    return hmac.new(key, PURPOSE + content, hashlib.sha256).hexdigest()


def _signatures(folder: Path) -> list[str]:
    try:
        return files.text_of(folder / NAME).split()
    except (OSError, ValueError):
        return []
