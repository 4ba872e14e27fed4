"""How an experiment trains: device, schedule, clipping, precision and accumulation, and what it refuses of them."""

from __future__ import annotations

import re
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import yaml

import rules
from rules.schedules import SCHEDULES
from sandbox.cli.words import EXPERIMENT, understood
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.reading import from_dict
from sandbox.config.registry import REGISTRIES, Choice
from sandbox.config.rule import RuleConfig
from sandbox.runs.preparing import prepare
from tests.sandbox.runs.test_run import TINY  # 12 steps: 3 epochs of 4 batches

SAME = {"device": "cpu", "schedule": None, "clip": None, "precision": "full", "accumulate": 1}


class Halving(rules.Schedule):
    """A schedule of the user's own."""

    def factor(self, update):
        return 0.5**update


def trainer(**settings):
    experiment = replace(TINY, **settings)
    return prepare(experiment, experiment.load())[0]


def test_defaults_change_no_name():
    assert replace(TINY, **SAME).identity == TINY.identity
    others = {"device": "cuda", "schedule": Choice("cosine"), "clip": 1.0, "precision": "bf16", "accumulate": 2}
    assert others.keys() == SAME.keys()
    assert len({replace(TINY, **{name: value}).identity for name, value in others.items()} | {TINY.identity}) == 6


def test_settings_reach_the_trainer_and_survive_yaml():
    given = {"schedule": Choice("step", {"every": 2}), "clip": 0.5, "precision": "bf16", "accumulate": 2}
    made = trainer(**given)
    assert (made.updates.schedule, made.updates.clip) == (rules.StepDecay(every=2), 0.5)
    assert (made.precision, made.updates.accumulate) == ("bf16", 2)
    experiment = replace(TINY, **given)
    assert from_dict(Experiment, yaml.safe_load(yaml.safe_dump(asdict(experiment)))) == experiment


@pytest.mark.parametrize(("accumulate", "updates"), [(1, 12), (2, 6), (5, 2)])
def test_a_cosine_lasts_as_long_as_the_run(accumulate, updates):
    """An incomplete last update is not made, so it does not count."""
    made = trainer(schedule=Choice("cosine", {"low": 0.1}), accumulate=accumulate)
    assert made.updates.schedule == rules.Cosine(updates, low=0.1)
    named = trainer(schedule=Choice("cosine", {"updates": 1000}), accumulate=accumulate)
    assert named.updates.schedule == rules.Cosine(1000)


def test_a_schedule_of_ones_own_is_named_by_its_place():
    assert trainer(schedule=Choice(f"{__name__}:Halving")).updates.schedule.factor(2) == 0.25


def test_schedules_are_listed_as_they_are():
    assert REGISTRIES["schedule"] is SCHEDULES


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "half"}, "unknown precision 'half'; valid: full, bf16"),
        ({"clip": 0.0}, "clip=0.0: give the largest norm of the gradients, above 0, or None for no bound"),
        ({"clip": float("nan")}, "clip=nan: give a finite number or nothing (null)"),
        ({"accumulate": 0}, "accumulate=0: give the number of steps that make an update, at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused_when_they_are_given(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(TINY, **settings)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Choice("cosin"), "unknown schedule 'cosin'; nearest: 'cosine'; valid: warm_up, cosine, step"),
        (Choice("cosine", {"length": 3}), "unknown option of schedule 'cosine' 'length'"),
        (Choice("step", {"gamma": 2.0}), "gamma=2.0: give a factor above 0 and at most 1"),
        (Choice("fractions:Fraction"), "is a Fraction; name a subclass of rules.Schedule, with factor(self, update)"),
    ],
)
def test_schedules_are_refused_before_anything_is_written(schedule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(TINY, schedule=schedule).check()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"accumulate": 13},
            "accumulate=13: the run has 12 steps, which make no update of the weights; set accumulate to at most 12, or "
            "raise epochs",
        ),
        (
            {"schedule": Choice("cosine", {"warm_up": 6}), "accumulate": 2},
            "updates=6, warm_up=6: the rise must be shorter than the whole",
        ),
        (
            {"rule": RuleConfig("spsa"), "precision": "bf16"},
            "precision='bf16': SPSA compares small differences or draws bits, which bfloat16 would drown; use "
            "precision='full', or a rule of backpropagation",
        ),
    ],
)
def test_what_does_not_fit_the_run_is_refused_before_its_first_step(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer(**settings)


def test_every_setting_of_an_experiment_has_its_short_form_in_a_comparison():
    """Seeds and rules are those of the comparison."""
    assert set(EXPERIMENT) == {field.name for field in fields(Experiment)} - {"seed", "rule"}
    words = understood(["--schedule", "cosine", "--schedule.options.low=0.1", "--confirm", "false"], "compare")
    assert words == [
        "--experiment.schedule.name=cosine",
        "--experiment.schedule.options.low=0.1",
        "--experiment.confirm=false",
    ]


def test_a_model_that_does_not_take_what_it_is_made_from_is_answered_with_a_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, inputs, outputs=3):\n"
        "        super().__init__()\n        self.inner = nn.Linear(inputs, outputs)\n"
        "    def forward(self, x):\n        return self.inner(x)\n"
        "def net(shape, classes, seed, scale=1.0):\n    return Net(shape[0], classes)\n"
    )
    words = r"called as Net\(shape=..., classes=..., seed=...\), and it takes \(inputs, outputs=3\): name a function .*"
    config = NetworkConfig(model=Choice("own.py:Net"))
    for ask in (lambda: config.make((4,), 3, 0), lambda: Experiment(network=config).check()):
        with pytest.raises(ValueError, match=words + r"def own_model\(shape, classes, seed\): return Net\(...\)"):
            ask()
    good = NetworkConfig(model=Choice("own.py:net", {"scale": 2.0}))
    assert good.make((4,), 3, 0).inner.out_features == 3
    Experiment(network=good).check()


@pytest.mark.parametrize(
    ("rule", "plasticity", "window"),
    [
        ({"name": "hzo", "options": {"optimizer": "adam"}}, "Adam(lr=0.005", None),
        ({"name": "bptt", "options": {"optimizer": "sgd", "lr": 0.1}}, "SGD(lr=0.1, momentum=0.9", None),
        ({"name": "bptt", "options": {"window": 1}}, "Adam(lr=0.005", 1),
    ],
)
def test_optimizer_and_window_are_options_in_a_configuration(rule, plasticity, window):
    """Spatial credit alone, `window: 1`, needs no rule of its own."""
    experiment = from_dict(Experiment, {"rule": rule})
    assert from_dict(Experiment, yaml.safe_load(yaml.safe_dump(asdict(experiment)))) == experiment
    made = experiment.make_rule(experiment.load())
    assert repr(made.plasticity).startswith(plasticity)
    assert getattr(made.credit, "window", None) == window
