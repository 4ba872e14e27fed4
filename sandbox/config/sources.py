"""The user's own files that a configuration depends on, and their content. Nothing is imported to find them."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from sandbox.machine.files import TEXT, bytes_of

OURS = ("rules", "sandbox")
INSTALLED = {"site-packages", "dist-packages"}


def sources(settings: Any) -> dict[str, str]:
    """Return the SHA-256 of every file of the user's own that a configuration names, and of the files they import.

    A file that is named goes by the name before the colon. One that it imports, directly or through others, goes by its
    path and that name: `helpers.py (imported by mine.py)`. Packages that are installed are left out, because provenance
    has their versions; so is what is imported by a name that is computed.

    Args:
        settings: a configuration as nested dicts and lists.
    """
    if isinstance(settings, str):
        module, colon, _ = settings.rpartition(":")
        path = own_file(module) if colon else None
        return {} if path is None else _with_imports(module, path)
    parts = settings.values() if isinstance(settings, Mapping) else settings
    found: dict[str, str] = {}
    for part in parts if isinstance(parts, Iterable) else ():
        found |= sources(part)
    return found


def own_file(module: str) -> Path | None:
    """Return the file of `path/to/file.py` or `package.module`; None if there is none, or it is part of the project."""
    if module.endswith(".py"):
        return Path(module) if Path(module).is_file() else None
    parts = module.split(".")
    if parts[0] in OURS or not all(part.isidentifier() for part in parts):
        return None
    found = _chain(module, None, sys.meta_path)
    return found[-1] if len(found) == len(parts) else None


def _with_imports(name: str, first: Path) -> dict[str, str]:
    """Return the SHA-256 of a file that is named and of all that it imports, each by what it is called."""
    found, waiting = {name: _sha256(first)}, [first.resolve()]
    seen = {first.resolve()}
    while waiting:
        for path in sorted(_imports(waiting.pop())):
            if path not in seen:
                seen.add(path)
                waiting.append(path)
                where = Path(os.path.relpath(path, first.resolve().parent)).as_posix()
                found[f"{where} (imported by {name})"] = _sha256(path)
    return found


def _imports(path: Path) -> set[Path]:
    """Return the local files that a file imports: beside it, below its folder, or on Python's path."""
    found: set[Path] = set()
    for module, level in _names(bytes_of(path, TEXT)):
        if level == 0 and module.partition(".")[0] in OURS:
            continue
        places = [*_places(), path.parent] if level == 0 else [*path.parents][level - 1 : level]
        files = _chain(module, [str(place) for place in places], [PathFinder])
        found |= {file.resolve() for file in files if file is not None and not _installed(file)}
    return found - {path}


@lru_cache(maxsize=256)
def _names(content: bytes) -> tuple[tuple[str, int], ...]:
    """Return the modules that a source imports, with the number of dots before each; a source that is none has none."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError):
        return ()
    return tuple(_imported(tree))


def _imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = f"{node.module}." if node.module else ""
            if node.module:
                yield node.module, node.level
            yield from ((f"{prefix}{alias.name}", node.level) for alias in node.names if alias.name != "*")


def _chain(module: str, places: Sequence[str] | None, finders: Sequence[Any]) -> list[Path | None]:
    """Return the files that an import of a dotted name runs, as far as there are any; None for a folder without a file.

    Finders are asked one level at a time, because `importlib.util.find_spec` would import the packages on the way.
    """
    parts, found = module.split("."), list[Path | None]()
    for end in range(1, len(parts) + 1):
        spec = _spec(".".join(parts[:end]), places, finders)
        if spec is None:
            break
        found.append(Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None)
        places = list(spec.submodule_search_locations or [])
    return found


def _spec(name: str, places: Sequence[str] | None, finders: Sequence[Any]) -> ModuleSpec | None:
    for finder in finders:
        try:
            spec: ModuleSpec | None = finder.find_spec(name, places)
        except (ImportError, ValueError, AttributeError, KeyError):  # as finders of others raise
            continue
        if spec is not None:
            return spec
    return None


def _places() -> list[Path]:
    """Return the folders of Python's path that hold no installed packages."""
    return [Path(place or ".") for place in sys.path if not _installed(Path(place or ".") / "module.py")]


@lru_cache(maxsize=1)
def _roots() -> tuple[Path, ...]:
    """Return the folders of Python's own modules and of this project's packages."""
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    return (*standard, *(Path(__file__).resolve().parents[2] / name for name in OURS))


def _installed(path: Path) -> bool:
    """Whether a file belongs to an installed package, to Python itself or to this project."""
    place = path.resolve()
    return bool(INSTALLED & set(place.parts)) or any(place.is_relative_to(root) for root in _roots())


def _sha256(path: Path) -> str:
    return hashlib.sha256(bytes_of(path, TEXT)).hexdigest()
