"""Processes of this machine: the contract of executors, and what happens to one that is killed again and again."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import ClassVar

import pytest

from sandbox.executors import claims, session
from sandbox.executors.base import free, run_all
from sandbox.executors.local import RESTARTS, Local
from tests.sandbox.executors.conformance import Conformance
from tests.sandbox.executors.toys import Steps


class TestLocal(Conformance):
    def executor(self, jobs):
        return Local(jobs)


@dataclass(frozen=True)
class Doomed(Steps):
    """Kills its own process."""

    def work(self, progress, fence=free):
        super().work(progress)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Alone(Steps):
    """Wants a process of its own."""

    alone: ClassVar[bool] = True


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_job_that_kills_its_worker_each_time_fails_in_the_end(tmp_path):
    jobs = [Doomed(tmp_path / "a"), Steps(tmp_path / "b")]
    errors = run_all(jobs, Local(1), lambda done, total: None, tmp_path)
    assert errors == {tmp_path / "a": f"its worker was killed {RESTARTS + 1} times (out of memory?)"}
    assert len(jobs[0].attempts()) == RESTARTS + 1
    assert (tmp_path / "a" / "error.txt").read_text() == errors[tmp_path / "a"]
    assert jobs[1].written() == [0, 1, 2]


def test_workers_are_used_again_unless_a_job_wants_its_own(tmp_path):
    shared = [Steps(tmp_path / str(n)) for n in range(4)]
    run_all(shared, Local(1), lambda done, total: None, tmp_path)
    assert len({job.attempts()[0] for job in shared}) == 1
    alone = [Alone(tmp_path / f"alone{n}") for n in range(3)]
    run_all([Steps(tmp_path / "first"), *alone], Local(1), lambda done, total: None, tmp_path)
    assert len({job.attempts()[0] for job in alone}) == 3


def test_jobs_that_another_host_has_joined_are_left_to_it(tmp_path):
    job = Steps(tmp_path / "a")
    session.begin(tmp_path, 30.0, [job.folder])
    assert claims.claim(job.folder, None) is not None
    with pytest.raises(ValueError, match=r"a is being worked on by .*--executor shared`, or stop it first"):
        run_all([job], Local(1), lambda done, total: None, tmp_path)
    assert job.attempts() == []
    claims.add(job.folder, 1, claims.FREE)
    assert run_all([job], Local(1), lambda done, total: None, tmp_path) == {}
    assert not (tmp_path / session.NAME).exists()
