"""Curricula over time steps: what the committed evidence found, the expected and the other, and a reduced run."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import replace

import pytest

from sandbox.machine.files import read_json
from sandbox.statistics import interval
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import same_files
from tests.scripts import evidence
from tests.slow.killing import KILLS, finish, only, start

FOUND = json.loads((ROOT / "experiments" / "results" / "curriculum" / "curriculum.json").read_text())
RUNS = FOUND["test accuracy [%], and what the stages need, seed by seed"]
GAPS = FOUND["differences [points]"]
PLAN = """
stages: [1, 2, 4]
experiment:
  task: {name: yinyang, options: {train: 1000, validation: 100, test: 100}}
  encoder: {name: poisson, options: {steps: 8}}
  network: {hidden: [10]}
  epochs: 4
  checkpoint_steps: 7
"""


def test_the_differences_follow_from_the_seeds():
    curriculum = evidence("curriculum")
    assert len(RUNS) == curriculum.SEEDS >= 3
    for name, (a, b) in curriculum.COMPARED.items():
        wanted = interval([seed[a] - seed[b] for seed in RUNS])
        assert list(GAPS[name].values()) == pytest.approx([wanted.high, wanted.low, wanted.mean], abs=1e-3)  # rounded


def test_a_curriculum_is_better_than_as_many_epochs_from_scratch_as_its_last_stage_has():
    assert GAPS["curriculum over scratch, epochs of the last stage"]["low"] > 1


def test_it_is_not_shown_to_be_better_than_as_many_epochs_as_it_has_in_all_nor_its_teacher_to_help():
    """Expected was that both are."""
    assert GAPS["curriculum over scratch, epochs of all stages"]["mean"] < 0
    gap = GAPS["curriculum over the same weights without a teacher"]
    assert gap["low"] < 0 < gap["high"]


def test_operations_fall_with_the_steps():
    """By 40 % or more where steps fall by 60 %, as claimed."""
    assert {seed["fewer"]["steps"] for seed in RUNS} == {0.6}
    assert min(seed["fewer"]["sops"] for seed in RUNS) >= 0.4


@pytest.mark.slow(minutes=1)
@pytest.mark.skipif(not os.environ.get("SANDBOX_DATA"), reason="needs the recordings: set SANDBOX_DATA")
def test_a_short_run_of_it(tmp_path):
    """Two stages of one epoch: both learn (chance is 10 %), the second one more, and costs fall."""
    curriculum = evidence("curriculum")
    found = curriculum.one(replace(curriculum.plan(0, epochs=1), stages=[2, 5]), tmp_path)
    print({name: value for name, value in found.items() if isinstance(value, float)})
    assert found["fewer"]["steps"] == 0.6
    assert found["fewer"]["sops"] >= 0.4
    assert found["curriculum"] > found["first stage, many steps"] > 15


@pytest.mark.slow(minutes=1)
def test_a_curriculum_killed_many_times(tmp_path):
    """SIGKILL at random moments, in any stage or between two: the stages are those of the uninterrupted one."""
    (tmp_path / "plan.yaml").write_text(PLAN)
    words = ["curriculum", str(tmp_path / "plan.yaml"), "--out"]
    finish(*words, str(tmp_path / "whole"))
    whole, dice, kills = only(tmp_path / "whole", "curriculum*"), random.Random(0), 0
    length = sum(read_json(path)["seconds"] for path in whole.glob("*/timing.json"))
    while kills < KILLS:
        moment = time.time()
        process = start(*words, str(tmp_path / "killed"))
        while process.poll() is None and not learning_since(tmp_path / "killed", moment):
            time.sleep(0.002)
        time.sleep(dice.uniform(0.0, length / 2))
        done = process.poll() is not None
        if not done:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.communicate()
        if done:  # it got through: begin again, the kills so far count
            (tmp_path / "killed").rename(tmp_path / f"done{kills}-{moment}")
    finish(*words, str(tmp_path / "killed"))
    killed = only(tmp_path / "killed", "curriculum*")
    stages = sorted(path.parent.name for path in whole.glob("*/config.yaml"))
    assert stages == sorted(path.parent.name for path in killed.glob("*/config.yaml"))
    for stage in stages:
        same_files(whole / stage, killed / stage)


def learning_since(root, moment):
    """Whether a stage below `root` began to learn, or a finished curriculum was read, after `moment`."""
    return any(path.stat().st_mtime >= moment for path in root.rglob("provenance.json"))
