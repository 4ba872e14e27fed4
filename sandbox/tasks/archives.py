"""Read the archives that the authors of a data set publish, in memory only."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sandbox.tasks.files import VARIABLE, data_folders


def located(paths: Sequence[str], data_dir: Path | str | None, advice: str) -> Path:
    """Return the first of the paths that exists, in the order of the data folders.

    Raises FileNotFoundError, which explains what to put where, if there is none.
    """
    folders = data_folders(data_dir)
    for folder in folders:
        for path in paths:
            if (folder / path).exists():
                return folder / path
    raise FileNotFoundError(
        f"none of {', '.join(paths)} is in {', '.join(map(str, folders))}. {advice} "
        f"Put it into one of these folders, or into a folder that you name with --data-dir or {VARIABLE}."
    )


def contents(path: Path, wanted: re.Pattern[str]) -> dict[str, bytes]:
    """Return the content of the files in a folder or a tar archive whose names, without folders, match a pattern.

    Only plain files count, because a link could lead out of the archive. Raises ValueError for an archive that is
    truncated or not an archive, and for two files of the same name.
    """
    found: dict[str, bytes] = {}
    try:
        for name, content in _plain_files(path, wanted):
            if name in found:
                raise ValueError(f"{path} holds two files {name}; wanted one: remove it and fetch it again")
            found[name] = content
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())  # tarfile writes a list of lines
        raise ValueError(
            f"{path} cannot be read ({reason}): it is truncated or not a tar archive; remove it and fetch it again"
        ) from error
    return found


def _plain_files(path: Path, wanted: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        yield from ((p.name, p.read_bytes()) for p in sorted(path.iterdir()) if wanted.fullmatch(p.name))
        return
    with tarfile.open(path) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if wanted.fullmatch(name) and member.isfile():
                file = archive.extractfile(member)
                assert file is not None  # None for links and folders only
                yield name, file.read()
