"""A folder that is moved away or removed while its jobs run: all stops at once, and nothing is made in its place."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from sandbox.cli.entry import main
from sandbox.cli.options import FAILED
from sandbox.comparisons.comparison import Comparison, compare
from sandbox.comparisons.grid import Grid, run_grid
from sandbox.config.rule import RuleConfig
from sandbox.executors import make
from sandbox.executors.base import Gone, guarded, run_all
from sandbox.runs.job import Job
from sandbox.runs.run import run
from sandbox.tuning.tuning import Tuning, tune
from tests.sandbox.executors.toys import Steps, lives, until
from tests.sandbox.runs.test_run import TINY

PLAN = Comparison(replace(TINY, epochs=4), [RuleConfig("bptt", {"lr": 0.1}), "spsa"], seeds=3)
EXECUTORS = ("local", "shared")


def moved(folder, when):
    """What moves a folder away, once, as soon as a file that matches is in it."""

    def progress(done, total):
        if folder.exists() and any(folder.glob(when)):
            folder.rename(folder.with_name("moved"))

    return progress


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_comparison(tmp_path, executor):
    folder = tmp_path / "c"
    with pytest.raises(Gone, match="removed or moved away while it was in use"):
        compare(PLAN, folder, jobs=2, executor=executor, progress=moved(folder, "*/checkpoint.pt"))
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["moved"]
    assert len(list((tmp_path / "moved").glob("*/result.json"))) < 9
    again = make(executor, 2, {"lease": 1.0} if executor == "shared" else {})  # this process, which held claims, lives
    compare(PLAN, tmp_path / "moved", executor=again)
    assert len(list((tmp_path / "moved").glob("*/result.json"))) == 9


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_comparison_within_a_grid(tmp_path, executor):
    grid = Grid([PLAN, replace(PLAN, experiment=replace(PLAN.experiment, batch_size=8))])
    folder = tmp_path / "g" / grid.comparisons[0].identity
    with pytest.raises(Gone, match="removed or moved away"):
        run_grid(grid, tmp_path / "g", jobs=2, executor=executor, progress=moved(folder, "*/checkpoint.pt"))
    assert not folder.exists()


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_tuning(tmp_path, executor):
    tuning = Tuning(Grid([Comparison(replace(TINY, epochs=1), [RuleConfig("spsa", {"draws": 1})])]), trials=50)
    folder = tmp_path / "t"
    with pytest.raises(Gone, match="removed or moved away"):
        tune(tuning, folder, jobs=2, executor=executor, progress=moved(folder, "studies/*"))
    assert not folder.exists()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_command_says_so_and_ends_with_3(tmp_path, executor, monkeypatch, capsys):
    from sandbox.cli import printing

    out = tmp_path / "c"
    progress = moved(out, "*/*/checkpoint.pt")
    monkeypatch.setattr(printing.Bar, "__call__", lambda self, done, total: progress(done, total))
    words = ["compare", "--task.name", "yinyang", "--task.options", '{"train": 200, "validation": 50, "test": 50}']
    words += ["--epochs", "4", "--seeds", "2", "--jobs", "2", "--out", str(out), "--executor", executor]
    assert main([*words, "--rules", "[bptt, spsa]"]) == FAILED
    assert "was removed while it was in use; give the same command again" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_workers_end(tmp_path, executor):
    folder = tmp_path / "f"
    folder.mkdir()
    jobs = [Steps(folder / str(n), steps=10_000, pause=0.01) for n in range(3)]
    with pytest.raises(Gone):
        run_all(jobs, make(executor, 2), moved(folder, "*/steps"), folder)
    there = [replace(job, folder=tmp_path / "moved" / job.folder.name) for job in jobs]
    pids = [pid for job in there for pid in job.attempts()]
    assert pids
    until(lambda: not any(map(lives, pids)), 20)


def test_a_folder_of_the_same_name_is_another_one(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    told = []
    progress = guarded([Steps(folder / "a")], folder, lambda *now: told.append(now))
    progress(1, 2)
    folder.rename(tmp_path / "kept")  # so that its number is not given again
    folder.mkdir()
    with pytest.raises(Gone):
        progress(2, 2)
    assert told == [(1, 2)]


def test_a_job_makes_no_folder_above_its_own(tmp_path):
    with pytest.raises(FileNotFoundError):
        Job(TINY, tmp_path / "gone" / "run").work(lambda done, total: None)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_somebody_else_made_in_its_place_is_kept(tmp_path):
    folder = tmp_path / "run"

    def exchanged(done, total):
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        (folder / "precious").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(TINY, folder, progress=exchanged)
    assert (folder / "precious").exists()
