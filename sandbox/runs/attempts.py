"""What a run depends on apart from its configuration, attempt by attempt, and what has changed between attempts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from sandbox import kernels
from sandbox.config.experiment import Experiment
from sandbox.config.registry import sources
from sandbox.kernels import Effective, effective
from sandbox.machine import files
from sandbox.runs import folder as folders

NAME = "provenance.json"
ACCEPT = "go on with the change and have it marked in tables (--accept-changes)"
LOST = "does not record the attempt that wrote the checkpoint beside it: it is missing, or was edited"
PACKAGES = ("rules", "sandbox")


def surroundings_of(experiment: Experiment) -> dict[str, Any]:
    """Return what an attempt depends on, as provenance holds it: code, kernels, versions and machine.

    To be called in the mode of the run (`sandbox.runs.run.own_process`). The data are not among them yet.

    Raises:
        ValueError: for kernels that were asked for by name and cannot run here.
    """
    came_to = effective(torch.device(experiment.device), experiment.synapses)
    return {
        "code_sha256": own_code(experiment),
        "kernels": {"asked": experiment.kernels, **came_to._asdict()},
        "project_sha256": project_sha256(),
        **folders.surroundings(),
    }


def own_code(experiment: Experiment) -> dict[str, str]:
    """Return the SHA-256 of the user's own files that an experiment depends on, without importing them."""
    return sources(asdict(experiment))


def loop(experiment: Experiment) -> AbstractContextManager[None]:
    """Return a block in which the kernels are those of an experiment, and chosen by the shapes of sequences alone.

    The mode "auto" leaves the choice as it is: that of a block around, or of SANDBOX_KERNELS. Earlier calls never
    count, because a run that is resumed in a fresh process makes other calls, and has to end with the same bits.
    """
    return kernels.using(None if experiment.kernels == "auto" else experiment.kernels, history=False)


def mode_here(experiment: Experiment) -> str:
    """Return what the kernels of an experiment come to here; raise ValueError if they cannot run."""
    with loop(experiment):
        return str(effective(torch.device(experiment.device), experiment.synapses))


@lru_cache(maxsize=1)
def project_sha256() -> str:
    """Return the SHA-256 of the project's own source files, by which two changed work trees are told apart."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def changes(
    before: Mapping[str, Any], now: Mapping[str, Any], returned: bool = False, did: str = "begun"
) -> dict[str, str]:
    """Return what has changed since an earlier attempt: a word for it, as tables name it, and a clause.

    What one of the two does not record, because an earlier version wrote it or a file is not here, is passed over.

    Args:
        before: provenance of the earlier attempt.
        now: that of the present one.
        returned: whether a finished run is only returned, so that its project's revision may be an earlier one.
        did: what the earlier attempt did with the run.
    """
    found = {}
    code, now_code = code_of(before), code_of(now)
    for name in sorted(code.keys() & now_code.keys()):
        if code[name] != now_code[name]:
            found[name] = f"{name} has changed since {{folder}} was {did}"
    if _differ("data_sha256", before, now):
        found["data"] = f"the data have changed since {{folder}} was {did}, or `load` draws without a fixed seed"
    ran, runs = kernels_of(before), kernels_of(now)
    if ran is not None and runs is not None and ran != runs:
        found["kernels"] = (
            f"{{folder}} was {did} in the mode {ran} of the kernels, and this is {runs}, which rounds sums otherwise"
        )
    if not returned and revision_changed(before, now):
        found["revision"] = (
            f"{{folder}} was {did} by revision {before['revision']} of this project, and this is {now['revision']}"
        )
        if before["revision"] == now["revision"]:
            found["revision"] += ", with other changes that are not committed"
    return found


def code_of(made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the SHA-256 of the user's own files that provenance records, by name; empty if it records none."""
    kept = made.get("code_sha256")
    return dict(kept) if isinstance(kept, Mapping) else {}


def kernels_of(made: Mapping[str, Any]) -> str | None:
    """Return the mode of the kernels that provenance records, with its version; None if it records none."""
    kept = made.get("kernels")
    if not isinstance(kept, Mapping):
        return None
    return str(Effective(str(kept.get("mode")), kept.get("numba"), kept.get("triton")))


def revision_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the project's code differs: by its revision, or by content where one of the two trees was changed."""
    if not _differ("revision", before, now) and not _differ("project_sha256", before, now):
        return False
    names = [str(made.get("revision", "unknown")) for made in (before, now)]
    clean = not any(name == "unknown" or name.endswith("+") for name in names)
    return _differ("revision", before, now) if clean else _differ("project_sha256", before, now)


def _differ(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return key in before and key in now and before[key] != now[key]


def require_unchanged(folder: Path, found: Mapping[str, str], accept: bool) -> None:
    """Raise ValueError, naming all that has changed, unless changes are accepted."""
    if found and not accept:
        why = "; ".join(clause.format(folder=folder) for clause in found.values())
        raise ValueError(f"{why}; remove that folder and run again, or {ACCEPT}")


def begin(folder: Path, now: Mapping[str, Any], step: int | None, changed: list[str]) -> None:
    """Add an attempt to the provenance of a run, atomically; those before it stay as they are.

    The fields beside `attempts` are those of the attempt that began the run.

    Args:
        folder: of the run.
        now: what this attempt depends on.
        step: from which it continues; None for one that begins.
        changed: what has changed since the run began, and was accepted.
    """
    kept = read(folder)
    earlier = kept.get("attempts", [])
    attempt = {**now, "begun": datetime.now(UTC).isoformat(timespec="seconds"), "continued_from_step": step}
    first = kept if step is not None and earlier else dict(now)
    files.write_json(folder / NAME, {**first, "attempts": [*earlier, attempt], "changed": changed})


def read(folder: Path) -> dict[str, Any]:
    """Return the provenance of a run, empty if there is none.

    Raises:
        ValueError: for a damaged file.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    kept = files.read_json(path)
    tries = kept.get("attempts", []) if isinstance(kept, dict) else None
    if not isinstance(tries, list) or not all(isinstance(each, dict) for each in tries):
        raise ValueError(f"{path} is damaged: it does not hold the provenance of a run; remove {folder} and run again")
    if not isinstance(kept.get("changed", []), list) or not isinstance(kept.get("revision", ""), str):
        raise ValueError(
            f"{path} is damaged: its `changed` or `revision` is of another kind; remove {folder} and run again"
        )
    return dict(kept)
