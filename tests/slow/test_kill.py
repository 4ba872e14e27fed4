"""SIGKILL at random moments loses nothing: weights, metrics and table are those of the uninterrupted run."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from sandbox.machine.files import read_json
from tests.sandbox.runs.test_run import same_files
from tests.slow.killing import KILLS, finish, only, start, workers

pytestmark = pytest.mark.slow

SMALL = {
    "task.options": "{train: 2000, validation: 100, test: 100}",
    "encoder.options": "{steps: 10}",
    "network.hidden": "[10]",
    "epochs": "12",
    "batch_size": "50",
    "checkpoint_steps": "7",
}


def options(prefix: str = "") -> list[str]:
    return [f"--{prefix}{name}={value}" for name, value in SMALL.items()]


def learning_since(root: Path, moment: float) -> bool:
    """Whether a run below `root` began to learn after `moment`: it writes its provenance then, at every start."""
    return any(path.stat().st_mtime >= moment for path in root.rglob("provenance.json"))


@pytest.mark.slow(minutes=1)
def test_a_run_killed_many_times(tmp_path):
    """Every kill falls while the run learns, up to as long after its start as learning takes; none during imports."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish("run", *options(), "--out", str(whole))
    length = float(read_json(only(whole, "yinyang*") / "timing.json")["seconds"])
    dice, kills, resumed = random.Random(0), 0, 0
    while kills < KILLS:
        moment = time.time()
        process = start("run", *options(), "--out", str(killed))
        while not learning_since(killed, moment) and process.poll() is None:
            time.sleep(0.002)
        resumed += bool(list(killed.glob("*/checkpoint.pt")))
        time.sleep(dice.uniform(0.0, length / 2))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if process.returncode == 0:  # it got through: begin again, the kills so far count
            same_files(only(whole, "yinyang*"), only(killed, "yinyang*"))
            killed.rename(tmp_path / f"done{len(list(tmp_path.iterdir()))}")
    finish("run", *options(), "--out", str(killed))
    assert 2 * resumed >= KILLS, "most starts should have found a checkpoint to continue from"
    same_files(only(whole, "yinyang*"), only(killed, "yinyang*"))


def same_comparison(whole: Path, killed: Path) -> None:
    """Equal tables and files; a run that is killed between its test and its result is tested again, and says so."""
    a, b = only(whole, "compare*"), only(killed, "compare*")
    tables = [read_json(folder / "table.json") for folder in (a, b)]
    for row in (row for table in tables for row in table["rows"]):
        assert row.pop("test_evaluations") >= 1
    assert tables[0] == tables[1]
    for run in a.glob("yinyang*"):
        same_files(run, b / run.name)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
@pytest.mark.slow(minutes=1)
def test_a_comparison_whose_parents_are_killed_many_times(tmp_path):
    """Kills fall while runs learn; before every other one a worker is killed, too, which the parent replaces.

    Workers alone are killed in `test_faults.py`.
    """
    plan = ["compare", *options("experiment."), "--seeds", "2", "--jobs", "2"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(*plan, "--out", str(whole))
    dice, starts, of_workers, of_parents = random.Random(1), 0, 0, 0
    while of_parents < KILLS:
        starts += 1
        moment = time.time()
        process = start(*plan, "--out", str(killed))
        while not learning_since(killed, moment) and process.poll() is None:
            time.sleep(0.002)
        time.sleep(dice.uniform(0.0, 0.3))
        for pid in workers(process)[: starts % 2]:
            os.kill(pid, signal.SIGKILL)
            of_workers += 1
            time.sleep(dice.uniform(0.0, 0.6))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            of_parents += 1
        process.communicate()
        if process.returncode == 0:  # it got through: begin again, the kills so far count
            same_comparison(whole, killed)
            killed.rename(tmp_path / f"done{len(list(tmp_path.iterdir()))}")
    finish(*plan, "--out", str(killed))
    same_comparison(whole, killed)
    assert of_workers


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_a_comparison_goes_on_when_a_worker_is_killed(tmp_path):
    plan = ["compare", *options("experiment."), "--seeds", "2", "--jobs", "2"]
    finish(*plan, "--out", str(tmp_path / "whole"))
    process = start(*plan, "--out", str(tmp_path / "killed"))
    killed, deadline = 0, time.monotonic() + 60
    while killed < 3 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.5)
        for pid in workers(process)[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    _, errors = process.communicate(timeout=300)
    assert killed >= 1
    assert process.returncode == 0, errors.decode()
    same_comparison(tmp_path / "whole", tmp_path / "killed")
