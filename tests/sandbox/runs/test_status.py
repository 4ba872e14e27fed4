"""The status of a run is what is the case: asked from the lock, and true after every way to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import sandbox
from sandbox.cli import main
from sandbox.cli.options import BAD_INPUT, OK
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.executors import claims
from sandbox.machine.host import me
from sandbox.runs import index
from sandbox.runs.folder import locked
from sandbox.runs.run import run
from tests.sandbox.runs.places import make
from tests.sandbox.runs.test_run import TINY

SMALL = ["--task.options={train: 60, validation: 20, test: 20}", "--encoder.options={steps: 3}", "--batch_size=20"]
HERE = {**os.environ, "PYTHONPATH": str(Path(sandbox.__file__).parents[1])}


def statuses(root):
    return [row["status"] for row in index.rows(root)]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_a_run_is_running_until_it_is_stopped(how, tmp_path, capsys):
    words = [sys.executable, "-m", "sandbox", "run", *SMALL, "--epochs=100000", "--out", str(tmp_path)]
    process = subprocess.Popen(words, env=HERE, stderr=subprocess.DEVNULL)
    while not list(tmp_path.glob("*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.05)
    assert statuses(tmp_path) == ["running"]
    process.send_signal(how)
    process.wait(60)
    assert statuses(tmp_path) == ["stopped"]
    assert main(["list", "runs", "--status", "stopped", "--out", str(tmp_path)]) == OK
    assert capsys.readouterr().out.split()[1] == "stopped"
    assert index.counts(tmp_path)["running"] == 0
    (tmp_path / index.NAME).unlink()
    assert statuses(tmp_path) == ["stopped"]


def test_the_index_is_asked_less_than_the_lock(tmp_path):
    index.record(make(tmp_path / "r"), TINY, "running")
    assert statuses(tmp_path) == ["stopped"]
    with locked(tmp_path / "r"):
        assert statuses(tmp_path) == ["running"]
    (tmp_path / "r" / "error.txt").write_text("why")
    assert statuses(tmp_path) == ["failed"]


@pytest.mark.parametrize(
    "words",
    [
        ["--rule", "hzo", "--rule.options={window: 5}"],
        ["--task", "nothing"],
        ["--task", "missing.py:T"],
        ["--task.options={train: -5}"],
        ["--network.hidden=[0]"],
        ["--encoder", "latency", "--encoder.options={steps: 0}"],
        ["--schedule", "nothing"],
        ["--accumulate=100000"],
        ["--device", "cuda:99"],
        ["--rule.label", "a/b"],
        ["--rule.label=../../y"],
        ["--track", "nothing"],
    ],
)
def test_bad_input_leaves_nothing(words, tmp_path, capsys):
    assert main(["run", *SMALL, *words, "--epochs=1", "--out", str(tmp_path / "made" / "runs")]) == BAD_INPUT
    assert capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_comparison_whose_runs_are_all_refused_leaves_nothing(tmp_path):
    words = ["--rules", "bptt", "--task.options={train: -5}", "--out", str(tmp_path / "runs")]
    assert main(["compare", *words]) == BAD_INPUT
    assert os.listdir(tmp_path) == []


def test_a_run_that_had_begun_and_is_refused_keeps_what_it_has(tmp_path, monkeypatch):
    """Its data change between two attempts."""
    monkeypatch.chdir(tmp_path)
    source = "from sandbox.tasks import YinYang\nclass Mine(YinYang):\n    pass\n"
    (tmp_path / "mine.py").write_text(source)
    experiment = replace(TINY, task=Choice("mine.py:Mine", dict(TINY.task.options)), rule=RuleConfig("bptt"))

    def stops(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(experiment, tmp_path / "runs" / "r", progress=stops)
    assert statuses(tmp_path / "runs") == ["stopped"]
    before = (tmp_path / "runs" / "r" / "checkpoint.pt").read_bytes()
    changed = (
        source.replace("pass", "def load(self, *given):\n        data = super().load(*given)\n")
        + "        return data._replace(train=data.train._replace(x=0 * data.train.x))\n"
    )
    (tmp_path / "mine.py").write_text(changed)
    with pytest.raises(ValueError, match="changed"):
        run(experiment, tmp_path / "runs" / "r")
    assert statuses(tmp_path / "runs") != ["failed"]
    assert (tmp_path / "runs" / "r" / "checkpoint.pt").read_bytes() == before
    (tmp_path / "mine.py").write_text(source)
    run(experiment, tmp_path / "runs" / "r")
    assert statuses(tmp_path / "runs") == ["done"]


def test_a_run_that_another_host_has_claimed_is_running(tmp_path, monkeypatch):
    """Nobody here holds its lock; a claim of a process of this host that has ended does not count."""
    folder = make(tmp_path / "r")
    other = me()._replace(host="elsewhere", system="another boot")
    gone = me()._replace(pid=2**22 + 1, started="0")
    for number, (holder, status) in enumerate(((other, "running"), (gone, "stopped"), (me(), "running"))):
        monkeypatch.setattr(claims, "me", lambda holder=holder: holder)
        assert claims.add(folder, number, claims.HELD)
        assert statuses(tmp_path) == [status]
