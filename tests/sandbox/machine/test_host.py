"""Whether a process lives, told from its number, its start and the boot of its host."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sandbox.machine import host
from sandbox.machine.host import is_gone, me


def other():
    """The identity of a process that waits for its end."""
    code = "from sandbox.machine.host import me; print(*me(), sep='|', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    name, system, pid, started = process.stdout.readline().strip().split("|")
    return process, host.Process(name, system, int(pid), started)


@pytest.mark.parametrize("proc", [True, False], ids=["with /proc", "without"])
def test_a_process_lives_until_it_ends(proc, monkeypatch, tmp_path):
    process, found = other()
    if not proc:
        monkeypatch.setattr(host, "PROC", tmp_path)
        found = found._replace(system="", started="")
    assert not is_gone(found)
    process.kill()
    process.wait()
    assert is_gone(found)


@pytest.mark.skipif(not host.PROC.is_dir(), reason="needs /proc")
def test_a_process_that_waits_to_be_reaped_has_ended():
    process, found = other()
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(found)
    process.wait()


@pytest.mark.skipif(not host.PROC.is_dir(), reason="needs /proc")
def test_a_later_process_of_the_same_number_is_another():
    assert is_gone(me()._replace(started="1"))
    assert not is_gone(me())


@pytest.mark.parametrize("change", [{"host": "anna"}, {"system": "another boot"}])
def test_of_another_host_nothing_is_known(change):
    assert not is_gone(me()._replace(pid=2**22 + 7, **change))
