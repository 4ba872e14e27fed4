"""What trials are judged by, on tasks without classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import rules
from sandbox import Choice, Experiment, Task
from sandbox.config.experiment import NetworkConfig
from sandbox.config.rule import RuleConfig
from sandbox.machine.compiled import absent
from sandbox.runs.preparing import prepare
from sandbox.synapses.choice import mode
from sandbox.tuning.trial import LEAST, tunable, validated

X = np.random.default_rng(0).random((120, 4))
VALUES = Experiment(
    task=Task.from_arrays(X, X.sum(1), name="sums"),
    encoder=Choice("still"),
    network=NetworkConfig(model=Choice("perceptron", {"hidden": [8]})),
    epochs=1,
)


def test_trials_are_selected_by_r2():
    """A trial that diverges counts as less than one that is worse than the mean."""
    data = tunable(VALUES.load())
    calm, wild = (replace(VALUES, rule=RuleConfig("spsa", {"lr": lr})) for lr in (1e-9, 1e6))
    trainer, _ = prepare(calm, data)
    before = 100 * trainer.evaluate([tuple(data.validation)])["r2"]
    assert validated(calm, data).validation == pytest.approx(before, abs=0.1)  # hardly any step
    assert validated(wild, data).validation == 100 * LEAST


def test_trials_far_below_the_mean_are_told_apart():
    """Targets with an offset that the model has not learned yet: R2 is below -1 whatever the trial."""
    far = replace(VALUES, task=Task.from_arrays(X, X.sum(1) + 40, name="far"))
    data = tunable(far.load())
    slow, fast = (validated(replace(far, rule=RuleConfig("bptt", {"lr": lr})), data) for lr in (1e-4, 1e-2))
    assert 100 * LEAST < slow.validation < fast.validation - 1 < -100


def test_a_mistake_after_the_first_step_is_not_taken_for_divergence():
    wrong = RuleConfig("tests.sandbox.tuning.test_study:mistaken")
    with pytest.raises(ValueError, match="shapes do not match"):
        validated(replace(VALUES, rule=wrong, batch_size=20), tunable(VALUES.load()))


def mistaken():
    """A rule that fails in its second step."""
    return replace(rules.make("bptt"), credit=Mistaken())


class Mistaken(rules.BPTT):
    """BPTT with a mistake that shows late."""

    def assign(self, model, objective, batch, state, rng):
        object.__setattr__(self, "steps", getattr(self, "steps", 0) + 1)
        if self.steps == 2:
            raise ValueError("shapes do not match")
        return super().assign(model, objective, batch, state, rng)


@pytest.mark.skipif(absent() is not None, reason="by events needs numba")
@pytest.mark.parametrize("lr", [1e-3, 1e6])
def test_a_trial_is_prepared_in_its_own_settings_and_leaves_those_of_the_process(lr, monkeypatch):
    """Threads and the path of synapses hold for the calibration too, and end with the trial, also with one that fails."""
    inside = []

    def prepared(*given):
        inside.append((torch.get_num_threads(), mode()))
        return prepare(*given)

    monkeypatch.setattr("sandbox.tuning.trial.prepare", prepared)
    before = torch.get_num_threads(), mode()
    settings = replace(VALUES, threads=before[0] + 1, synapses="events", rule=RuleConfig("spsa", {"lr": lr}))
    validated(settings, tunable(settings.load()))
    assert inside == [(before[0] + 1, "events")]
    assert (torch.get_num_threads(), mode()) == before
