"""Killed workers, a full disk and a second command on the same folder: no run lost, none counted twice, one index."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from sandbox.cli.options import FAILED, IN_USE
from sandbox.machine.files import read_json
from sandbox.runs import index
from tests.sandbox.runs.test_index import told
from tests.slow.full_disk import FLAG
from tests.slow.killing import finish, only, start, workers

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")]

TINY = [
    "--experiment.encoder.options={steps: 2}",
    "--experiment.network.hidden=[4]",
    "--experiment.epochs=1",
    "--experiment.batch_size=20",
    "--experiment.checkpoint_steps=1",
]
SAMPLES = "{train: 60, validation: 10, test: 10}"


def plan(seeds, task="yinyang"):
    return [
        "compare",
        *TINY,
        f"--experiment.task.name={task}",
        f"--experiment.task.options={SAMPLES}",
        "--seeds",
        str(seeds),
        "--rules",
        "[bptt, readout_only]",
        "--jobs",
        "2",
    ]


def accounted_for(out, seeds):
    """Every run is done and in the table once, its test set was evaluated, and the index agrees with the folders."""
    folder = only(out, "compare*")
    runs = sorted(path.parent.name for path in folder.glob("*/result.json"))
    counted = Counter((name.split("-")[1], name.split("-")[2]) for name in runs)
    assert counted == {(rule, f"s{seed}"): 1 for rule in ("bptt", "readout_only") for seed in range(seeds)}
    table = read_json(folder / "table.json")
    assert [row["seeds"] for row in table["rows"]] == [seeds] * 2
    assert table["damaged"] == {}
    for row in table["rows"]:
        mine = [read_json(path) for path in folder.glob(f"*-{row['rule']}-*/result.json")]
        assert sorted(row["accuracies"]) == sorted(100 * result["test"]["accuracy"] for result in mine)
    before = told(out)
    assert Counter(row["status"] for row in before) == {"done": 2 * seeds}
    (out / index.NAME).unlink()
    index.rebuild(out)
    assert told(out) == before
    return table


def test_two_hundred_runs_whose_workers_are_killed_thirty_times(tmp_path):
    """A kill after every few results, so that they fall on the whole grid and spare no phase of a run."""
    dice, killed, wanted = random.Random(0), 0, 0
    process = start(*plan(100), "--out", str(tmp_path))
    while killed < 30 and process.poll() is None:
        time.sleep(dice.uniform(0.005, 0.1))
        if len(list(tmp_path.glob("compare*/*/result.json"))) < wanted:
            continue
        for pid in workers(process)[-1:]:
            os.kill(pid, signal.SIGKILL)
            killed, wanted = killed + 1, wanted + dice.randint(2, 9)
    assert killed == 30
    process.communicate(timeout=300)
    assert process.returncode == 0
    accounted_for(tmp_path, 100)


def test_a_full_disk_loses_nothing_and_is_said(tmp_path, monkeypatch):
    flag = tmp_path / "full"
    monkeypatch.setenv(FLAG, str(flag))
    out = tmp_path / "runs"
    words = [*plan(20, "tests.slow.full_disk:FullDisk"), "--out", str(out)]
    process = start(*words)
    while len(list(out.glob("compare*/*/result.json"))) < 5 and process.poll() is None:
        time.sleep(0.02)
    flag.touch()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == FAILED, errors.decode()
    assert "OSError: [Errno 28] No space left on device" in errors.decode()
    done = {path: path.read_bytes() for path in out.glob("compare*/*/result.json")}
    assert 5 <= len(done) < 40
    statuses = Counter(row["status"] for row in told(out))
    assert statuses["done"] == len(done)
    assert index.rebuild(out)["done"] == len(done)
    flag.unlink()
    finish(*words)
    assert all(path.read_bytes() == content for path, content in done.items())
    accounted_for(out, 20)


def test_two_commands_on_one_folder(tmp_path):
    """One holds the folder; the other reports it at once, and changes nothing."""
    both = [start(*plan(15), "--out", str(tmp_path)) for _ in range(2)]
    ends = [process.communicate(timeout=300) for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, IN_USE], [0, 0]), [errors.decode() for _, errors in ends]  # 0, 0: one after the other
    for process, (out, errors) in zip(both, ends):
        assert (b"is in use by another process" in errors) == (process.returncode == IN_USE)
        assert process.returncode or json.loads(out)["rows"]
    accounted_for(tmp_path, 15)


def test_a_tuning_whose_workers_and_parent_are_killed(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(
        "experiment:\n  task: {name: yinyang, options: " + SAMPLES + "}\n  encoder: {name: constant, "
        "options: {steps: 2}}\n  epochs: 2\nrules: [bptt, hzo]\n"
    )
    words = ["tune", str(config), "--trials", "6", "--searches", "1"]
    finish(*words, "--out", str(tmp_path / "whole"))
    dice, parents = random.Random(2), 0
    for _ in range(2):
        process = start(*words, "--out", str(tmp_path / "killed"))
        deadline = time.monotonic() + 60
        while not workers(process) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(dice.uniform(0.2, 1.0))
        for pid in workers(process)[:1]:
            os.kill(pid, signal.SIGKILL)
        time.sleep(dice.uniform(0.2, 0.8))
        if process.poll() is None:
            process.kill()
            parents += 1
        process.communicate()
    assert parents >= 1
    finish(*words, "--out", str(tmp_path / "killed"))
    one, two = (only(tmp_path / name, "tune-*/tuning.json") for name in ("whole", "killed"))
    assert one.read_bytes() == two.read_bytes()
    assert all(len(found["trials"]) == 6 for found in read_json(two)["studies"].values())
