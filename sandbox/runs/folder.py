"""The folder of a run: written atomically, locked while in use, and rejected if a newer version wrote it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from rules.processes import processes
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.machine import files
from sandbox.machine.locks import INSTANT, LOCK, NO_LOCKS, holder
from sandbox.machine.plain_yaml import dump_yaml, parse_yaml, read_yaml
from sandbox.machine.revision import revision as revision
from sandbox.machine.text import command
from sandbox.runs.signs import begun
from sandbox.runs.trust import sign

PATIENCE = 30.0  # [s] to wait until an orphaned worker of an earlier call releases its folder
# Of the folder; a reader rejects a larger one. Format 1 had pickled classes in its checkpoints; format 2 had other
# streams of random numbers, so that a run could not be continued as it was begun; format 3 had checkpoints that did not
# say which run they belong to.
FORMAT = 4
CODE = "Its checkpoints contain pickled classes; reading them can run code, so they are not loaded"
WHY = {
    0: CODE,
    1: CODE,
    2: "It would go on with other random numbers than it was begun with",
    3: "Its checkpoint does not say which run, code and data it belongs to",
}
KINDS = ("run", "comparison", "grid", "tuning", "curriculum")


class FolderInUse(RuntimeError):
    """Another process is writing to this folder."""


class NoLocks(OSError):
    """A file system has no locks, so that two processes could write to one folder at the same time."""


@contextmanager
def locked(folder: Path, patience: float = 0.0, parents: bool = True) -> Iterator[None]:
    """Lock a folder for this process; raise FolderInUse after `patience` seconds.

    The operating system releases the lock if this process is killed. What killed processes left half written is removed
    first. A folder that this call made is removed again if an error comes before anything was begun in it.

    Args:
        folder: made if missing.
        patience: how long to wait for another process [s].
        parents: whether the folders above are made, too; for a job False, because somebody may have moved them away.
    """
    made = files.missing(folder)
    folder.mkdir(parents=parents, exist_ok=True)
    files.require_plain(folder / LOCK)
    ours = files.same(folder)
    lock = FileLock(folder / LOCK, poll_interval=0.02)
    try:
        lock.acquire(timeout=max(patience, INSTANT))
    except Timeout:
        raise FolderInUse(f"{folder} is in use by another process{_stopping(folder)}") from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            raise NoLocks(error.errno, "file locks do not work on this file system", str(folder)) from error
        raise
    try:
        files.sweep(folder)
        yield
    except BaseException as error:
        unasked = isinstance(error, KeyboardInterrupt) and (folder / "config.yaml").exists()  # it can be resumed
        if folder in made and not unasked and not begun(folder) and files.same(folder) == ours:
            files.discard(made)
        raise
    finally:
        lock.release()


def _stopping(folder: Path) -> str:
    """Return what to do about the process that holds a folder, with its number if that is known."""
    pid = holder(folder)
    if pid is None or pid == os.getpid():
        return "; wait for it, or stop it"
    return f", number {pid} of this machine; wait for it, or stop it: kill {pid}"


def again(folder: Path) -> str:
    """Return how a damaged run is made anew; its comparison does that, because a removed folder cannot be resumed."""
    with suppress(OSError, ValueError):
        if kind_of(folder.parent) == "comparison":
            return f"remove it and run `{command('resume', folder.parent)}`"
    return "remove it and run the experiment again"


def write_config(folder: Path, kind: str, config: dict[str, Any]) -> None:
    """Write the resolved configuration once; raise ValueError if the folder holds a different one.

    A field that is missing in the folder, because an earlier version did not have it, counts as None, and one of an
    experiment as its default.
    """
    path = folder / "config.yaml"
    text = dump_yaml({"format": FORMAT, "kind": kind, **config})
    if path.exists():
        found, wanted = read_config(folder, kind), parse_yaml(text, str(path))
        usual = asdict(Experiment()) if kind == "run" else {}
        if found != _sayable({name: wanted[name] for name in config}, found, usual):
            raise ValueError(f"{folder} holds another configuration ({path}); run in another folder")
        sign(folder, files.text_of(path))  # it is the user who asks for this configuration, or trusts it
    else:
        sign(folder, text)  # before the file, so that a kill leaves no configuration without its signature
        files.write_atomically(path, text)


def _sayable(config: Any, found: Any, usual: dict[str, Any]) -> Any:
    """Return the configuration without fields that have their usual value and are missing in `found`."""
    if isinstance(config, list) and isinstance(found, list) and len(config) == len(found):
        return [_sayable(*pair, usual) for pair in zip(config, found, strict=True)]
    if not (isinstance(config, dict) and isinstance(found, dict)):
        return config
    kept = {key: value for key, value in config.items() if key in found or value != usual.get(key)}
    inner = {"experiment": asdict(Experiment())}
    return {key: _sayable(value, found.get(key), inner.get(key, {})) for key, value in kept.items()}


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """Return the configuration in a folder; raise ValueError if it is missing, newer or of another kind."""
    path = folder / "config.yaml"
    if not path.exists():
        raise ValueError(f"{folder} is not a run folder: it has no config.yaml")
    content = _content(path)
    if content.get("format", 0) > FORMAT:
        raise ValueError(
            f"{folder} was written by a newer version (format {content['format']}, this one reads up to {FORMAT}); "
            "upgrade learning-rule-sandbox"
        )
    found = content.pop("kind")
    content.pop("format", None)
    if kind is not None and found != kind:
        raise ValueError(f"{folder} holds a {found}, not a {kind}")
    return dict(content)


def _content(path: Path) -> dict[str, Any]:
    """Return what a `config.yaml` holds; raise ValueError, which names the file, for a damaged one."""
    content = read_yaml(path)
    known = isinstance(content, dict) and isinstance(content.get("kind"), str) and content["kind"] in KINDS
    if not known or type(content.get("format", 0)) is not int:
        raise ValueError(f"{path} is damaged: it does not say which kind of folder this is ({', '.join(KINDS)})")
    return dict(content)


def check_resumable(folder: Path) -> None:
    """Raise ValueError for an unfinished run of an earlier version, whose checkpoint is not loaded."""
    path = folder / "config.yaml"
    found = format_of(folder) if path.exists() else FORMAT
    if found >= FORMAT or (folder / "result.json").exists():
        return
    made = folder / "provenance.json"
    begun_by = (
        f"revision {files.read_json(made).get('revision', 'unknown')}" if made.exists() else "the version that began it"
    )
    raise ValueError(
        f"{folder} was begun by an earlier version (format {found}, this one writes {FORMAT}). {WHY[max(found, 0)]}. "
        f"Finish the run with {begun_by}, or remove the folder and run it again"
    )


def format_of(folder: Path) -> int:
    """Return the format of a folder, 0 for one of the first version; raise ValueError if it is damaged."""
    return int(_content(folder / "config.yaml").get("format", 0))


def kind_of(folder: Path) -> str:
    """Return what a folder holds: `run`, `comparison`, `grid`, `tuning` or `curriculum`."""
    read_config(folder)
    return str(_content(folder / "config.yaml")["kind"])


def provenance(checksum: str, code: Mapping[str, str]) -> dict[str, Any]:
    """Return what the results depend on apart from the configuration: data, code, versions and machine.

    Args:
        checksum: SHA-256 of the data.
        code: SHA-256 of the user's own files that the configuration names.
    """
    return {"code_sha256": dict(code), "data_sha256": checksum, **surroundings()}


def surroundings() -> dict[str, Any]:
    """Return machine, processes that learn together, Python, revision, threads of torch and versions of packages."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "brian2", "learning-rule-sandbox")
    return {
        "processes": processes(),  # the order of sums depends on it, as on the threads
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": sys.version.split()[0],
        "revision": revision(),
        "torch_threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in packages},
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def load(kind: type[Any], folder: Path) -> Any:
    """Return the `Experiment` or `Comparison` that a folder belongs to."""
    return from_dict(kind, read_config(folder, "run" if kind is Experiment else "comparison"))
