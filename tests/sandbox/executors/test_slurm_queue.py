"""What `squeue` says, by a stand-in with the lines of a real one."""

from __future__ import annotations

import pytest

from sandbox.executors.slurm_queue import Queued, Silent, empty, largest_array, queue

LINES = """sandbox-a|7|0|RUNNING|None
sandbox-a|7|1|PENDING|JobArrayTaskLimit
sandbox-a|7|2|PENDING|PartitionTimeLimit
sandbox-b|9|N/A|COMPLETING|None
sandbox-c|11|N/A|PENDING|launch_failed_requeued_held
another|12|N/A|RUNNING|None"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Put a script on PATH under a name."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def put(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    return put


def test_jobs_by_ticket(command):
    command("squeue", f"cat <<'END'\n{LINES}\nEND")
    assert queue(["sandbox-a.0", "sandbox-a.1", "sandbox-a.2", "sandbox-b.0", "sandbox-c.0", "sandbox-d.0"]) == {
        "sandbox-a.0": Queued("7_0", False, ""),
        "sandbox-a.1": Queued("7_1", True, ""),
        "sandbox-a.2": Queued("7_2", True, "PartitionTimeLimit"),
        "sandbox-b.0": Queued("9", False, ""),
        "sandbox-c.0": Queued("11", True, "launch failed requeued held"),
    }


def test_nothing_is_asked_about_nothing(command):
    command("squeue", "exit 1")
    assert queue([]) == {}


def test_a_controller_that_does_not_answer(command):
    command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(Silent, match="`squeue` failed: .*Unable to contact.*; is the controller of SLURM running?"):
        queue(["sandbox-a.0"])


def test_what_is_left_is_ended(command, tmp_path):
    """Running jobs are killed, so that the time that SLURM gives them does not pass."""
    command("squeue", f"test -e {tmp_path}/said || echo 'sandbox-a|7|0|RUNNING|None'")
    command("scancel", f'echo "$@" >> {tmp_path}/said')
    assert empty(["sandbox-a.0"], 5.0)
    assert (tmp_path / "said").read_text() == "--quiet --signal=KILL 7_0\n--quiet 7_0\n"


def test_a_node_that_does_not_end_its_job(command):
    command("squeue", "echo 'sandbox-a|7|0|COMPLETING|None'")
    command("scancel", "true")
    assert not empty(["sandbox-a.0"], 0.1)


@pytest.mark.parametrize(("said", "size"), [("MaxArraySize            = 6", 5), ("SlurmUser = root", 1000)])
def test_the_largest_array(command, said, size):
    command("scontrol", f"echo '{said}'")
    assert largest_array() == size
