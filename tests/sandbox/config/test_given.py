"""Tasks given from Python become names that other processes find, or are refused."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pytest

import rules
import sandbox
from rules.objectives import OBJECTIVES
from sandbox import Choice, Experiment, Task
from sandbox.config.given import Given, choice_of
from sandbox.config.reading import from_dict
from sandbox.tasks import Digits, YinYang
from tests.conftest import ROOT

X, Y = np.random.default_rng(0).random((50, 4)), np.arange(50) % 3


@dataclass(frozen=True)
class Options(Task):
    """A task with options."""

    size: int = 3
    names: list = field(default_factory=list)
    other: object = None

    def load(self, data_dir=None):
        return Task.from_arrays(X, Y).load()


class Attributes(Task):
    """A task that is no dataclass."""

    def __init__(self, x=None):
        if x is not None:
            self.x = x

    def load(self, data_dir=None):
        return Task.from_arrays(X, Y).load()


@pytest.mark.parametrize(
    ("task", "name", "options"),
    [
        (Digits, "sandbox.tasks.digits:Digits", {}),
        (Digits(image=True), "sandbox.tasks.digits:Digits", {"image": True}),
        (YinYang(train=20), "sandbox.tasks.yinyang:YinYang", {"train": 20}),
        (Options(4, ["a"]), f"{__name__}:Options", {"size": 4, "names": ["a"]}),
        (Attributes(), f"{__name__}:Attributes", {}),
    ],
)
def test_a_task_is_named_where_it_can_be_imported(task, name, options):
    experiment = Experiment(task=task)
    assert (experiment.task.name, experiment.task.options) == (name, options)
    made = experiment.make_task()
    assert type(made).__name__ == name.rpartition(":")[2]
    assert from_dict(Experiment, asdict(experiment)) == experiment


def test_a_task_from_a_file_is_named_by_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import sandbox\n\nclass Mine(sandbox.Task):\n    def load(self, data_dir=None): return 1\n"
    )
    kind = type(Choice("mine.py:Mine").make("task"))
    assert choice_of(kind) == Choice("mine.py:Mine")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert choice_of(kind) == Choice(f"{tmp_path / 'mine.py'}:Mine")
    assert choice_of(kind).make("task").load() == 1


def test_a_task_of_a_script_is_named_by_the_script(tmp_path):
    """Workers import the file; its own name there is `__main__`, which is another file to them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sandbox\n\nclass Mine(sandbox.Task):\n    def load(self, data_dir=None): return 1\n\n"
        "if __name__ == '__main__':\n    print(sandbox.Experiment(task=Mine).task.name)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert told.stdout == "script.py:Mine\n", told.stderr


def test_arrays_are_part_of_the_identity_and_of_no_configuration():
    one, same, other = (Experiment(task=Task.from_arrays(x, Y, name="mine")) for x in (X, X.copy(), X + 1))
    assert one.identity == same.identity != other.identity
    assert one.identity.startswith("mine-bptt-s0-")
    assert asdict(one)["task"] == {"name": "mine", "options": {"sha256": one.load().checksum}}
    assert replace(one, seed=1).load().checksum == one.load().checksum


def test_a_copy_for_another_process_leaves_the_arrays_behind():
    experiment = Experiment(task=Task.from_arrays(X, Y, name="mine"))
    copied = pickle.loads(pickle.dumps(experiment))
    assert (type(experiment.task), type(copied.task)) == (Given, Choice)
    assert copied.identity == experiment.identity
    with pytest.raises(
        ValueError, match=r"arrays of task 'mine' are not here: .*arrays-\w{12}.pt, is gone; give them ag"
    ):
        copied.check()


def test_the_loss_follows_the_answers_unless_one_is_asked_for():
    values = Task.from_arrays(X, X.sum(1))
    steps = Task.from_arrays(X[..., None], (X > 0.5).astype(int), sequence=True, by_step=True)
    labels = Task.from_arrays(X, X > 0.5)
    for task, loss in ((values, "MeanSquaredError"), (labels, "MultiLabelCrossEntropy"), (steps, "RateCrossEntropy")):
        experiment = Experiment(task=task)
        assert type(experiment.make_rule(experiment.load()).objective).__name__ == loss
    asked = Experiment(task=values, rule=sandbox.RuleConfig(objective=Choice("huber", {"delta": 2.0})))
    assert asked.make_rule(asked.load()).objective.delta == 2.0
    named = Experiment(task=values, rule=sandbox.RuleConfig(options={"objective": "ce_mean"}))
    assert type(named.make_rule(named.load()).objective).__name__ == "MeanCrossEntropy"


