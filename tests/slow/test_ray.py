"""`ray` on two nodes' worth of processes: the same bits whatever dies."""

from __future__ import annotations

import os

import pytest

from sandbox.executors import make
from sandbox.executors.base import run_all
from tests.slow.chain import chains

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow(minutes=1.5)]


def ran(jobs, folder, count=2, **options):
    steps = []
    executor = make("ray", count, options)
    errors = run_all(jobs, executor, lambda done, total: steps.append((done, total)), folder)
    return errors, steps


def test_jobs_on_a_cluster_that_is_raised_for_them(tmp_path):
    jobs = chains(tmp_path, 4)
    errors, steps = ran(jobs, tmp_path)
    assert errors == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert steps[-1] == (80, 80)
    assert os.getpid() not in {pid for job in jobs for pid in job.processes}
