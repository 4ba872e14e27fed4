"""Files of a data set: found where they are, downloaded where they are not, and never trusted unchecked.

The library pooch has cards, a cache and checksums. It neither continues a transfer that broke off, nor tries one mirror
after another, nor checks the unpacked content, which is what stays the same when a mirror packs a file anew.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock
from platformdirs import user_cache_dir
from tqdm import tqdm

APP = "learning-rule-sandbox"
VARIABLE = "SANDBOX_DATA"
CHUNK = 1 << 16  # bytes read from the network at a time
TIMEOUT = 20  # [s] for a mirror to answer


class File(NamedTuple):
    """One file of a card: `sha256` is that of its content, unpacked if it is gzipped."""

    name: str
    sha256: str


class Card(NamedTuple):
    """What `data/<set>/card.yaml` says of a data set."""

    name: str
    files: tuple[File, ...]
    mirrors: tuple[str, ...]


def card_folder(name: str) -> Path:
    """The folder with a set's card and samples: inside an installed package, else beside the packages."""
    package = Path(__file__).parents[1]
    inside = package / "data" / name
    return inside if inside.exists() else package.parent / "data" / name


def read_card(name: str) -> Card:
    """A set's card."""
    content: dict[str, Any] = yaml.safe_load((card_folder(name) / "card.yaml").read_text())
    files = tuple(File(entry["name"], entry["sha256"]) for entry in content.get("files", []))
    return Card(name, files, tuple(content.get("mirrors", [])))


def data_folders(data_dir: Path | str | None) -> list[Path]:
    """Where data sets are looked for, in order: the named folder, SANDBOX_DATA, the user's cache."""
    named = [Path(data_dir)] if data_dir else []
    variable = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    return [*named, *variable, Path(user_cache_dir(APP))]


def read_file(card: Card, name: str, data_dir: Path | str | None = None) -> bytes:
    """The unpacked content of one file of a set, from the first folder that has it, else downloaded into the cache.

    Raises ValueError for a file whose content is not what the card says, with both checksums, and FileNotFoundError,
    with what to put where, if it is nowhere and no mirror can be reached.
    """
    entry = next(file for file in card.files if file.name == name)
    for folder in data_folders(data_dir):
        path = folder / card.name / name
        if path.exists():
            return checked(path, entry.sha256)
    return checked(download(card, entry, data_folders(None)[-1] / card.name), entry.sha256)


def checked(path: Path, sha256: str) -> bytes:
    """The unpacked content of a file; raises ValueError where it is truncated or another."""
    raw = path.read_bytes()
    try:
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
        found = hashlib.sha256(content).hexdigest()
    except (EOFError, OSError, zlib.error) as error:
        content, found = b"", f"{hashlib.sha256(raw).hexdigest()} as packed; it cannot be unpacked ({error})"
    if found != sha256:
        raise ValueError(
            f"{path} is truncated or corrupted: expected SHA-256 {sha256}, found {found}; "
            "remove it to download it again"
        )
    return content


def download(card: Card, entry: File, folder: Path) -> Path:
    """Fetch a file from the first mirror that has it, into `folder`, under its name only once it is whole and right.

    A transfer that breaks off leaves a `.part` file and continues from there at the next call.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / entry.name, folder / f"{entry.name}.part"
    complaints = []
    with FileLock(folder / f".{entry.name}.lock"):
        if target.exists():  # another process was faster
            return target
        for mirror in card.mirrors:
            try:
                _fetch(mirror + entry.name, part, target, entry.sha256)
            except (OSError, ValueError) as error:  # the errors of requests are OSErrors
                complaints.append(f"  {mirror}{entry.name}: {error}")
            else:
                return target
    raise FileNotFoundError(
        f"data set {card.name!r} is not here and could not be downloaded. "
        f"Put {', '.join(f.name for f in card.files)} into {folder}, "
        f"or into DIR/{card.name}/ and name DIR with --data-dir or {VARIABLE}. Tried:\n"
        + ("\n".join(complaints) or "  no mirror is known")
    )


def _fetch(url: str, part: Path, target: Path, sha256: str) -> None:
    """Transfer, check and name a file; a part that another mirror began, and packed differently, is read anew."""
    continued = part.exists()
    _transfer(url, part)
    try:
        _accept(part, target, sha256)
    except ValueError:
        if not continued:
            raise
        _fetch(url, part, target, sha256)  # `_accept` has removed the part


def _transfer(url: str, part: Path) -> None:
    """Append what is missing to `part`; a server that cannot continue is read from its beginning."""
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
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        got = part.stat().st_size - (have if continues else 0)
    if rest and got < rest:
        raise OSError(f"the transfer broke off after {got} of {rest} bytes; call again to continue")


def _accept(part: Path, target: Path, sha256: str) -> None:
    """Give the file its name if its content is right; otherwise remove it."""
    whole = part.with_name(f"whole-{target.name}")
    os.replace(part, whole)
    try:
        checked(whole, sha256)
    except ValueError:
        whole.unlink()
        raise
    os.replace(whole, target)
