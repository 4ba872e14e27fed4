"""Files are whole or absent, and what killed processes left is swept; the folder of all runs is found from anywhere."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import sandbox
from sandbox.machine import files
from sandbox.machine.locks import held
from sandbox.machine.tensors import read_tensors
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


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def plug(path):
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))


@pytest.fixture
def soon():
    """End a test that waits for a writer of a pipe."""

    def late(number, frame):
        raise TimeoutError("it waited")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("make", [pipe, device, plug])
@pytest.mark.parametrize("reader", [files.read_json, files.read_lines, files.text_of, files.bytes_of, read_tensors])
def test_what_is_no_regular_file_is_not_read(tmp_path, monkeypatch, soon, make, reader):
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    path = Path("a")
    make(path)
    with pytest.raises(ValueError, match="^a is not a regular file, .*; remove it$"):
        reader(path)


def test_a_folder_is_not_read_as_a_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        files.bytes_of(tmp_path)


def test_a_link_to_a_regular_file_is_read(tmp_path):
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").symlink_to("a")
    assert files.read_json(tmp_path / "b") == 1


def test_texts_are_bounded(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"123")
    assert files.text_of(path, 3) == "123"
    with pytest.raises(ValueError, match="a is too large: 3 bytes, at most 2; remove it"):
        files.text_of(path, 2)
    os.truncate(path, files.TEXT + 1)  # sparse: it takes no room
    with pytest.raises(ValueError, match="a is too large"):
        files.read_json(path)
    assert len(files.text_of(path, files.GROWN)) == files.TEXT + 1


@pytest.mark.parametrize("flags", [0, os.O_CREAT, os.O_CREAT | os.O_APPEND])
@pytest.mark.parametrize("there", [True, False])
def test_nothing_is_written_through_a_link(tmp_path, monkeypatch, flags, there):
    if there:
        (tmp_path / "precious").write_text("old")
    (tmp_path / "a").symlink_to("precious")
    for check in (files.require_plain, lambda *paths: None):  # a link may be made after it was looked for
        monkeypatch.setattr(files, "require_plain", check)
        with pytest.raises(ValueError, match="a is a symbolic link, .*; remove that link$"):
            files.opened_to_write(tmp_path / "a", flags)
    assert (tmp_path / "precious").exists() == there
    assert not there or (tmp_path / "precious").read_text() == "old"


def test_what_is_no_regular_file_is_not_written(tmp_path, monkeypatch, soon):
    pipe(tmp_path / "a")
    for check in (files.require_plain, lambda *paths: None):
        monkeypatch.setattr(files, "require_plain", check)
        with pytest.raises(ValueError, match="a is not a regular file"):
            files.opened_to_write(tmp_path / "a")


def test_a_file_is_opened_with_its_content_and_at_its_end(tmp_path):
    path = tmp_path / "a"
    with pytest.raises(FileNotFoundError):
        files.opened_to_write(path)
    with files.opened_to_write(path, os.O_CREAT) as file:
        file.write(b"123")
    with files.opened_to_write(path, os.O_APPEND) as file:
        file.write(b"4")
    with files.opened_to_write(path) as file:
        file.write(b"0")
    assert path.read_text() == "0234"


def test_an_atomic_write_replaces_a_link_and_follows_none(tmp_path):
    (tmp_path / "precious").write_text("old")
    beside = f".a.{os.getpid()}.{threading.get_ident()}.{files._host()}"
    for name in ("a", beside):
        (tmp_path / name).symlink_to("precious")
    files.write_atomically(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "precious").read_text() == "old"


@pytest.mark.parametrize("end", ["", *files.BESIDE])
def test_a_database_is_not_written_through_a_link(tmp_path, end):
    files.require_database(tmp_path / "a.sqlite")
    (tmp_path / f"a.sqlite{end}").symlink_to("precious")
    with pytest.raises(ValueError, match=f"a.sqlite{end} is a symbolic link"):
        files.require_database(tmp_path / "a.sqlite")


def test_links_stay_inside_a_folder(tmp_path):
    (tmp_path / "real" / "run").mkdir(parents=True)
    (tmp_path / "out").symlink_to("real")  # the user names it
    (tmp_path / "real" / "near").symlink_to("run")
    (tmp_path / "real" / "far").symlink_to(tmp_path)
    out = tmp_path / "out"
    files.require_inside(out, [out / "run", out / "near", out / "absent"])
    with pytest.raises(ValueError, match="far/x leads out of .*out, .* by a symbolic link; .* remove that link"):
        files.require_inside(out, [out / "far" / "x"])


def test_a_lock_that_is_a_pipe_or_a_link(tmp_path, soon):
    (tmp_path / "a").mkdir()
    pipe(tmp_path / "a" / ".lock")
    assert not held(tmp_path / "a")
    with pytest.raises(ValueError, match="lock is not a regular file"), locked(tmp_path / "a"):
        pass
    (tmp_path / "precious").write_text("old")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(ValueError, match="lock is a symbolic link"), locked(tmp_path / "b"):
        pass
    assert (tmp_path / "precious").read_text() == "old"
