"""Kernels on disk: whatever the folder is or holds, a sequence runs."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from importlib import metadata

import pytest
import torch

from sandbox import scan
from sandbox.kernels import using
from sandbox.kernels.launch import compiled, store
from sandbox.machine import files
from sandbox.neurons import LIF
from tests.conftest import ROOT

RUN = (
    "import torch; from sandbox import LIF, scan; print(int(scan(LIF(tau_mem=5.0), torch.full((9, 3), 3.0))[0].sum()))"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, and nothing in memory."""
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path))
    compiled.forget()
    yield tmp_path / "kernels"
    compiled.forget()


def spikes():
    with using("numba"):
        return int(scan(LIF(tau_mem=5.0), torch.full((9, 3), 3.0))[0].sum())


def again():
    compiled.forget()
    return spikes()


def test_a_kernel_is_written_once_and_read_again(folder):
    want = spikes()
    (source,) = folder.glob("kernel_*.py")
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert "def kernel(" in source.read_text()
    assert again() == want
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == files


def test_another_version_has_another_file(folder, monkeypatch):
    want = spikes()
    monkeypatch.setattr(store, "versions", lambda: "of another year")
    assert again() == want
    assert len(list(folder.glob("kernel_*.py"))) == 2


@pytest.mark.parametrize(
    "what", ["*.nbi", *(pytest.param(what, marks=pytest.mark.slow) for what in ("*.nbc", "kernel_*.py"))]
)
def test_a_file_that_is_broken_is_not_believed(folder, what):
    want = spikes()
    for path in folder.rglob(what):
        path.write_bytes(b"nonsense")
    assert again() == want


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch, folder):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SANDBOX_KERNEL_CACHE", str(tmp_path / "file"))
    assert spikes() == again() > 0
    assert (tmp_path / "file").read_text() == ""


def test_a_read_only_folder_is_read(folder, monkeypatch):
    """As root nothing is read-only, so writing is made to fail."""
    want = spikes()

    def refuse(*given, **named):
        raise PermissionError("read-only")

    monkeypatch.setattr(files, "write_atomically", refuse)
    assert again() == want
    for path in folder.glob("kernel_*.py"):
        path.unlink()
    assert again() == want
    assert not list(folder.glob("kernel_*.py"))


def hostile(path, proof):
    """Replace numba's index, which is a pickle behind a line with a version, by one that writes a file."""
    version = pickle.dumps(metadata.version("numba"))
    path.write_bytes(version + pickle.dumps((None, Hostile(proof))))


class Hostile:
    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return os.system, (f"touch {self.proof}",)


def loosen(folder, how):
    """Let others write to the folder, or to what is in it."""
    if how == "folder":
        folder.chmod(0o777)
    elif how == "group":
        folder.chmod(0o770)
    elif how == "inner folder":
        folder.chmod(0o755)
        (folder / "__pycache__").chmod(0o777)
    elif how == "file":
        folder.chmod(0o755)
        next(folder.rglob("*.nbi")).chmod(0o666)
    else:
        os.chown(next(folder.rglob("*.nbi")) if how == "owner of a file" else folder, 12345, -1)


ROOT_ONLY = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
LOOSE = ["folder", "group", "inner folder", "file"]


@pytest.mark.parametrize(
    "how", [*LOOSE, *(pytest.param(how, marks=ROOT_ONLY) for how in ("owner of a file", "owner of the folder"))]
)
def test_nothing_is_loaded_from_where_others_can_write(folder, tmp_path, how, caplog):
    want = spikes()
    hostile(next(folder.rglob("*.nbi")), tmp_path / "proof")
    loosen(folder, how)
    store._warn.cache_clear()
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert again() == want
    assert again() == want
    assert not (tmp_path / "proof").exists()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1
    assert told[0].startswith("kernels are compiled anew in every process: ")
    assert "code is not loaded from it" in told[0]


def test_a_private_folder_is_believed(folder, tmp_path):
    """The attack of the other tests works where only this user can make it, so that they show something."""
    spikes()
    hostile(next(folder.rglob("*.nbi")), tmp_path / "proof")
    again()
    assert (tmp_path / "proof").exists()


def test_loose_files_in_a_closed_folder_are_out_of_reach(folder, caplog):
    want = spikes()
    for path in folder.rglob("*"):
        path.chmod(0o777)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert again() == want
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.slow
def test_two_processes_fill_one_cache(tmp_path):
    env = {**os.environ, "SANDBOX_KERNEL_CACHE": str(tmp_path), "SANDBOX_KERNELS": "numba", "OMP_NUM_THREADS": "1"}
    both = [
        subprocess.Popen([sys.executable, "-c", RUN], env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    answers = [process.communicate() for process in both]
    assert {out.strip() for out, _ in answers} == {str(spikes()).encode()}, answers
    assert not list(tmp_path.rglob(".kernel*"))
