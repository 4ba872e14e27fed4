"""Hosts that share a folder: the contract of executors, joining, suspended holders, and errors of the disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from sandbox.executors import claims, make, session
from sandbox.executors.base import run_all
from sandbox.executors.shared import LOCK, Claimed, Shared
from sandbox.runs import folder as folders
from tests.sandbox.executors.conformance import Conformance
from tests.sandbox.executors.test_claims import ELSEWHERE, GONE, link
from tests.sandbox.executors.toys import Steps, lives, until

SIGNALS = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs signals and /proc")


def nothing(done, total):
    pass


class TestShared(Conformance):
    def executor(self, jobs):
        return Shared(jobs)


def call(folder, jobs, lease, joins):
    """A process that works on the jobs, as `compare` or as `compare --join` do."""
    where = Shared.joining(2, lease) if joins else Shared(2, lease)
    try:
        where.submit(jobs, folder)
        where.gather(nothing)
    finally:
        where.cancel()


def started(*given):
    process = multiprocessing.get_context("spawn").Process(target=call, args=given)
    process.start()
    return process


def suspend(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def wake(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["worker", "both"])
@SIGNALS
def test_a_suspended_holder_that_lost_its_job_writes_no_more(tmp_path, whom):
    job = Steps(tmp_path / "a", steps=40, pause=0.05)
    first = started(tmp_path, [job], 1.0, False)
    until(lambda: len(job.written()) >= 3)
    old = job.attempts()[0]
    asleep = (old,) if whom == "worker" else (old, first.pid)
    suspend(*asleep)
    until(lambda: job.written() == sorted(set(job.written())))
    second = started(tmp_path, [job], 1.0, True)
    until(lambda: len(job.attempts()) == 2)
    if whom == "both":
        before = len(job.written())
        wake(*asleep)
        until(lambda: len(job.written()) > before + 2)  # both are awake now
    second.join(60)
    first.join(60)
    assert (first.exitcode, second.exitcode) == (0, 0)
    assert job.written() == list(range(40))
    assert not lives(old)
    states = [json.loads(path.read_text())["state"] for path in sorted((job.folder / ".claims").glob("000?"))]
    assert states[:2] == ["held", "held"]
    assert set(states[2:-1]) <= {"held"}  # on a busy machine a lease of a second may end once more
    assert states[-1] == "done"


@pytest.mark.slow
@SIGNALS
def test_the_jobs_of_a_killed_host_are_taken_over_at_once_on_the_same_machine(tmp_path):
    """Long before the lease is over: the process is known to be gone."""
    jobs = [Steps(tmp_path / str(n), steps=30, pause=0.02) for n in range(4)]
    first = started(tmp_path, jobs, 600.0, False)
    until(lambda: sum(len(job.written()) >= 3 for job in jobs) >= 2)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    began = time.monotonic()
    assert run_all(jobs, Shared(2, 600.0), nothing, tmp_path) == {}
    assert time.monotonic() - began < 60
    assert [job.written() for job in jobs] == [list(range(30))] * 4


@pytest.mark.slow
def test_a_silent_host_loses_its_job_after_the_lease_and_no_sooner(tmp_path):
    job = Steps(tmp_path / "a")
    link(job.folder, 0, by=ELSEWHERE)
    began = time.monotonic()
    assert run_all([job], Shared(1, 2.0), nothing, tmp_path) == {}
    assert time.monotonic() - began > 2.0
    assert len(job.attempts()) == 1


def test_jobs_that_others_have_ended_are_not_done_again(tmp_path):
    done, failed = Steps(tmp_path / "a"), Steps(tmp_path / "b")
    jobs = [done, failed, Steps(tmp_path / "c")]
    link(done.folder, 1, claims.DONE)
    link(failed.folder, 0, claims.FAILED, error="no luck there")
    where = Shared.joining(2, 30.0)
    where.submit(jobs, tmp_path)
    assert where.gather(nothing) == {failed.folder: "no luck there"}
    where.cancel()
    assert [len(job.attempts()) for job in jobs] == [0, 0, 1]
    assert where.here == 1


def test_the_caller_tries_jobs_again_that_failed_before(tmp_path):
    job = Steps(tmp_path / "a")
    link(job.folder, 0, claims.FAILED, error="no luck")
    assert run_all([job], Shared(1), nothing, tmp_path) == {}
    assert job.written() == [0, 1, 2]


def test_the_caller_does_a_job_again_whose_result_was_removed_and_none_that_ended_since_it_listed_them(tmp_path):
    removed, ended = Steps(tmp_path / "a"), Steps(tmp_path / "b")
    ended.work(nothing)
    for job in (removed, ended):
        link(job.folder, 0, claims.DONE)
    assert run_all([removed, ended], Shared(1), nothing, tmp_path) == {}
    assert [len(job.attempts()) for job in (removed, ended)] == [1, 1]
    assert [claims.newest(job.folder).number for job in (removed, ended)] == [3, 0]


@pytest.mark.slow
@SIGNALS
def test_the_progress_of_other_hosts_is_read_from_the_folder(tmp_path):
    jobs = [Steps(tmp_path / str(n), steps=100, pause=0.02) for n in range(2)]
    other = started(tmp_path, jobs, 1.0, True)
    until(lambda: all(job.written() for job in jobs))
    where, seen = Shared(1, 1.0), []
    assert run_all(jobs, where, lambda *now: seen.append(now), tmp_path) == {}
    other.join()
    assert [len(job.attempts()) for job in jobs] == [1, 1]
    assert any(0 < done < 200 and total == 200 for done, total in seen)
    assert seen[-1] == (200, 200)


def test_cancelling_gives_jobs_back(tmp_path):
    job = Steps(tmp_path / "a", steps=10_000, pause=0.01)
    where = Shared(1)
    where.submit([job], tmp_path)

    def stop(done, total):
        if job.written():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        where.gather(stop)
    where.cancel()
    assert claims.newest(job.folder).state == claims.FREE


def test_the_lock_of_a_suspended_holder_is_put_aside(tmp_path):
    """Its process lives and keeps it; whoever has the claim has the folder."""
    with folders.locked(tmp_path / "a"):
        assert (tmp_path / "a" / LOCK).exists()
        link(tmp_path / "a", 0, by=ELSEWHERE)
        mine = claims.claim(tmp_path / "a", claims.newest(tmp_path / "a"))
        Claimed(Locking(tmp_path / "a"), mine, 1.0).work(nothing)
    assert (tmp_path / "a" / "got it").exists()


class Locking(Steps):
    """Locks its folder, as runs do."""

    def work(self, progress, fence=None):
        with folders.locked(self.folder):
            (self.folder / "got it").touch()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions")
def test_a_disk_that_cannot_be_written_stops_the_call_and_loses_nothing(tmp_path, monkeypatch):
    jobs = [Steps(tmp_path / str(n)) for n in range(6)]
    true, count = os.link, []

    def full(draft, path):
        count.append(path)
        if len(count) > 4:
            raise OSError(28, "No space left on device")
        true(draft, path)

    with monkeypatch.context() as patch:
        patch.setattr(claims.os, "link", full)
        with pytest.raises(OSError, match="No space left"):
            run_all(jobs, Shared(1), nothing, tmp_path)
    assert not list(tmp_path.rglob("draft-*"))
    assert run_all(jobs, Shared(1), nothing, tmp_path) == {}
    assert [job.written() for job in jobs] == [[0, 1, 2]] * 6


@pytest.mark.parametrize("lease", [0, -1, True, "x", [], {}, float("nan"), float("inf"), None])
def test_a_lease_is_a_time(lease):
    with pytest.raises(
        ValueError, match=r"lease=.*: give a (time in seconds above 0, such as lease=30.0|finite number)"
    ):
        make("shared", 2, {"lease": lease})


@pytest.mark.slow
def test_a_job_of_a_dead_process_is_claimed_by_one_of_two_callers(tmp_path):
    jobs = [Steps(tmp_path / str(n)) for n in range(12)]
    for job in jobs:
        link(job.folder, 0, by=GONE)
    crowd = [started(tmp_path, jobs, 30.0, False)]
    until((tmp_path / session.NAME).exists)
    crowd.append(started(tmp_path, jobs, 30.0, True))
    for one in crowd:
        one.join(60)
    assert [one.exitcode for one in crowd] == [0, 0]
    assert [len(job.attempts()) for job in jobs] == [1] * 12
    assert session.find(tmp_path).jobs == [str(n) for n in range(12)]
