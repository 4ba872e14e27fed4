"""What the caller of `shared` leaves in its folder for other hosts: which jobs there are, and the code they run on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sandbox.executors.claims import claimed, newest
from sandbox.machine import files
from sandbox.machine.host import me
from sandbox.machine.packages import own_version
from sandbox.machine.revision import revision
from sandbox.machine.text import command

NAME = ".shared.json"


class Session(NamedTuple):
    """The jobs of a call, for those who join it."""

    host: str  # of the caller
    version: str  # of this package
    revision: str  # of the code, by git
    lease: float  # [s]
    jobs: list[str]  # their folders, below that of the call


def begin(folder: Path, lease: float, jobs: Sequence[Path]) -> None:
    """Write the session of a call into its folder."""
    here = [place.relative_to(folder).as_posix() for place in jobs]
    files.write_json(folder / NAME, Session(me().host, own_version(), revision(), lease, here)._asdict())


def find(folder: Path) -> Session:
    """Return the session in a folder, to be joined.

    Raises:
        ValueError: for a folder that is not here, that no caller shares, or that another version of this project began.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder on {me().host}; name the one that the caller printed, on a disk that both hosts "
            "see, such as sandbox compare --join /shared/runs/FOLDER"
        )
    if not (folder / NAME).exists():
        raise ValueError(
            f"{folder} is not shared: begin it with `sandbox compare --executor shared ...` or, if it has begun, with "
            f"`{command('resume', folder, '--executor', 'shared')}`, on a disk that both hosts see"
        )
    try:
        session = Session(**files.read_json(folder / NAME))
        texts = [session.host, session.version, session.revision, *session.jobs]
        if type(session.jobs) is not list or not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise TypeError("its host, version, revision and jobs are not names")
        if type(session.lease) not in (int, float) or not 0 < session.lease < math.inf:
            raise TypeError(f"lease={session.lease!r} is not a time above 0")
    except TypeError as error:
        raise ValueError(f"{folder / NAME} is damaged ({error}); remove it and resume the caller") from error
    theirs, ours = (session.version, session.revision), (own_version(), revision())
    if theirs != ours:
        raise ValueError(
            f"{folder} was begun on {session.host} by version {theirs[0]}, revision {theirs[1]}; this is version "
            f"{ours[0]}, revision {ours[1]}. Install the same on all hosts"
        )
    return session


def end(folder: Path, jobs: Sequence[Path]) -> None:
    """Close the session in a folder, because its jobs are about to be done without claims.

    Raises:
        ValueError: where a host that joined still has some of them.
    """
    if not (folder / NAME).exists():
        return
    for place in jobs:
        found = newest(place)
        if found is not None and found.by is not None and claimed(place):
            raise ValueError(
                f"{place.name} is being worked on by {found.by.host}, process {found.by.pid}, which joined: continue "
                f"beside it with `{command('resume', folder, '--executor', 'shared')}`, or stop it first"
            )
    (folder / NAME).unlink(missing_ok=True)
