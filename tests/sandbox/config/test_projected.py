"""Projected plasticities in a configuration: they replace that of a rule, and a run knows their length."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rules.plasticity import SGD, Levels, Memristor, SoftThreshold
from rules.plasticity.projected import Projected
from sandbox.config.experiment import Experiment, NetworkConfig
from sandbox.config.registry import Choice
from sandbox.config.rule import RuleConfig
from sandbox.runs.preparing import prepare


def small(plasticity, **options):
    network = NetworkConfig(hidden=[8, 8])
    rule = RuleConfig("bptt", plasticity=plasticity)
    return Experiment(
        task=Choice("yinyang", {"train": 100, "validation": 20, "test": 20}),
        encoder=Choice("constant", {"steps": 4}),
        network=network,
        rule=rule,
        epochs=2,
        batch_size=50,
        **options,
    )


def test_options_and_rates_reach_it():
    rule = RuleConfig(plasticity=Choice("levels", {"bits": 4}))
    assert rule.make().plasticity == Levels(bits=4, lr=0.005)
    assert rule.having({"lr": 0.02}).make().plasticity == Levels(bits=4, lr=0.02)
    kept = RuleConfig(plasticity=Choice("sign", {"keep": ["layers.1.*"], "ends": True}))
    assert kept.make().plasticity.keep == ("layers.1.*",)
    inner = {"name": "sgd", "options": {"momentum": 0.5}}
    assert RuleConfig(plasticity=Choice("sign", {"inner": inner})).make().plasticity.recipe() == SGD(0.05, momentum=0.5)


@pytest.mark.parametrize(
    ("name", "options", "choice", "rate"),
    [
        ("bptt", {}, Choice("levels"), 0.005),  # Adam, as the rule has it
        ("bptt", {"lr": 0.02}, Choice("levels"), 0.02),
        ("bptt", {"lr": 0.02}, Choice("levels", {"lr": 0.03}), 0.03),
        ("bptt", {"lr": 0.02}, Choice("levels", {"inner": {"name": "adam", "options": {"lr": 0.04}}}), 0.04),
        ("bptt", {}, Choice("soft_threshold", {"mu": 0.1}), 0.05),  # of rules whose own optimizer is another
        ("spsa", {}, Choice("soft_threshold", {"mu": 0.1}), 0.01),
        ("spsa", {}, Choice("sign"), 0.005),
        ("bptt", {}, Choice("sgd"), 0.01),  # its own
        ("bptt", {"lr": 0.02}, Choice("sgd"), 0.02),
        ("bptt", {}, Choice("sign", {"inner": "memristor"}), Memristor().lr),
    ],
)
def test_the_rate_is_its_own_or_that_of_the_rule(name, options, choice, rate):
    made = RuleConfig(name, options, plasticity=choice).make().plasticity
    assert (made.recipe() if isinstance(made, Projected) else made).lr == rate


def test_a_threshold_lasts_as_long_as_the_run():
    """Two epochs of two steps, whose rate falls along a cosine."""
    experiment = small(Choice("soft_threshold", {"final": 0.25}), schedule=Choice("cosine"))
    trainer, loader = prepare(experiment, experiment.load(None))
    assert trainer.optimizer.projection == SoftThreshold(final=0.25, steps=4, lr=0.05)
    for _ in trainer.fit(loader, 2):
        pass
    assert {state["memory"]["threshold"] for state in trainer.optimizer.state.values()} == {0.25}


def test_accumulated_steps_are_one_update():
    experiment = small(Choice("soft_threshold", {"final": 0.25}), accumulate=2)
    trainer, _ = prepare(experiment, experiment.load(None))
    assert trainer.optimizer.projection.steps == 2


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice("levels", {"bits": 9}), "bits=9: give a whole number from 1 to 8"),
        (Choice("levels", {"bit": 4}), "unknown option of plasticity 'levels' 'bit'; nearest: 'bits'"),
        (Choice("level"), "unknown plasticity 'level'; nearest: 'levels'"),
        (Choice("magnitude", {"sparsity": 1.0}), "sparsity=1.0"),
    ],
)
def test_mistakes_are_named(choice, message):
    with pytest.raises(ValueError, match=message):
        small(choice).check()


def test_a_rule_that_learns_inside_of_sequences_has_to_say_how_often():
    """Each batch has several updates then, and a plan of batches would close the threshold too early."""
    plasticity = Choice("soft_threshold", {"final": 0.25})
    inside = RuleConfig("ottt", {"every": 2}, plasticity=plasticity)
    experiment = replace(small(plasticity), rule=inside)
    with pytest.raises(ValueError, match="the threshold depends on the number of updates: give steps"):
        prepare(experiment, experiment.load(None))[0].step((torch.rand(4, 2, 4), torch.tensor([0, 1])))
