"""`slurm` against a real SLURM of one node: the same bits whatever dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from contextlib import suppress

import pytest

from sandbox.executors import make
from sandbox.executors import slurm as executor_slurm
from sandbox.executors.base import run_all
from tests.sandbox.executors.conformance import Conformance
from tests.slow import slurm
from tests.slow.chain import chains, killing, started
from tests.slow.killing import KILLS

pytestmark = [
    pytest.mark.slow(minutes=1.5),
    pytest.mark.usefixtures("by_itself"),
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing()),
]
TIME = 20  # [min] so that SLURM sends no signal before the limit: it looks every 30 s, and sends it up to 1 min early


@pytest.fixture(scope="module")
def hidden(tmp_path_factory):
    """A folder that the node does not see."""
    return tmp_path_factory.mktemp("hidden")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, hidden, by_itself):
    with slurm.raised(tmp_path_factory.mktemp("slurm"), cpus=4, array=6, hidden=hidden) as environment:
        yield environment


@pytest.fixture(autouse=True)
def inside(cluster, monkeypatch):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster[name])


def executor(count=4, **options):
    return make("slurm", count, {"poll": 0.3, "time": TIME, **options})


def ran(jobs, folder, *seen, **options):
    progress = seen[0] if seen else lambda done, total: None
    return run_all(jobs, executor(**options), progress, folder)


class TestSlurm(Conformance):
    test_a_job_whose_worker_is_killed_is_taken_up = None  # many kills below
    test_cancelling_ends_everything = None  # Ctrl-C below
    test_the_caller_alone_notes_states = None  # more jobs than an array takes, below

    def executor(self, jobs):
        return executor(jobs)


def test_more_jobs_than_an_array_takes(tmp_path):
    """5 in the first array and 2 in the second, which begins when the first has ended."""
    folder = tmp_path / "it's a 'folder' $(touch pwned); touch pwned"
    jobs, steps = chains(folder, 7, pause=0.08), []
    assert ran(jobs, folder, lambda *counts: steps.append(counts)) == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert steps[-1] == (140, 140)
    assert os.getpid() not in {pid for job in jobs for pid in job.processes}
    assert not list((folder / "slurm").glob("*.pkl"))
    assert not list(tmp_path.rglob("pwned"))
    arrays = {path.name.split("_")[0] for path in (folder / "slurm").glob("*_0_log.out")}
    assert len(arrays) == 2
    noted = [line.split() for line in (folder / "noted.txt").read_text().splitlines()]
    assert {int(pid) for *_, pid in noted} == {os.getpid()}, "only the caller notes"
    assert Counter(state for _, state, _ in noted)["done"] == 7


def test_what_fails_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(executor_slurm, "RESTARTS", 1)
    jobs = [job for harm in ("raise", "exit", "die") for job in chains(tmp_path / harm, 1, harm=harm, steps=6)]
    errors = ran(jobs, tmp_path)
    assert errors[jobs[0].folder] == "ValueError: half is enough"
    assert "half is enough" in (jobs[0].folder / "error.txt").read_text()
    assert errors[jobs[1].folder] == "SystemExit: 3"
    assert "SLURM ended its job 2 times (out of memory?)" in errors[jobs[2].folder]


def test_what_sbatch_refuses(tmp_path):
    with pytest.raises(ValueError, match="sbatch refused the jobs.*partition"):
        ran(chains(tmp_path, 1), tmp_path, partition="nowhere")
    assert not slurm.squeue(os.environ)


def test_a_job_that_would_wait_for_ever(tmp_path):
    (job,) = chains(tmp_path, 1)
    errors = ran([job], tmp_path, time=120)  # the partition allows 60 minutes
    assert "SLURM never starts it (PartitionTimeLimit)" in errors[job.folder]
    assert not slurm.squeue(os.environ)


def test_a_node_that_does_not_see_the_folder(hidden):
    (job,) = chains(hidden, 1)
    errors = ran([job], hidden)
    assert "every node must see the run folders" in errors[job.folder]


def test_kills_of_workers(tmp_path):
    jobs = chains(tmp_path, KILLS // 3, steps=40)
    with killing(jobs, KILLS, random.Random(0)) as killed:
        errors = ran(jobs, tmp_path)
    assert errors == {}
    assert len(killed) == KILLS
    assert [job.result for job in jobs] == [job.expected for job in jobs]


def test_jobs_that_are_preempted_are_requeued(tmp_path):
    """By the signal that SLURM sends before it takes a node away."""
    jobs = chains(tmp_path, 2, steps=100)

    def preempt():
        started(jobs)
        for name, _ in slurm.squeue(os.environ):
            subprocess.run(["scancel", "--signal=USR2", name])

    thread = threading.Thread(target=preempt)
    thread.start()
    assert ran(jobs, tmp_path) == {}
    thread.join()
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert all(len(job.processes) == 2 for job in jobs)
    logs = "".join(path.read_text() for path in (tmp_path / "slurm").glob("*_0_log.out"))
    assert logs.count("Requeued job") == 2
    assert not any((job.folder / "error.txt").exists() for job in jobs)


CALLER = """
import sys
from pathlib import Path
from sandbox.executors import make
from sandbox.executors.base import run_all
from tests.slow.chain import chains
folder = Path(sys.argv[1])
run_all(chains(folder, 3, steps=60), make("slurm", 3, {"poll": 0.3, "time": 20}), lambda *_: None, folder)
"""


def test_a_caller_that_is_killed_finds_its_jobs_again(tmp_path):
    """Nothing runs twice, and nothing is lost; the third caller stays."""
    jobs, dice = chains(tmp_path, 3, steps=60), random.Random(1)
    for _ in range(2):
        caller = subprocess.Popen([os.sys.executable, "-c", CALLER, str(tmp_path)])
        started(jobs)
        time.sleep(dice.uniform(0.0, 0.5))
        caller.kill()
        caller.wait()
    assert len(slurm.squeue(os.environ)) == 3
    assert ran(jobs, tmp_path) == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert all(len(job.processes) == 1 for job in jobs)


def test_ctrl_c_empties_the_queue(tmp_path):
    jobs = chains(tmp_path, 3, steps=600)
    caller = subprocess.Popen([os.sys.executable, "-c", CALLER.replace("60", "600"), str(tmp_path)])
    started(jobs)
    caller.send_signal(signal.SIGINT)
    caller.wait(120)
    assert not slurm.squeue(os.environ)
    for job in jobs:
        with suppress(FileNotFoundError):
            pid = job.processes[-1]
            assert not os.path.exists(f"/proc/{pid}"), "still running"


def test_a_controller_that_is_away_for_a_while(tmp_path, cluster):
    jobs = chains(tmp_path, 2, steps=60)

    def away():
        started(jobs)
        slurm.restart_controller(cluster, seconds=2.0)

    thread = threading.Thread(target=away)
    thread.start()
    errors = ran(jobs, tmp_path)
    thread.join()
    assert errors == {}
    assert all(len(job.processes) == 1 for job in jobs)
