"""Find the files of a data set, download them if they are missing, and verify their checksums.

The library pooch is not used, although it has a cache and checksums: it does not continue an interrupted transfer, does
not try several mirrors, and does not check the unpacked content, which stays the same when a mirror repacks a file.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock
from platformdirs import user_cache_dir
from tqdm import tqdm

_OFFLINE: ContextVar[bool] = ContextVar("offline", default=False)
APP = "learning-rule-sandbox"
VARIABLE = "SANDBOX_DATA"
CHUNK = 1 << 16  # bytes read from the network at a time
MOST = 1 << 30  # [bytes] to which a file or an archive may unpack where its card does not say
PACKING = 1 << 20  # [bytes] by which a packed file may be larger than its content
TIMEOUT = 20  # wait for a mirror to answer [s]


class File(NamedTuple):
    """One file of a card; `sha256` and `size` are of its content, unpacked if it is gzipped."""

    name: str
    sha256: str
    size: int = MOST  # [bytes]
    mirrored: str | None = None  # its name at the mirrors, if that is another


class Card(NamedTuple):
    """The files and mirrors in `data/<set>/card.yaml`."""

    name: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]


def card_folder(name: str) -> Path:
    """Return the folder with a set's card and samples: inside an installed package, else beside the packages."""
    package = Path(__file__).parents[1]
    inside = package / "data" / name
    return inside if inside.exists() else package.parent / "data" / name


def read_card(name: str) -> Card:
    """Read a set's card."""
    content: dict[str, Any] = yaml.safe_load((card_folder(name) / "card.yaml").read_text())
    files = tuple(
        File(entry["name"], entry["sha256"], entry.get("size", MOST), entry.get("mirrored"))
        for entry in content.get("files", [])
    )
    return Card(name, files, tuple(content.get("mirrors", [])))


def data_folders(data_dir: Path | str | None) -> list[Path]:
    """Return the folders searched for data sets, in order: the given folder, SANDBOX_DATA, the user's cache."""
    named = [Path(data_dir)] if data_dir else []
    variable = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    return [*named, *variable, Path(user_cache_dir(APP))]


@contextmanager
def offline() -> Iterator[None]:
    """Run a block in which no data are downloaded: `read_file` raises FileNotFoundError for what is not here."""
    token = _OFFLINE.set(True)
    try:
        yield
    finally:
        _OFFLINE.reset(token)


def read_file(card: Card, name: str, data_dir: Path | str | None = None) -> bytes:
    """Return the unpacked content of a file of a set, from the first folder that has it, else from a download.

    Downloads go into the user's cache. Raises ValueError, with both checksums, if the content does not match the card,
    and FileNotFoundError, which explains what to put where, if there is no file and no mirror can be reached.
    """
    entry = next(file for file in card.files if file.name == name)
    for folder in data_folders(data_dir):
        path = folder / card.name / name
        if path.exists():
            return checked(path, entry.sha256, entry.size)
    if _OFFLINE.get():
        raise FileNotFoundError(f"{card.name}/{name} is in none of the folders of data sets")
    return checked(download(card, entry, data_folders(None)[-1] / card.name), entry.sha256, entry.size)


def checked(path: Path, sha256: str, size: int = MOST) -> bytes:
    """Return the unpacked content of a file; raise ValueError if it is truncated or a different file.

    No more than `size` bytes are unpacked: a megabyte of gzip can stand for a gigabyte.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(size + 1)
        if len(content) > size:
            raise ValueError(
                f"{path} is a different file: it unpacks to more than {size} bytes, the size on its card; "
                "remove it to download it again"
            )
        found = hashlib.sha256(content).hexdigest()
    except (EOFError, OSError, zlib.error) as error:
        content, found = b"", f"{digest(path)} as packed; it cannot be unpacked ({error})"
    if found != sha256:
        raise ValueError(
            f"{path} is truncated or corrupted: expected SHA-256 {sha256}, found {found}; "
            "remove it to download it again"
        )
    return content


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as it is, read in parts."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def download(card: Card, entry: File, folder: Path) -> Path:
    """Download a file from the first mirror that has it; it gets its name only once it is complete and verified.

    An interrupted transfer leaves a `.part` file, from which the next call continues.
    """
    _make(folder, card)
    target, part = folder / entry.name, folder / f"{entry.name}.part"
    complaints = []
    with FileLock(folder / f".{entry.name}.lock"):
        if target.exists():  # another process was faster
            return target
        for mirror in card.mirrors:
            url = mirror + (entry.mirrored or entry.name)
            try:
                _fetch(url, part, target, entry)
            except (OSError, ValueError) as error:  # the errors of requests are OSErrors
                complaints.append(f"  {url}: {error}")
            else:
                return target
    raise FileNotFoundError(
        f"data set {card.name!r} is not here and could not be downloaded. "
        f"Put {', '.join(f.name for f in card.files)} into {folder}, "
        f"or into DIR/{card.name}/ and name DIR with --data-dir or {VARIABLE}. Tried:\n"
        + ("\n".join(complaints) or "  no mirror is known")
    )


def _make(folder: Path, card: Card) -> None:
    """Make the folder of a download; raise FileNotFoundError, which says what to do, if that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotFoundError(
            f"data set {card.name!r} is not here, and the cache for a download, {folder}, cannot be made "
            f"({error.strerror}). Put {', '.join(f.name for f in card.files)} into DIR/{card.name}/ and name DIR with "
            f"--data-dir or {VARIABLE}, or name a cache that can be written: export XDG_CACHE_HOME=DIR"
        ) from error


def _fetch(url: str, part: Path, target: Path, entry: File) -> None:
    """Transfer, check and name a file; if a part from a differently packed mirror spoils it, transfer it anew."""
    continued = part.exists()
    _transfer(url, part, entry.size + PACKING)
    try:
        _accept(part, target, entry)
    except ValueError:
        if not continued:
            raise
        _fetch(url, part, target, entry)  # `_accept` has removed the part


def _transfer(url: str, part: Path, most: int) -> None:
    """Append the missing bytes to `part`; if the server cannot continue, start from the beginning.

    Raises ValueError, and removes the part, once it is larger than `most` bytes.
    """
    import requests

    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as answer:
        if have and answer.status_code == 416:  # nothing is missing
            return
        answer.raise_for_status()
        continues = answer.status_code == 206
        rest = int(answer.headers.get("Content-Length", 0))
        bar = tqdm(
            total=(have if continues else 0) + rest or None,
            initial=have if continues else 0,
            unit="B",
            unit_scale=True,
            desc=part.stem,
            leave=False,
        )
        with open(part, "ab" if continues else "wb") as file, bar:
            for chunk in answer.iter_content(CHUNK):
                file.write(chunk)
                if file.tell() > most:
                    part.unlink()
                    raise ValueError(f"the mirror sends more than {most} bytes, the size on the card")
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        got = part.stat().st_size - (have if continues else 0)
    if rest and got < rest:
        raise OSError(f"the transfer stopped after {got} of {rest} bytes; call again to continue")


def _accept(part: Path, target: Path, entry: File) -> None:
    """Give the file its name if its checksum is right; otherwise remove it."""
    whole = part.with_name(f"whole-{target.name}")
    os.replace(part, whole)
    try:
        checked(whole, entry.sha256, entry.size)
    except ValueError:
        whole.unlink()
        raise
    os.replace(whole, target)
