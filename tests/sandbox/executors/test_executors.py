"""Executors by name, and what is said of a name or an option that there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox import executors
from sandbox.executors.base import Status, summed
from sandbox.executors.local import Local


@pytest.mark.parametrize("name", executors.EXECUTORS)
def test_every_name_keeps_the_protocol(name):
    try:
        made = executors.make(name, 2)
    except ImportError as error:
        assert "pip install 'learning-rule-sandbox[" in str(error)  # noqa: PT017
    else:
        assert isinstance(made, executors.Executor)


def test_an_executor_stays_as_it_is():
    mine = Local(3)
    assert executors.make(mine, 2) is mine


def test_an_unknown_name():
    with pytest.raises(ValueError, match="unknown executor 'shraed'; nearest: 'shared'; valid: local, shared"):
        executors.make("shraed", 2)


def test_an_unknown_option():
    with pytest.raises(ValueError, match="unknown option of executor 'shared' 'lase'; nearest: 'lease'"):
        executors.make("shared", 2, {"lase": 3})
    with pytest.raises(ValueError, match="unknown option of executor 'local' 'lease'; valid: $"):
        executors.make("local", 2, {"lease": 3})


@pytest.mark.parametrize("jobs", [0, -3])
def test_fewer_than_one_job(jobs):
    with pytest.raises(ValueError, match=f"jobs={jobs}: give the number of processes, at least 1"):
        executors.make("shared", jobs)


def test_something_that_is_no_executor():
    with pytest.raises(ValueError, match=r"executor is a int: give a name, local, shared.*, or an object"):
        executors.make(3, 2)


def test_jobs_that_have_not_begun_count_as_the_longest():
    assert summed({}) == (0, 0)
    found = {Path(str(n)): status for n, status in enumerate([Status("running", 2, 5), Status("waiting")])}
    assert summed(found) == (2, 10)
