"""A run repeats bit for bit: killed and resumed, and on two processes, whatever its code draws its numbers from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from textwrap import dedent

import pytest
import torch
import yaml

from sandbox.comparisons.comparison import Comparison, compare
from sandbox.config.experiment import NetworkConfig
from sandbox.config.registry import Choice
from sandbox.runs.run import run
from tests.conftest import ROOT
from tests.sandbox.runs.test_run import TINY, same_files

UPDATES = {"schedule": Choice("cosine"), "clip": 0.1, "accumulate": 2}  # checkpoints are written every third step
KILLED = """
import os, signal, sys, yaml
from pathlib import Path
from sandbox.config.experiment import Experiment
from sandbox.config.reading import from_dict
from sandbox.runs.run import run

def progress(done, total):
    if done == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

run(from_dict(Experiment, yaml.safe_load(Path(sys.argv[1]).read_text())), sys.argv[2], progress=progress)
"""
OWN = """
import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from sandbox import LazySplit, Task


class Jittered(Dataset):
    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, number):
        noise = 0.1 * np.random.standard_normal(4) + 0.1 * random.random() + 0.1 * torch.rand(4).numpy()
        return self.split.x[number] + noise.astype(np.float32), self.split.y[number]


class Drawn(Task):
    def load(self, data_dir=None):
        x = np.random.default_rng(0).random((300, 4), dtype=np.float32)
        data = Task.from_arrays(x, x[:, 0] > x[:, 1], test=50, validation=50).load()
        return data._replace(train=LazySplit(Jittered(data.train), checksum="1"))


class Shaken:
    timed = False

    def __call__(self, x, generator=None):
        x = x * random.uniform(0.9, 1.1) + 0.1 * torch.randn(x.shape)
        return x + torch.from_numpy(0.1 * np.random.standard_normal(x.shape)).to(x)


def dropping(shape, classes, *, seed):
    model = nn.Sequential(nn.Linear(shape[0], 20), nn.Tanh(), nn.Dropout(0.5), nn.Linear(20, classes))
    with torch.no_grad():
        model[0].bias += random.random() + torch.from_numpy(np.random.standard_normal(20)).float()
    return model
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A model, an encoder and a task that draw from the global generators of torch, NumPy and Python."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(dedent(OWN))
    return replace(
        TINY,
        task=Choice("own.py:Drawn"),
        encoder=Choice("own.py:Shaken"),
        network=NetworkConfig(model=Choice("own.py:dropping")),
        **UPDATES,
    )


def kill(experiment, folder, step):
    """Run in a process that SIGKILL ends after this step; return its last checkpoint."""
    config = folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(asdict(experiment)))
    words = [sys.executable, "-c", KILLED, str(config), str(folder), str(step)]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not (folder / "result.json").exists()
    return torch.load(folder / "checkpoint.pt", weights_only=True)["trainer"]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "saved"), [(3, 3), (10, 9)])
def test_a_run_killed_between_two_accumulated_steps_continues_bit_for_bit(step, saved, tmp_path):
    experiment = replace(TINY, **UPDATES)
    whole = run(experiment, tmp_path / "whole")
    kept = kill(experiment, tmp_path / "cut", step)
    assert kept["position"][0] == saved
    assert kept["position"][2] % 4, "in the middle of an epoch"
    assert kept["updates"], "a gradient that waits for the next step"
    assert run(experiment, tmp_path / "cut") == whole
    same_files(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_code_that_draws_from_global_generators_continues_bit_for_bit(own, tmp_path):
    whole = run(own, tmp_path / "whole")
    kill(own, tmp_path / "cut", 7)
    torch.rand(3)  # what this process drew before is of no importance
    assert run(own, tmp_path / "cut") == whole
    same_files(tmp_path / "whole", tmp_path / "cut")
    other = run(replace(own, seed=1), tmp_path / "other")
    assert other["test"]["loss"] != whole["test"]["loss"]


def test_schedule_clipping_and_accumulation_change_what_is_learned(tmp_path):
    """Otherwise the tests above would compare nothing."""
    losses = {run(TINY, tmp_path / "plain")["test"]["loss"]}
    for number, (name, value) in enumerate(UPDATES.items(), 2):
        losses.add(run(replace(TINY, **{name: value}), tmp_path / name)["test"]["loss"])
        assert len(losses) == number


@pytest.mark.slow
@pytest.mark.parametrize("code", ["the user's", "built in"])
def test_two_processes_give_the_bits_of_one(code, own, tmp_path):
    experiment = own if code == "the user's" else replace(TINY, **UPDATES)
    plan = Comparison(experiment, ["bptt"], seeds=2)
    for jobs in (1, 2):
        compare(plan, tmp_path / f"jobs{jobs}", jobs=jobs)
    folders = sorted(path.parent for path in (tmp_path / "jobs1").glob("*/result.json"))
    assert len(folders) == 4
    for folder in folders:
        same_files(folder, tmp_path / "jobs2" / folder.name)
    run(experiment, tmp_path / "here")
    same_files(tmp_path / "here", tmp_path / "jobs1" / experiment.identity)
