"""How commands end: their exit codes, one message with the right remedy, and never a traceback."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock._unix
import pytest

import sandbox
from sandbox.cli import interruption, main
from sandbox.cli.options import BAD_INPUT, FAILED, IN_USE, INTERRUPTED, OK
from sandbox.runs import index
from sandbox.runs.folder import locked
from sandbox.tasks.yinyang import YinYang

SMALL = [
    "--task.options={train: 60, validation: 20, test: 20}",
    "--encoder.options={steps: 3}",
    "--epochs=2",
    "--batch_size=20",
]
HERE = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[1])}


def started(*words, **keywords):
    """Start a command in a process of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keywords}
    return subprocess.Popen([sys.executable, "-m", "sandbox", *words], text=True, env=HERE, **pipes)


def ended(*words, **keywords):
    process = started(*words, **keywords)
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in (err or ""), err
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("words", [["list", "rules"], ["--help"], ["run", "--help"], ["run", "--help-all"]])
def test_an_output_that_is_full_or_closed(words):
    with open("/dev/full", "w") as full:
        code, _, err = ended(*words, stdout=full)
    assert (code, err) == (
        FAILED,
        "error: the standard output cannot be written ([Errno 28] No space left on device)\n",
    )
    reading, writing = os.pipe()
    os.close(reading)
    assert ended(*words, stdout=writing)[0::2] == (OK, "")
    os.close(writing)
    with open("/dev/full", "w") as full:
        assert ended("list", "nothing", stderr=full)[0] == BAD_INPUT


def test_a_configuration_that_is_no_text():
    code, _, err = ended("run", "--config", "/bin/true")
    assert code == BAD_INPUT
    assert err.startswith("error: ")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room, then give the same command again; or name another folder with --out"),
        (errno.EROFS, "this file system is read-only: name another folder with --out"),
        (errno.EACCES, "change its permissions, then give the same command again; or name another folder with --out"),
        (errno.EMFILE, "raise the limit (`ulimit -n 4096`)"),
        (errno.EFBIG, "raise the limit (`ulimit -f unlimited`)"),
        (errno.ENAMETOOLONG, "its path is too long: name another folder with --out"),
    ],
)
def test_storage_that_fails_is_named_with_its_remedy(number, remedy, tmp_path, monkeypatch, capsys):
    """Nothing was begun, so nothing is left, and the same command can be given again."""

    def fails(file):
        raise OSError(number, os.strerror(number), "there")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        assert main(["run", *SMALL, "--out", str(tmp_path / "runs")]) == FAILED
    said = capsys.readouterr().err
    assert remedy in said
    assert ("then give the same command again" in said) == (number not in (errno.EROFS, errno.ENAMETOOLONG))
    assert os.listdir(tmp_path) == []


def test_a_disk_that_fills_up_later_loses_nothing(tmp_path, monkeypatch, capsys):
    out, calls = tmp_path / "runs", []

    def fails(file, true=os.fsync):
        calls.append(file)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        true(file)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fails)
        assert main(["run", *SMALL, "--checkpoint_steps=1", "--out", str(out)]) == FAILED
    (folder,) = (path for path in out.iterdir() if path.is_dir())
    assert f"then continue: sandbox resume {folder}" in capsys.readouterr().err
    assert not list(folder.glob(".*.*.*"))
    assert main(["resume", str(folder)]) == OK
    assert [row["status"] for row in index.rows(out)] == ["done"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENAMETOOLONG, errno.EXDEV])
