"""`slurm` against a real SLURM of one node: the same bits whatever dies."""

from __future__ import annotations

import os

import pytest

from sandbox.executors import make
from sandbox.executors.base import run_all
from tests.slow import slurm
from tests.slow.chain import chains

pytestmark = [pytest.mark.slow(minutes=1.5), pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing())]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.raised(tmp_path_factory.mktemp("slurm"), cpus=3) as environment:
        yield environment


@pytest.fixture(autouse=True)
def inside(cluster, monkeypatch):
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, cluster[name])


def ran(jobs, folder, count=3, **options):
    steps = []
    executor = make("slurm", count, {"poll": 0.3, "time": 1, **options})
    errors = run_all(jobs, executor, lambda done, total: steps.append((done, total)), folder)
    return errors, steps


def test_an_array_of_jobs(tmp_path):
    jobs = chains(tmp_path, 4)
    errors, steps = ran(jobs, tmp_path)
    assert errors == {}
    assert [job.result for job in jobs] == [job.expected for job in jobs]
    assert steps[-1] == (80, 80)
    assert os.getpid() not in {pid for job in jobs for pid in job.processes}
    assert not list((tmp_path / "slurm").glob("*.pkl"))
