"""A disk that is really full, and one that is really read-only: exit 3, what to do, and nothing lost."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sandbox.cli import main
from sandbox.cli.options import FAILED, OK
from sandbox.runs import index

SMALL = ["--task.options={train: 60, validation: 20, test: 20}", "--encoder.options={steps: 3}", "--batch_size=20"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a tmpfs, as root alone may"),
]


def mount(*words) -> bool:
    return subprocess.run(["mount", *map(str, words)], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A mounted disk of 48 KiB; enough for a configuration, and too small for a run."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=48k", "tmpfs", place):
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(disk, capsys):
    words = ["run", *SMALL, "--epochs=2", "--out", str(disk / "runs")]
    (disk / "ballast").write_bytes(bytes(4096))
    assert main(words) == FAILED
    assert "No space left on device" in (said := capsys.readouterr().err)
    assert "make room" in said
    assert "or name another folder with --out" in said
    assert mount("-o", "remount,size=4m", disk)
    assert main(words) == OK
    assert [row["status"] for row in index.rows(disk / "runs")] == ["done"]
    assert not list(Path(disk / "runs").glob("*/.*.*.*"))


def test_a_read_only_disk(disk, capsys):
    assert mount("-o", "remount,size=4m", disk)
    words = ["run", *SMALL, "--out", str(disk / "runs")]
    assert main([*words, "--epochs=1"]) == OK
    assert mount("-o", "remount,ro", disk)
    capsys.readouterr()
    assert main(["list", "runs", "--out", str(disk / "runs")]) == OK
    assert "done" in capsys.readouterr().out
    for command in ([*words, "--epochs=2"], ["index", "--rebuild", "--out", str(disk / "runs")]):
        assert main(command) == FAILED
        assert "read-only" in (said := capsys.readouterr().err).lower()
        assert "name another folder with --out" in said
