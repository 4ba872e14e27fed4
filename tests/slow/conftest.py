"""What slow tests share: a lock for those that raise a cluster."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from filelock import FileLock


@pytest.fixture(scope="module")
def by_itself():
    """Keep modules that raise a cluster of SLURM or Ray apart, also in other processes of this machine.

    Their daemons take both cores, and their deadlines are those of one cluster. The others wait for as long as a module
    takes, so a process that holds the lock must not wait for another one.
    """
    with FileLock(Path(tempfile.gettempdir()) / "sandbox-tests-cluster.lock", timeout=540):
        yield
