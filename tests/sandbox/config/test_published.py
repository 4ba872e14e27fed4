"""Published settings: numbers of the papers in the experiment, shares that stay, and a run of each at tiny size."""

from __future__ import annotations

import math

import pytest

from sandbox import Choice, make_model, recipe
from sandbox.config.published import RECIPES
from sandbox.networks.models.published import PUBLISHED
from sandbox.runs.preparing import prepare
from sandbox.tasks.base import Task


@pytest.mark.parametrize("name", RECIPES)
def test_sizes_and_steps_are_those_of_published_models(name):
    each = RECIPES[name]
    assert each.size in PUBLISHED[each.model]
    assert each.steps == PUBLISHED[each.model][each.size].steps
    assert each.missing
    assert each.source


@pytest.mark.parametrize("name", RECIPES)
def test_a_tiny_model_takes_a_step(name):
    """With as many steps as the paper, on a hundred digits; the rate after the rise is the paper's."""
    experiment = recipe(name).experiment("digits", size="tiny", epochs=20, batch_size=10, steps=4)
    data = experiment.load(None)
    trainer, loader = prepare(experiment, data)
    info = trainer.step(next(iter(loader)))
    assert math.isfinite(info.loss)
    updates = 20 * len(loader)
    schedule = experiment.make_schedule(updates)
    assert max(schedule.factor(n) for n in range(updates)) == pytest.approx(1, abs=0.01)  # a cosine leaves 1 slowly
    rising = round(recipe(name).warm_up / recipe(name).epochs * updates)
    assert [schedule.factor(n) for n in range(rising)] == pytest.approx([(n + 1) / rising for n in range(rising)])
    last = schedule.factor(updates) * recipe(name).lr
    assert last == pytest.approx(recipe(name).low, abs=1e-12)


def test_what_was_given_goes_to_model_and_rule():
    found = recipe("spikingformer_cifar10").experiment(
        Choice("digits"), size="tiny", steps=2, rule="dfa", seed=7, neuron="plif"
    )
    assert (found.rule.name, found.seed, found.encoder.options) == ("dfa", 7, {"steps": 2})
    assert found.network.model == Choice("spikingformer", {"size": "tiny", "neuron": "plif"})
    assert found.epochs == 410
    assert make_model("spikingformer", "tiny", neuron="plif") is not None
    assert issubclass(type(found.make_task()), Task)


def test_a_recipe_of_videos_runs_on_videos():
    task = Choice("moving_digits_video", {"train": 20, "validation": 20, "test": 20})
    found = recipe("svformer_ucf101").experiment(
        task, size="tiny", epochs=1, batch_size=4, encoder=Choice("as_recorded"), steps=10
    )
    trainer, loader = prepare(found, found.load(None))
    assert math.isfinite(trainer.step(next(iter(loader))).loss)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "steps"])
def test_zero_is_not_the_papers(name):
    with pytest.raises(ValueError, match="0"):
        recipe("spikformer_imagenet").experiment("digits", size="tiny", **{name: 0}).check()


def test_bad_input():
    with pytest.raises(ValueError, match="unknown recipe 'spikformer_imgnet'; nearest: 'spikformer_imagenet'"):
        recipe("spikformer_imgnet")
