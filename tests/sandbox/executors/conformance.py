"""What every executor must do. A test of one inherits `Conformance` and says how it is made."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.rule import RuleConfig
from sandbox.executors.base import Executor, run_all
from sandbox.machine.files import read_json
from sandbox.runs import index
from tests.sandbox.executors.toys import Steps, lives, until
from tests.sandbox.runs.test_run import TINY

PLAN = Comparison(replace(TINY, epochs=2), [RuleConfig("bptt", {"lr": 0.1}), "spsa"], seeds=2)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of everything in a comparison that must not depend on who made it, by its path."""
    found = {}
    for path in [folder / "table.json", *folder.glob("*/result.json"), *folder.glob("*/metrics.jsonl")]:
        found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    for path in folder.glob("*/checkpoint.pt"):
        weights, digest = torch.load(path, weights_only=True)["trainer"]["model"], hashlib.sha256()
        for name in sorted(weights):
            digest.update(name.encode() + weights[name].contiguous().numpy().tobytes())
        found[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return found


_QUIET: dict[str, str] = {}


def quiet(tmp_path_factory) -> dict[str, str]:
    """The hashes of a comparison that one local process made in peace."""
    if not _QUIET:
        folder = tmp_path_factory.mktemp("quiet") / "c"
        compare(PLAN, folder, jobs=1)
        _QUIET.update(hashes(folder))
    return _QUIET


class Conformance:
    """The contract of an executor, as tests."""

    def executor(self, jobs: int) -> Executor:
        raise NotImplementedError

    def test_it_keeps_the_protocol(self):
        assert isinstance(self.executor(1), Executor)

    def test_a_comparison_has_the_same_bits(self, tmp_path, tmp_path_factory):
        want = quiet(tmp_path_factory)
        assert len(want) == 1 + 3 * 6
        told = []
        compare(PLAN, tmp_path / "c", executor=self.executor(2), progress=lambda *now: told.append(now))
        assert hashes(tmp_path / "c") == want
        assert told[-1][0] == told[-1][1] > 0
        rows = index.rows(tmp_path)
        assert Counter(row["status"] for row in rows) == {"done": 6}
        assert {read_json(path)["evaluations"] for path in tmp_path.glob("c/*/test.json")} == {1}

    def test_no_jobs(self, tmp_path):
        assert run_all([], self.executor(2), lambda done, total: None, tmp_path) == {}

    def test_one_failure_does_not_stop_the_others(self, tmp_path):
        jobs = [Steps(tmp_path / str(n), error="no luck" if n == 1 else "") for n in range(5)]
        told = []
        errors = run_all(jobs, self.executor(2), lambda *now: told.append(now), tmp_path)
        assert list(errors) == [tmp_path / "1"]
        assert errors[tmp_path / "1"].endswith("ValueError: no luck")
        assert "ValueError: no luck" in (tmp_path / "1" / "error.txt").read_text()
        assert [job.written() for job in jobs] == [[0, 1, 2]] * 5
        assert told[-1] == (15, 15)
        assert all(one <= two for one, two in zip(told, told[1:]))

    def test_the_caller_alone_notes_states(self, tmp_path):
        jobs = [Steps(tmp_path / str(n), pause=0.2, error="x" if n else "", states=tmp_path / "log") for n in range(2)]
        run_all(jobs, self.executor(2), lambda done, total: None, tmp_path)
        lines = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
        assert {int(pid) for _, _, pid in lines} == {os.getpid()}
        assert [state for name, state, _ in lines if name == "0"][-1] == "done"
        assert [state for name, state, _ in lines if name == "1"][-1] == "failed"
        assert len(lines) == len({(name, state) for name, state, _ in lines})

    def test_the_status_of_each_job(self, tmp_path):
        executor = self.executor(1)
        jobs = [Steps(tmp_path / "a", steps=20, pause=0.05), Steps(tmp_path / "b", error="x")]
        seen = []

        def watch(done: int, total: int) -> None:
            now = executor.status()
            assert set(now) == {job.folder for job in jobs}
            seen.append(now)

        run_all(jobs, executor, watch, tmp_path)
        assert {now[tmp_path / "a"].state for now in seen} >= {"running", "done"}
        assert seen[-1][tmp_path / "a"] == ("done", 20, 20)
        assert seen[-1][tmp_path / "b"].state == "failed"

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
    def test_cancelling_ends_everything(self, tmp_path):
        executor = self.executor(2)
        jobs = [Steps(tmp_path / str(n), steps=10_000, pause=0.01) for n in range(4)]
        executor.submit(jobs, tmp_path)
        stop = threading.Event()

        def watch(done: int, total: int) -> None:
            if sum(bool(job.attempts()) for job in jobs) >= 2:
                stop.set()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            executor.gather(watch)
        executor.cancel()
        executor.cancel()
        assert stop.is_set()
        until(lambda: not any(lives(pid) for job in jobs for pid in job.attempts()), 20)

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
    def test_a_job_whose_worker_is_killed_is_taken_up(self, tmp_path):
        jobs = [Steps(tmp_path / str(n), steps=30, pause=0.02) for n in range(2)]
        killed = []

        def kill(done: int, total: int) -> None:
            if not killed and len(jobs[0].written()) >= 2:
                killed.append(jobs[0].attempts()[-1])
                os.kill(killed[0], signal.SIGKILL)

        assert run_all(jobs, self.executor(2), kill, tmp_path) == {}
        assert killed
        assert [job.written() for job in jobs] == [list(range(30))] * 2
        assert len(jobs[0].attempts()) == 2
        assert len(jobs[1].attempts()) == 1
