"""What a worker and its caller tell each other in the folder of a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.executors import claims
from sandbox.executors.base import Status
from sandbox.executors.remote import TICKET, Ticket, do, hand_over, heard, ticket_of
from sandbox.executors.worker import TakenOver
from tests.sandbox.executors.toys import Steps

NEW = Status("waiting")


def done(job, ticket, patience=0.0):
    return do(job, ticket, Path.cwd(), job.folder / "log", patience)


@pytest.fixture(autouse=True)
def same_directory(monkeypatch):
    monkeypatch.chdir(Path.cwd())  # `do` enters the caller's; back afterwards


def test_a_job_from_its_ticket_to_its_end(tmp_path):
    job = Steps(tmp_path / "a")
    ticket = hand_over(job.folder, "first")
    assert ticket_of(job.folder) == ticket
    assert heard(job.folder, ticket, NEW) == (NEW, "")
    assert done(job, "first") == ""
    assert heard(job.folder, ticket, NEW) == (Status("done", 3, 3), "")
    assert job.written() == [0, 1, 2]


def test_a_failure_is_heard_and_forgotten_with_the_next_ticket(tmp_path):
    job = Steps(tmp_path / "a", error="no luck")
    ticket = hand_over(job.folder, "first")
    assert done(job, "first") == "ValueError: no luck"
    assert heard(job.folder, ticket, NEW) == (Status("failed", 3, 3), "ValueError: no luck")
    assert "no luck" in (job.folder / "error.txt").read_text()
    assert heard(job.folder, hand_over(job.folder, "second"), NEW) == (NEW, "")


def test_a_relative_folder_is_one_of_the_callers_directory(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    Path("runs").mkdir()
    job = Steps(Path("runs/a"))
    hand_over(job.folder, "first")
    monkeypatch.chdir(tmp_path)
    assert do(job, "first", tmp_path / "home", Path("log"), 0.0) == ""
    assert (tmp_path / "home" / "runs" / "a" / "steps").exists()


@pytest.mark.parametrize("written", [None, "another"])
def test_a_machine_that_does_not_see_the_folder(tmp_path, written):
    job = Steps(tmp_path / "a")
    if written:
        hand_over(job.folder, written)
    with pytest.raises(
        OSError, match=r"does not see .*every node must see the run folders; use a folder that all nodes share"
    ):
        done(job, "first")
    assert job.attempts() == []


def test_a_machine_without_the_callers_directory(tmp_path):
    with pytest.raises(OSError, match="does not see"):
        do(Steps(tmp_path / "a"), "first", tmp_path / "absent", tmp_path / "log", 0.0)


def test_a_worker_that_was_taken_for_dead_writes_nothing_more(tmp_path):
    class Late(Steps):
        def work(self, progress, fence):
            newest = claims.newest(self.folder)
            assert claims.claim(self.folder, newest) is not None  # the scheduler has started another one
            super().work(progress, fence)

    job = Late(tmp_path / "a")
    ticket = hand_over(job.folder, "first")
    with pytest.raises(TakenOver):
        done(job, "first")
    assert job.written() == []
    assert heard(job.folder, ticket, NEW)[0].state == "running"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"name": "x"}', '{"name": "x", "after": "y"}'])
def test_a_damaged_ticket_is_none(tmp_path, text):
    (tmp_path / TICKET).write_text(text)
    assert ticket_of(tmp_path) == Ticket("")
