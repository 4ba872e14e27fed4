"""The seal of a finished run: the SHA-256 of each file of its evidence, so that an edited file or a copy is found.

It is a checksum and not a signature: somebody who edits a file and computes the seal again is not found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sandbox.machine import files
from sandbox.machine.text import command
from sandbox.runs.plausible import impossible

NAME = "seal.json"
EVIDENCE = (
    *(
        "checkpoint.pt",
        "config.yaml",
        "metrics.jsonl",
        "microscope.jsonl",
        "model.json",
        "provenance.json",
        "result.json",
    ),
    *("test.json", "timing.json"),
)
ENDS = ("curriculum.json", "overall.json", "table.json", "tuning.json")  # what all but a run end with
WHOLE = ("config.yaml", "provenance.json", "tuned.yaml", *ENDS)
OURS = re.compile(r"s-?\d+-[0-9a-f]{8}$")  # how a folder's name ends that a run was given by its identity
CHUNK = 1 << 20


class Seal(NamedTuple):
    """What a seal says: the identity of the run, and the SHA-256 of each file."""

    identity: str
    files: Mapping[str, str]


def write_seal(folder: Path, identity: str | None = None, coming: Mapping[str, str] | None = None) -> None:
    """Write the seal of a run.

    Args:
        folder: of the run.
        identity: of its configuration; that of its `config.yaml` by default.
        coming: the text of files that are written after the seal, by name. The result is: a run that has one is
            finished, so one that was killed before it is continued, and one that was killed after it has its seal.
    """
    sums = {name: _sha256(folder / name) for name in EVIDENCE if (folder / name).is_file()}
    sums |= {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (coming or {}).items()}
    content = {"files": sums, "identity": _identity(folder) if identity is None else identity}
    files.write_json(folder / NAME, content)


def write_sealed(folder: Path, contents: Mapping[str, Any]) -> None:
    """Write what a comparison, a grid or a tuning ends with, and before that its seal.

    Args:
        folder: of the comparison, the grid or the tuning.
        contents: of each file, by name, as text or as what becomes JSON: the member of ENDS last.
    """
    texts = {name: each if isinstance(each, str) else files.as_json(each) for name, each in contents.items()}
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    files.write_json(folder / NAME, {"files": {"config.yaml": _sha256(folder / "config.yaml"), **sums}, "identity": ""})
    for name, text in texts.items():
        files.write_atomically(folder / name, text)


def require_sealed(folder: Path) -> None:
    """Raise ValueError if a file of a comparison, a grid or a tuning is not as its seal says; without one, pass."""
    wrong = unsealed(folder, WHOLE)
    if wrong:
        raise ValueError(
            f"{folder} is damaged: {'; '.join(wrong)}. `{command('resume', folder)}` makes it anew from its runs"
        )


def read_seal(folder: Path) -> Seal | None:
    """Return the seal of a run; None if it has none, as those of earlier versions and unfinished ones.

    Raises:
        ValueError: for a seal that is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return None
    content: Any = files.read_json(path)
    sums = content.get("files") if isinstance(content, dict) else None
    if not isinstance(sums, dict) or not isinstance(content.get("identity"), str):
        raise ValueError(f"{NAME} is not a seal: it holds no `files` and `identity`")
    return Seal(content["identity"], sums)


def broken(folder: Path) -> list[str]:
    """Return a sentence for each thing that is wrong with the evidence of a finished run; empty if nothing is.

    Found are files that are missing, edited or exchanged since the run ended, a folder that has the name of another
    run, and impossible numbers. A run that is not finished has no evidence yet, and one of an earlier version no seal:
    its numbers alone are checked.

    Args:
        folder: of a run.
    """
    if not (folder / "result.json").exists():
        return []
    try:
        return [*unsealed(folder), *impossible(folder)]
    except (OSError, ValueError) as error:
        return [str(error)]


def unsealed(folder: Path, evidence: Collection[str] = EVIDENCE) -> list[str]:
    """Return a sentence for each file that is not as the seal says; empty without a seal.

    Args:
        folder: with the seal.
        evidence: names of the files that a seal of its kind has.

    Raises:
        ValueError: for a seal that is damaged.
    """
    seal = read_seal(folder)
    if seal is None:
        return []
    found = []
    for name in sorted({*evidence, *seal.files}):
        path = folder / name
        if name not in evidence:
            found.append(f"{NAME} names {name!r}, which is not a file that it seals")
        elif not path.is_file():
            found += [f"{name} is missing"] if name in seal.files else []
        elif seal.files.get(name) != _sha256(path):
            found.append(f"{name} is not the file that the run left at its end: it was edited or exchanged")
    ours, wanted = OURS.search(folder.resolve().name), OURS.search(seal.identity)
    if evidence is EVIDENCE and ours and (wanted is None or ours[0] != wanted[0]):
        found.append(f"the folder is called {folder.resolve().name}, and its run is {seal.identity}")
    return found


def _identity(folder: Path) -> str:
    from sandbox.config.experiment import Experiment  # late: a listing of runs needs no torch
    from sandbox.runs.folder import load

    experiment: Experiment = load(Experiment, folder)
    return experiment.identity


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with files.opened(path) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
