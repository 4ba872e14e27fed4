"""A short name for a configuration, and the name of its folder: equal configurations have equal names."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

PARTS = str.maketrans({":": ".", "/": "_", "\\": "_"})  # what separates the parts of a path
UNSAFE = re.compile(r"[^\w.=+,()# -]")  # what the name of a folder does not hold
SHORT = 120  # [bytes] of a name that had to be changed
KEPT = 200  # [bytes] up to which a plain name stays as it is; file systems take 255, encrypted ones less
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)( *$| *\.)", re.IGNORECASE)  # what Windows keeps for devices


def fingerprint(config: Any) -> str:
    """Return eight hexadecimal digits of a hash of those values in a configuration that differ from the defaults.

    Defaults are left out, so that a field that a later version adds does not rename the folders of earlier runs.
    """
    return digest(config)[:8]


def folder_name(about: Any, mark: str) -> str:
    r"""Return the name of a folder for any text: one component of a path, readable, and different for other texts.

    Names of registered members and of files in ASCII stay as they are, but for what separates the parts of a path.
    Anything else (control characters, what Windows reserves, long names, text that is not normalised) is replaced, and
    a hash of the text keeps such names apart.

    Args:
        about: what a reader sees first.
        mark: letters and digits that identify the folder; the name ends with them.

    >>> folder_name("path/to/file.py:Mine-bptt-s0", "44136fa3")
    'path_to_file.py.Mine-bptt-s0-44136fa3'
    >>> folder_name("a\nb", "44136fa3")
    'a_b-7e18f737-44136fa3'
    """
    text = str(about)
    plain = text.translate(PARTS)
    safe = UNSAFE.sub("_", unicodedata.normalize("NFC", plain))
    if RESERVED.match(safe) or safe[:1] in (" ", "-"):
        safe = f"_{safe}"
    if safe == plain and _size(f"{safe}-{mark}") <= KEPT:
        return f"{safe}-{mark}"
    end = f"-{_digest(text)}-{mark}"
    while _size(safe + end) > SHORT:
        safe = safe[:-1]
    return safe.rstrip() + end


def digest(config: Any) -> str:
    """Return the whole hash of which `fingerprint` is the beginning: 64 hexadecimal digits."""
    text = json.dumps(changed(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def changed(value: Any) -> Any:
    """Return those values in a configuration that differ from its defaults, as nested dicts and lists."""
    if isinstance(value, (list, tuple)):
        return [changed(entry) for entry in value]
    if not is_dataclass(value):
        return value
    plain = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(value)}
    return {name: changed(getattr(value, name)) for name, usual in plain.items() if getattr(value, name) != usual}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _size(name: str) -> int:
    return len(name.encode(errors="surrogatepass"))