@pytest.mark.parametrize("rule", ["eprop", "ostl", "rtrl", "decolle", "ottt", "uoro"])
def test_the_loss_of_an_online_rule_is_one_of_each_step(rule):
    values = Task.from_arrays(X[..., None], X, sequence=True, by_step=True)
    labels = Task.from_arrays(X, X > 0.5)
    classes = Task.from_arrays(X, (X.sum(1) > 1).astype(int))
    losses = [made(task, rule).objective for task in (values, labels, classes)]
    assert losses == [OBJECTIVES["mse"](at="step"), OBJECTIVES["bce"](at="step"), OBJECTIVES["tet"]()]


@pytest.mark.parametrize("rule", ["bptt", "fa", "readout_only", "tet"])
def test_the_loss_of_windows_is_one_of_each_step(rule):
    steps = Task.from_arrays(X[..., None], (X > 0.5).astype(int), sequence=True, by_step=True)
    found = made(steps, rule, every=2)
    assert (type(found.objective).__name__, found.every) == ("TET" if rule == "tet" else "RateCrossEntropy", 2)
    if rule != "tet":
        values = Task.from_arrays(X[..., None], X, sequence=True, by_step=True)
        assert made(values, rule, every=2).objective == OBJECTIVES["mse"](at="step")


def test_a_loss_with_options_is_given_where_a_name_is():
    values = Task.from_arrays(X[..., None], X, sequence=True, by_step=True)
    given = {"name": "huber", "options": {"at": "step", "delta": 2.0}}
    assert made(values, "eprop", objective=given).objective == OBJECTIVES["huber"](at="step", delta=2.0)
    assert rules.make("eprop", objective=given).objective == OBJECTIVES["huber"](at="step", delta=2.0)


@pytest.mark.parametrize(
    ("rule", "options"), [("eprop", {"objective": "mse"}), ("bptt", {"every": 2}), ("bptt", {"every": 2, "window": 1})]
)
def test_a_loss_of_the_whole_sequence_is_refused_with_what_to_write_in_a_configuration(rule, options):
    classes = Task.from_arrays(X, (X.sum(1) > 1).astype(int))
    with pytest.raises(ValueError, match=r"sees the whole sequence(?s:.*)--rule.options.objective '{name: mse, opt"):
        made(classes, rule, **options)


def test_values_are_no_rewards():
    values = Task.from_arrays(X[..., None], np.stack([X, X], 2), sequence=True, by_step=True, name="curves")
    with pytest.raises(ValueError, match=r"answers of task 'curves' are values \[n, T, 2\]: take another rule, --rule"):
        made(values, "three_factor")
    for rule in ("r_stdp", "escape_noise"):
        with pytest.raises(ValueError, match=r"a rule of rewards, such as .* answers of task 'curves' are values"):
            made(values, rule)
    rewards = Task.from_arrays(X[..., None], X, sequence=True, by_step=True)
    assert made(rewards, "three_factor").credit.signal == "reward"


def made(task, rule, **options):
    experiment = Experiment(task=task, rule=sandbox.RuleConfig(rule, options))
    return experiment.make_rule(experiment.load())


def local():
    class Inside(Task):
        def load(self, data_dir=None):
            return 1

    return Inside


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Experiment(task=local()), "is defined inside of a function or in a notebook, where other processes"),
        (
            lambda: Experiment(task=Options(other=object())),
            "Options.other is a object, which a configuration cannot hold",
        ),
        (lambda: Experiment(task=Attributes(X)), "Attributes holds x, and a configuration cannot say which: make it a"),
        (
            lambda: Experiment(task="digits"),
            "task is a str: give sandbox.Choice('digits'), a class or an object of san",
        ),
        (lambda: Choice(Digits), "Choice takes a name, and this is a"),
    ],
)
def test_a_task_that_nobody_finds_is_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
