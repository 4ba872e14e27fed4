"""`ray` on two nodes' worth of processes: the same bits whatever dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.executors import make
from sandbox.executors import ray as executor_ray
from sandbox.executors.base import run_all
from tests.sandbox.executors.conformance import Conformance
from tests.slow.chain import chains, killing, started
from tests.slow.killing import KILLS

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow(minutes=1.5), pytest.mark.usefixtures("by_itself")]
SMALL = {"object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster(by_itself) -> Iterator:
    """A head that runs no jobs, and a node for two."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, **SMALL}
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (Ray's 15 lets its workers wait for whatever else runs)
    found = Cluster(initialize_head=True, head_node_args=head)
    found.add_node(num_cpus=2, **SMALL)
    yield found
    found.shutdown()


def ran(jobs, folder, *seen, count=2, **options):
    progress = seen[0] if seen else lambda done, total: None
    return run_all(jobs, make("ray", count, options), progress, folder)


@pytest.fixture(scope="class")
def connected(cluster) -> Iterator:
    """One connection for many calls, which then find workers that have imported the project."""
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level="warning")
    yield
    ray.shutdown()


@pytest.mark.usefixtures("connected")
class TestRay(Conformance):
    test_a_job_whose_worker_is_killed_is_taken_up = None  # many kills below
    test_the_status_of_each_job = None  # read from the folder, as TestSlurm has it

    def executor(self, jobs):
        return make("ray", jobs)


def test_jobs_and_failures(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(executor_ray, "RESTARTS", 1)  # a worker of Ray takes seconds to start
    jobs, steps = chains(tmp_path, 2, pause=0.1), []
    harmed = [job for harm in ("die", "raise", "exit") for job in chains(tmp_path / harm, 1, harm=harm)]
    errors = ran([*harmed, *jobs], tmp_path, lambda *counts: steps.append(counts), address=cluster.address)
    assert errors == {
        harmed[0].folder: executor_ray.KILLED,
        harmed[1].folder: "ValueError: half is enough",
        harmed[2].folder: "SystemExit: 3",
    }
    assert len(harmed[0].processes) == 2
    assert "half is enough" in (harmed[1].folder / "error.txt").read_text()
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert os.getpid() not in {pid for job in jobs for pid in job.processes}
    assert max(done for done, _ in steps) >= 40


def test_kills_of_workers(tmp_path, cluster):
    jobs = chains(tmp_path, KILLS // 3, steps=40)
    with killing(jobs, KILLS, random.Random(0)) as killed:
        errors = ran(jobs, tmp_path, address=cluster.address)
    assert errors == {}
    assert len(killed) == KILLS
    assert [job.result for job in jobs] == [job.expected for job in jobs]


def test_a_node_that_dies(tmp_path, cluster):
    """Its jobs go to the other one."""
    second = cluster.add_node(num_cpus=2, **SMALL)
    jobs = chains(tmp_path, 4, steps=60)

    def end():
        started(jobs)
        cluster.remove_node(second, allow_graceful=False)

    thread = threading.Thread(target=end)
    thread.start()
    errors = ran(jobs, tmp_path, count=4, address=cluster.address)
    thread.join()
    assert errors == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert sorted(len(job.processes) for job in jobs) == [1, 1, 2, 2]


CALLER = """
import sys
from pathlib import Path
from sandbox.executors import make
from sandbox.executors.base import run_all
from tests.slow.chain import chains
folder = Path(sys.argv[1])
run_all(chains(folder, 2, steps=int(sys.argv[2])), make("ray", 2), lambda *_: None, folder)
"""
STEPS = 300  # more than both callers make


def test_nothing_is_left_of_a_caller_that_ends(tmp_path, cluster):
    """Neither its workers nor the cluster that it raised beside another one; the next call continues."""
    jobs, dice, families = chains(tmp_path, 2, steps=STEPS), random.Random(0), []
    for calls, number in enumerate([signal.SIGKILL, signal.SIGINT], start=1):
        caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path), str(STEPS)])
        started(jobs, processes=calls)
        families.append(descendants(caller.pid))
        time.sleep(dice.uniform(0.0, 0.5))
        caller.send_signal(number)
        caller.wait(120)
    assert ran(jobs, tmp_path, address=cluster.address) == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert all(len(job.processes) == 3 for job in jobs)
    assert all(len(family) > 4 for family in families), "the daemons of Ray, and two workers"
    end = time.monotonic() + 120  # agents of a cluster whose head was killed wait for it for a minute
    while (left := [pid for family in families for pid in family if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.2)
    assert not left


def descendants(pid: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
