"""Rewards in place of errors: given for each step and sample, or for a class that was right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rules
from rules.contract import Batch
from rules.credit.online import Online
from rules.objectives.distillation import CurriculumDistillation, SelfEnsemble
from sandbox.neurons import LIF
from tests.rules.credit.online.nets import assigned, batch, distance, net

EXACT = 1e-12  # float64 sums of some hundred products


def test_what_is_rewarded_is_what_traces_hold():
    """The gradient is minus reward times trace, of every layer."""
    model, given = net(LIF(), (6,)), batch()
    reward = torch.rand(20, 3, dtype=torch.float64)
    found = assigned(Online(signal="reward"), model, given._replace(targets=reward))
    output = model.layers[0].run(given.x).output
    weight = model.layers[0].synapse.weight
    (wanted,) = torch.autograd.grad(-(reward[..., None] * output).sum() / 3, weight)
    assert float((found.grads["layers.0.synapse.weight"] - wanted).norm() / wanted.norm()) < EXACT
    assert found.loss == pytest.approx(-float(reward.sum() / 3))


def test_of_classes_the_reward_is_to_be_right():
    model, given = net(LIF(), (6,)), batch()
    right = (model(given.x).output.argmax(2) == given.y).double()
    reward = right - 1 / 3
    found, wanted = (assigned(Online(signal="reward"), model, each) for each in (given, given._replace(targets=reward)))
    assert distance(found.grads, wanted.grads) < EXACT


def test_without_rewards_it_says_how_to_give_them():
    with pytest.raises(ValueError, match=r"or a class from y; this batch has none: .*targets=reward"):
        assigned(Online(signal="reward"), net(LIF(), (6,)), Batch(batch().x))


def test_where_nothing_is_asked_there_is_no_reward():
    """Steps of class -100 are those of reward 0; a batch of nothing else changes nothing."""
    model, given = net(LIF(), (6,)), batch()
    targets = given.y.expand(20, 3).clone()
    targets[:15] = -100
    reward = (model(given.x).output.argmax(2) == given.y).double() - 1 / 3
    reward[:15] = 0
    for y in (None, given.y):
        found, wanted = (
            assigned(Online(signal="reward"), model, given._replace(y=y, targets=each)) for each in (targets, reward)
        )
        assert distance(found.grads, wanted.grads) < EXACT
        assert found.loss == pytest.approx(wanted.loss)
    for left_out in (Batch(given.x, targets=torch.full((20, 3), -100)), Batch(given.x, torch.full((3,), -100))):
        nothing = assigned(Online(signal="reward"), model, left_out)
        assert nothing.loss == 0
        assert not any(g.any() for g in nothing.grads.values())


@pytest.mark.parametrize("answers", ["y", "targets", "rewards"])
def test_what_lies_behind_the_end_of_a_sample_says_nothing(answers):
    model, given = net(LIF(), (6,)), batch()._replace(lengths=torch.tensor([20, 11, 3]))
    made = {
        "y": {},
        "targets": {"targets": given.y.expand(20, 3).clone()},
        "rewards": {"targets": torch.rand(20, 3, dtype=torch.float64)},
    }
    given = given._replace(**made[answers])
    other = given._replace(x=given.x.clone())
    for number, end in enumerate(given.lengths):
        other.x[end:, number] = 7.0
        if other.targets is not None:
            other = other._replace(targets=other.targets.clone())
            other.targets[end:, number] = 1
    one, two = (assigned(Online(signal="reward"), model, each) for each in (given, other))
    assert one.loss == two.loss
    assert all(torch.equal(g, two.grads[name]) for name, g in one.grads.items())
    assert one.loss != assigned(Online(signal="reward"), model, given._replace(lengths=None)).loss


@pytest.mark.parametrize("kind", [torch.float64, torch.int64])
@pytest.mark.parametrize("shape", [(25, 3), (15, 3), (20, 4), (20, 1)])
def test_rewards_of_other_steps_or_samples_are_refused(shape, kind):
    given = Batch(batch().x, targets=torch.zeros(shape, dtype=kind))
    with pytest.raises(ValueError, match=r"targets have shape .*x has 20 steps of 3 samples: give one reward"):
        assigned(Online(signal="reward"), net(LIF(), (6,)), given)


@pytest.mark.parametrize("answers", ["y", "targets"])
def test_classes_that_the_output_does_not_have_are_refused(answers):
    y = torch.tensor([0, 1, 3])
    given = {"y": y} if answers == "y" else {"targets": y.expand(20, 3)}
    with pytest.raises(ValueError, match=r"labels run from 0 to 3, but the output has 3 classes: 0 to 2"):
        assigned(Online(signal="reward"), net(LIF(), (6,)), Batch(batch().x, **given))


@pytest.mark.parametrize("objective", [CurriculumDistillation, SelfEnsemble])
def test_a_teacher_whose_loss_nobody_asks_is_refused(objective):
    with pytest.raises(ValueError, match='signal="reward" .* the teacher of .* would teach nothing'):
        replace(rules.make("three_factor"), objective=objective(teacher=torch.nn.Linear(2, 3)))
    replace(rules.make("bptt"), objective=objective(teacher=torch.nn.Linear(2, 3)))
