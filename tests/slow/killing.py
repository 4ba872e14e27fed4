"""What tests that kill share: a command started, finished, the workers that it has, and how many kills there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

KILLS = int(os.environ.get("KILLS", "6"))  # of each test; 20 in `make evidence-kills`


def start(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "sandbox", *words, "--json"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(*words: str) -> None:
    process = start(*words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def workers(process: subprocess.Popen) -> list[int]:
    """Processes that descend from this one through the fork server and hold a run folder."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[int(entry.name)] = int(fields[1])
    children = [pid for pid, parent in parents.items() if parent == process.pid]
    return [pid for pid, parent in parents.items() if parent in children]
