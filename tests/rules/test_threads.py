"""The warning of too many threads: where cores are few or busy, once, and never on a quiet machine."""

from __future__ import annotations

import time
import warnings

import pytest
import torch

import rules
from rules import threads
from rules.check import toy
from rules.threads import Crowding, Use, busy, cores, told

HEAD = "cpu  900 0 0 0 0 0 0 0 0 0\n"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of four cores and no quota, with four threads, whose use a test gives: seconds of all, and ours."""
    monkeypatch.setattr(threads, "allowed", lambda: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(threads, "WINDOW", 0.0)

    def used(*seconds):
        told = iter(Use(float(clock), *each) for clock, each in enumerate(seconds))
        monkeypatch.setattr(threads, "use", lambda: next(told))
        return tmp_path

    return used


def said(steps=3):
    watched = Crowding()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        for _ in range(steps):
            watched.watch()
    return [str(each.message) for each in found]


@pytest.mark.parametrize(
    ("all_", "own", "free", "best"),
    [(4.0, 1.3, "1.3", 1), (4.0, 2.0, "2.0", 2), (2.0, 0.0, "2.0", 2), (9.0, 1.0, "0.0", 1)],
)
def test_other_programs_that_take_cores_are_told_once(machine, all_, own, free, best):
    machine((10.0, 1.0), (10.0 + all_, 1.0 + own))
    (found,) = said()
    assert f"4 threads, and of the 4 cores other programs leave {free} free" in found
    assert f"torch.set_num_threads({best}), or start Python with OMP_NUM_THREADS={best}, or sandbox run" in found


@pytest.mark.parametrize(("all_", "own"), [(4.0, 4.0), (4.0, 3.6), (0.3, 0.0), (0.0, 0.0), (3.9, 4.0)])
def test_a_quiet_machine_raises_no_alarm(machine, all_, own):
    """However busy this process is itself; clocks of process and system differ by a tick."""
    machine((10.0, 1.0), (10.0 + all_, 1.0 + own))
    assert said() == []


def test_one_thread_is_never_too_many(machine, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    machine((0.0, 0.0))
    assert said() == []


def test_fewer_cores_than_threads_are_told_at_once(machine):
    place = machine((0.0, 0.0))
    (place / "cpu.max").write_text("150000 100000\n")
    (found,) = said(1)
    assert "4 threads, and this process may use 2 cores" in found
    assert "torch.set_num_threads(2)" in found


@pytest.mark.parametrize(("text", "count"), [("max 100000\n", 4), ("50000 100000\n", 1), ("nothing\n", 4)])
def test_a_container_may_use_fewer_cores_than_there_are(machine, text, count):
    (machine() / "cpu.max").write_text(text)
    assert cores() == count


def test_the_use_is_that_of_the_cores_that_count(monkeypatch, tmp_path):
    """User, nice, system, interrupts and what a host takes, in ticks; idle time and that of other cores not."""
    stat = tmp_path / "stat"
    stat.write_text(
        HEAD + "cpu0 1 2 3 100 100 4 5 6 7 8\ncpu1 900 0 0 0 0 0 0 0 0 0\ncpu12 10 0 0 0 0 0 0 0 0 0\nintr 5\n"
    )
    monkeypatch.setattr(threads, "STAT", stat)
    monkeypatch.setattr(threads.os, "sysconf", lambda name: 100)
    assert busy({0}) == pytest.approx(0.21)
    assert busy({0, 12}) == pytest.approx(0.31)
    monkeypatch.setattr(threads, "STAT", tmp_path / "absent")
    assert busy({0}) == 0.0


def test_here_the_use_grows_with_work():
    """This process alone: half a tick is the resolution of either clock."""
    before, end = threads.use(), time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = threads.use()
    assert after.own - before.own >= 0.3
    if threads.STAT.exists():
        assert after.all - before.all >= 0.25


def test_a_trainer_asks_once_a_step(monkeypatch):
    calls = []
    monkeypatch.setattr(rules.trainer.CROWDING, "watch", lambda: calls.append(1))
    trainer = rules.Trainer(toy.leaky(spiking=True), "bptt")
    for _ in range(3):
        trainer.step(toy.batch())
    assert len(calls) == 3


def test_one_core_is_one_core():
    assert "this process may use 1 core:" in told(2, 1, 1.0)
