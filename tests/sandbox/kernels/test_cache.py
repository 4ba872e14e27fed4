"""Kernels on disk: whatever the folder is or holds, a sequence runs."""

from __future__ import annotations

import os
import subprocess
import sys

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
    for each in (compiled._kernel, store.compiled):
        each.cache_clear()
    yield tmp_path / "kernels"
    for each in (compiled._kernel, store.compiled):
        each.cache_clear()


def spikes():
    with using("numba"):
        return int(scan(LIF(tau_mem=5.0), torch.full((9, 3), 3.0))[0].sum())


def again():
    compiled._kernel.cache_clear()
    store.compiled.cache_clear()
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


def test_machine_code_is_not_taken_from_strangers(folder, monkeypatch):
    want = spikes()
    written = set(folder.rglob("*"))
    monkeypatch.setattr(store.os, "getuid", lambda: 12345, raising=False)
    assert again() == want
    assert set(folder.rglob("*")) == written


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
