"""Files are whole or absent, and what killed processes left is swept; the folder of all runs is found from anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import sandbox
from sandbox.machine import files
from sandbox.machine.locks import held
from sandbox.runs.folder import locked

HERE = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[1])}
STUCK = """
import os, sys, time
from pathlib import Path
from sandbox.machine import files
from sandbox.runs.folder import locked
os.fsync = lambda file: (print("writing", flush=True), time.sleep(60))
with locked(Path(sys.argv[1])):
    files.write_atomically(Path(sys.argv[1]) / "config.yaml", "half")
"""


def stuck(folder):
    """Return a process that is in the middle of a write, and holds the lock of the folder."""
    process = subprocess.Popen([sys.executable, "-c", STUCK, str(folder)], stdout=subprocess.PIPE, env=HERE)
    assert process.stdout.readline() == b"writing\n"
    return process


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def fails(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_killed_process_left_is_swept_when_the_folder_is_next_opened(tmp_path):
    process = stuck(tmp_path)
    (left,) = tmp_path.glob(".config.yaml.*")
    assert held(tmp_path)
    files.sweep(tmp_path)  # it lives
    assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not held(tmp_path)
    for name in (".lock", ".config.yaml", ".hidden.12.txt", "a.1.2", f".report.html.{os.getpid()}.1"):
        (tmp_path / name).touch()
    (tmp_path / f".metrics.jsonl.{process.pid}.140").touch()  # as earlier versions named them
    with locked(tmp_path):
        kept = {".lock", ".config.yaml", ".hidden.12.txt", "a.1.2", f".report.html.{os.getpid()}.1"}
        assert set(os.listdir(tmp_path)) == kept


def test_a_file_of_another_host_is_swept_when_it_is_old(tmp_path):
    names = [f".a.{2**22 + 5}.1.elsewhere", f".b.{2**22 + 5}.1.elsewhere"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / names[0], (time.time() - 2 * files.FOREIGN,) * 2)
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == [names[1]]


def test_whoever_asks_for_the_lock_disturbs_nobody(tmp_path):
    """A thread asks all the time, while others take and leave the folder a hundred times without patience."""
    ends = threading.Event()

    def asks():
        while not ends.is_set():
            held(tmp_path)

    thread = threading.Thread(target=asks)
    thread.start()
    try:
        for _ in range(100):
            with locked(tmp_path):
                assert held(tmp_path)
    finally:
        ends.set()
        thread.join()
    assert not held(tmp_path)


def test_a_folder_without_a_lock_is_not_held(tmp_path):
    assert not held(tmp_path)
    assert not held(tmp_path / "nowhere")
    assert os.listdir(tmp_path) == []


def group(folder, kind="comparison"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(f"format: 3\nkind: {kind}\nseeds: 5\n")
    return folder


def test_the_folder_of_all_runs_from_anywhere(tmp_path, monkeypatch):
    out = tmp_path / "out"
    run = group(out / "grid", "grid") / "one"
    group(run)
    (run / "r").mkdir()
    assert files.root_of(run / "r") == out
    monkeypatch.chdir(run / "r")
    assert files.root_of(Path(".")) == files.root_of(Path("../r/")) == files.root_of(Path("..") / "r") == out
    monkeypatch.chdir(run)
    assert files.root_of(Path("r")) == files.root_of(Path("./r")) == out
    (tmp_path / "link").symlink_to(out)
    assert files.root_of(tmp_path / "link" / "grid" / "one" / "r") == out
    (out / "far").symlink_to(run / "r")
    assert files.root_of(out / "far") == out


def test_a_configuration_of_the_users_own_is_no_comparison(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    monkeypatch.chdir(tmp_path)
    assert files.root_of(Path("r")) == tmp_path


def test_the_search_ends_at_the_root_of_the_file_system(monkeypatch):
    monkeypatch.setattr(files, "_is_group", lambda folder: True)
    assert files.root_of(Path(".")) == Path("/")
