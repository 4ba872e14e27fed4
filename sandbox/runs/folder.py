"""A run's folder: written atomically, locked while in use, and refused where a newer version wrote it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml
from filelock import FileLock, Timeout

from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.machine import files

PATIENCE = 30.0  # [s] for an orphan of an earlier call to let go of its folder
FORMAT = 2  # of the folder; a reader refuses a larger one. 1 had pickled classes in its checkpoints


class FolderInUse(RuntimeError):
    """Another process is writing to this folder."""


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for oneself; raises FolderInUse after `patience` seconds. The system frees it if we are killed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise FolderInUse(
            f"{folder} is in use by another process; wait for it, stop it, or name another folder with --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def write_config(folder: Path, kind: str, config: dict[str, Any]) -> None:
    """Write the resolved configuration once; raises ValueError where the folder holds a different one.

    What an earlier version could not say it did not want: a field that the folder lacks is equal to one that is None.
    """
    path = folder / "config.yaml"
    text = yaml.safe_dump({"format": FORMAT, "kind": kind, **config}, sort_keys=False)
    if path.exists():
        found, wanted = read_config(folder, kind), yaml.safe_load(text)
        if found != _sayable({name: wanted[name] for name in config}, found):
            raise ValueError(f"{folder} holds another configuration ({path}); name another folder with --out")
    files.write_atomically(path, text)


def _sayable(config: Any, found: Any) -> Any:
    """The configuration without what is None and was not known when `found` was written."""
    if isinstance(config, list) and isinstance(found, list) and len(config) == len(found):
        return [_sayable(*pair) for pair in zip(config, found, strict=True)]
    if not (isinstance(config, dict) and isinstance(found, dict)):
        return config
    kept = {key: value for key, value in config.items() if key in found or value is not None}
    return {key: _sayable(value, found.get(key)) for key, value in kept.items()}


def read_config(folder: Path, kind: str | None = None) -> dict[str, Any]:
    """The configuration in a folder; raises ValueError for a missing, newer or different kind of folder."""
    path = folder / "config.yaml"
    if not path.exists():
        raise ValueError(f"{folder} is no run folder: it has no config.yaml")
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    if content.get("format", 0) > FORMAT:
        raise ValueError(
            f"{folder} was written by a newer version (format {content['format']}, this one reads up to {FORMAT}); "
            "upgrade learning-rule-sandbox"
        )
    found = content.pop("kind", None)
    content.pop("format", None)
    if kind is not None and found != kind:
        raise ValueError(f"{folder} holds a {found}, not a {kind}")
    return content


def check_resumable(folder: Path) -> None:
    """Raise ValueError for a run that an earlier version began and did not finish: its checkpoint is not loaded."""
    path = folder / "config.yaml"
    found = yaml.safe_load(path.read_text()).get("format", 0) if path.exists() else FORMAT
    if found >= FORMAT or (folder / "result.json").exists():
        return
    made = folder / "provenance.json"
    begun_by = (
        f"revision {files.read_json(made).get('revision', 'unknown')}" if made.exists() else "the version that began it"
    )
    raise ValueError(
        f"{folder} was begun by an earlier version (format {found}, this one writes {FORMAT}), whose checkpoints hold "
        f"pickled classes; reading those can run code, so they are not loaded. Finish the run with {begun_by}, or "
        "remove the folder and run it again"
    )


def kind_of(folder: Path) -> str:
    """`run` or `comparison`."""
    read_config(folder)
    return str(yaml.safe_load((folder / "config.yaml").read_text())["kind"])


def provenance(checksum: str) -> dict[str, Any]:
    """What the numbers depend on beside the configuration."""
    packages = ("torch", "numpy", "scipy", "scikit-learn", "brian2", "learning-rule-sandbox")
    return {
        "data_sha256": checksum,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": sys.version.split()[0],
        "revision": revision(),
        "torch_threads": torch.get_num_threads(),
        "versions": {name: _version(name) for name in packages},
    }


def revision() -> str:
    """The code's git revision, with a plus sign where files have changed since; `unknown` outside a checkout."""
    here = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=here, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def load(kind: type[Any], folder: Path) -> Any:
    """The `Experiment` or `Comparison` whose run is in a folder."""
    return from_dict(kind, read_config(folder, "run" if kind is Experiment else "comparison"))
