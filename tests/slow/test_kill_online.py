"""SIGKILL in the middle of a run with an online rule, or with feedback that learns, loses nothing."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress
from dataclasses import asdict, replace

import pytest
import yaml

from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.machine.files import read_json
from sandbox.runs.run import run
from tests.sandbox.runs.test_run import same_files
from tests.slow.killing import start

pytestmark = pytest.mark.slow

RULES = {
    "eprop, random, every": RuleConfig("eprop", {"signal": "random", "every": 25}),
    "ottt": RuleConfig("ottt"),
    "eprop, adaptive": RuleConfig("eprop", {"signal": "adaptive"}),
    "weight mirror": RuleConfig("weight_mirror"),
}
LIF = Choice("lif", {"tau_mem": 20.0, "reset": "subtract"})  # which OTTT needs
SMALL = Experiment(
    task=Choice("delayed_xor", {"delay": 20, "train": 120, "validation": 20, "test": 20}),
    encoder=Choice("as_recorded"),
    network=NetworkConfig(hidden=[12, "10r"], neuron=LIF, rate=0.1),
    epochs=3,
    batch_size=4,
    checkpoint_steps=4,
)


@pytest.mark.parametrize("name", RULES)
def test_a_run_killed_in_the_middle_ends_as_one_that_was_not(name, tmp_path):
    """What a rule keeps goes on: feedback weights, and what they follow; the resumed run is in another process."""
    experiment = replace(SMALL, rule=RULES[name])
    whole, killed = tmp_path / "whole", tmp_path / "killed" / experiment.identity
    run(experiment, whole)

    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(asdict(experiment)))
    process = start("run", "--config", str(config), "--out", str(killed.parent))
    seen: set[int] = set()
    while len(seen) < 2 and process.poll() is None:  # the first checkpoint is that before learning
        time.sleep(0.002)
        with suppress(FileNotFoundError):
            seen.add((killed / "checkpoint.pt").stat().st_mtime_ns)
    time.sleep(random.Random(name).uniform(0.0, 0.5 * float(read_json(whole / "timing.json")["seconds"])))
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert not (killed / "result.json").exists()

    run(experiment, killed)
    attempts = read_json(killed / "provenance.json")["attempts"]
    assert 0 < attempts[-1]["continued_from_step"] < SMALL.epochs * 30
    same_files(whole, killed)