@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_remedy_names_only_options_that_the_command_has(command, number, tmp_path, monkeypatch, capsys):
    assert main(["run", *SMALL, "--out", str(tmp_path)]) == OK
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    capsys.readouterr()

    def fails(*given, **how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(f"sandbox.cli.runs.{'run_experiment' if command == 'resume' else 'Path'}", fails)
    assert main([command, str(folder)]) == FAILED
    said = capsys.readouterr().err
    assert "--out" not in said
    assert "copy the folder elsewhere and name the copy" in said
    assert (": copy" in said) == (number in (errno.EROFS, errno.ENAMETOOLONG)), "going on there is of no use"


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def no_locks(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock._unix.fcntl, "flock", no_locks)
    assert main(["run", *SMALL, "--out", str(tmp_path / "runs")]) == FAILED
    said = capsys.readouterr().err
    assert "file locks do not work on this file system" in said
    assert "name another folder with --out" in said


@pytest.mark.parametrize("words", [["run", *SMALL], ["compare", "--jobs=1"]])
def test_an_out_that_is_a_file(words, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*words, "--out", str(tmp_path / "file")]) == BAD_INPUT
    assert "give the name of a folder" in capsys.readouterr().err


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory by RLIMIT_AS")
@pytest.mark.parametrize(
    ("words", "large"),
    [
        pytest.param(["run", *SMALL, "--network.hidden=[40000,80000]"], "network.hidden=80000", marks=pytest.mark.slow),
        pytest.param(
            ["run", "--task.options={train: 60, validation: 2147483648}"],
            "task.options.validation=2147483648",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["compare", "--network.hidden=[40000,80000]"], "experiment.network.hidden=80000", marks=pytest.mark.slow
        ),
    ],
)
def test_memory_that_does_not_suffice(words, large, tmp_path):
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (3 * 10**9, 3 * 10**9))  # noqa: E731
    code, _, err = ended(*words, "--out", str(tmp_path / "runs"), preexec_fn=limit)
    assert code == FAILED, err
    assert "out of memory" in err
    assert f"these settings are large: {large}" in err
    assert "does not fit" not in err
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_removed_while_it_is_in_use(tmp_path, monkeypatch, capsys):
    out = tmp_path / "runs"

    def removed(self, *given, true=YinYang.load):
        shutil.rmtree(out)
        return true(self, *given)

    monkeypatch.setattr(YinYang, "load", removed)
    assert main(["run", *SMALL, "--out", str(out)]) == FAILED
    assert "was removed while it was in use; give the same command again" in capsys.readouterr().err


def test_a_folder_in_use(tmp_path, capsys):
    assert main(["run", *SMALL, "--out", str(tmp_path)]) == OK
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with locked(folder):
        assert main(["resume", str(folder)]) == IN_USE
    assert "is in use by another process" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("pause", [0.0, 0.005, 0.02])
def test_two_interruptions_at_once_are_one_word(pause, tmp_path):
    process = started("run", *SMALL, "--epochs=100000", "--out", str(tmp_path))
    while not list(tmp_path.glob("*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, err
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    lines = [line for line in err.splitlines() if not line.startswith("folder:")]
    assert lines == [f"error: interrupted; continue: sandbox resume {folder}"]
    assert [row["status"] for row in index.rows(tmp_path)] == ["stopped"]


def test_ctrl_c_is_the_users_again_after_a_while(monkeypatch):
    monkeypatch.setattr(interruption, "GRACE", 0.05)
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)  # Brian2, once imported, has another
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(KeyboardInterrupt), interruption.once():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)  # the same
        time.sleep(0.06)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        with interruption.once():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before
    finally:
        signal.signal(signal.SIGINT, outer)


def test_a_cache_that_cannot_be_made_is_named_with_the_remedy(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/x")
    monkeypatch.delenv("SANDBOX_DATA")
    assert main(["run", "--task", "mnist", "--out", str(tmp_path / "runs")]) == BAD_INPUT
    said = capsys.readouterr().err
    assert "data set 'mnist' is not here, and the cache for a download, /proc/x" in said
    assert "--data-dir or SANDBOX_DATA" in said
    assert os.listdir(tmp_path) == []


def test_a_table_of_damaged_folders_alone(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.yaml").write_text("[")
    (tmp_path / "a" / ".lock").touch()
    assert main(["table", str(tmp_path)]) == BAD_INPUT
    assert "every run folder in" in (said := capsys.readouterr().err)
    assert "a: config.yaml cannot be read" in said


def test_the_doctor_says_that_brian2_is_absent_and_goes_on(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "brian2", None)
    assert main(["doctor"]) == OK
    said = capsys.readouterr().out
    assert "extra reference        without brian2: pip install" in said
    assert "brian2_agrees  not checked" in said
