"""Executors by name, and what is said of a name or an option that there is not."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
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
    with pytest.raises(ValueError, match="unknown option of executor 'local' 'lease'; there are none"):
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


HOSTILE = ("x y", [], {}, True, 2.5, -1, 2**70, float("nan"), float("inf"), None)


@pytest.mark.parametrize("name", executors.EXECUTORS)
def test_every_option_is_checked_where_it_enters(name):
    """Accepted is only what the type of the option allows; a message holds the option."""
    module, kind = executors.EXECUTORS[name].split(":")
    maker = getattr(import_module(module), kind)
    options = {key: each.annotation for key, each in signature(maker).parameters.items() if key != "jobs"}
    for option, declared in options.items():
        for value in HOSTILE:
            try:
                executors.make(name, 2, {option: value})
            except ImportError as error:
                assert "pip install 'learning-rule-sandbox[" in str(error)  # noqa: PT017
            except ValueError as error:
                assert option in str(error)  # noqa: PT017
            else:
                assert fits(value, str(declared)), f"{option}={value!r}"


def fits(value, declared):
    if value is None:
        return "None" in declared
    if isinstance(value, bool) or value in ([], {}) or value != value or value == float("inf"):
        return value == [] and ("list" in declared or "Sequence" in declared or "tuple" in declared)
    if isinstance(value, str):
        return "str" in declared
    return value > 0 and ("float" in declared or ("int" in declared and isinstance(value, int) and value < 2**63))
