"""Read the archives that the authors of a data set publish, in memory only."""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from sandbox.tasks.files import MOST, VARIABLE, data_folders


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


class Bounded:
    """A file that is not read beyond a number of bytes, wherever an archive inside of it points."""

    def __init__(self, file: IO[bytes], most: int, name: Path) -> None:
        self.file, self.most, self.name = file, most, name

    def read(self, size: int) -> bytes:
        """Read bytes; raise ValueError for those beyond the bound."""
        self._require(self.file.tell() + size)
        return self.file.read(size)

    def seek(self, place: int) -> int:
        """Go to a place; raise ValueError for one beyond the bound."""
        self._require(place)
        return self.file.seek(place)

    def tell(self) -> int:
        """Return the place."""
        return self.file.tell()

    def _require(self, place: int) -> None:
        if place > self.most:
            raise ValueError(
                f"{self.name} is a different file: it unpacks to more than {self.most} bytes, the most that its card "
                "allows; remove it and fetch it again"
            )


def contents(path: Path, wanted: re.Pattern[str], most: int = MOST) -> dict[str, bytes]:
    """Return the content of the files in a folder or a tar archive whose names, without folders, match a pattern.

    Only plain files count, because a link could lead out of the archive. Raises ValueError for an archive that is
    truncated or not an archive, for one that unpacks to more than `most` bytes, and for two files of the same name.
    """
    found: dict[str, bytes] = {}
    try:
        for name, content in _plain_files(path, wanted, most):
            if name in found:
                raise ValueError(f"{path} holds two files {name}; wanted one: remove it and fetch it again")
            found[name] = content
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        reason = " ".join(str(error).split())  # tarfile writes a list of lines
        raise ValueError(
            f"{path} cannot be read ({reason}): it is truncated or not a tar archive; remove it and fetch it again"
        ) from error
    return found


def _plain_files(path: Path, wanted: re.Pattern[str], most: int) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        found = [p for p in sorted(path.iterdir()) if wanted.fullmatch(p.name) and p.is_file()]
        if sum(p.stat().st_size for p in found) > most:
            raise ValueError(f"the files in {path} have more than {most} bytes, the most that their card allows")
        yield from ((p.name, p.read_bytes()) for p in found)
        return
    with open(path, "rb") as start:
        gzipped = start.read(2) == b"\x1f\x8b"
    with gzip.open(path) if gzipped else open(path, "rb") as opened, _archive(opened, most, path) as archive:
        while member := archive.next():
            archive.members.clear()  # a list of millions would take gigabytes
            name = PurePosixPath(member.name).name
            if wanted.fullmatch(name) and member.isfile():
                file = archive.extractfile(member)
                assert file is not None  # None for links and folders only
                yield name, file.read()


def _archive(opened: Any, most: int, path: Path) -> Any:  # a TarFile; its types do not list `members`
    return tarfile.open(fileobj=cast(Any, Bounded(opened, most, path)), mode="r:")
