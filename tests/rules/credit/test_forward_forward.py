"""Forward-forward: each layer's gradient beside autograd's, and nothing between layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.check import check_rule
from rules.credit.forward_forward import ForwardForward
from rules.objectives.goodness import Goodness
from rules.plasticity import SGD, Adam
from tests.rules.credit.relaxation.nets import assign, batch, chain


def by_autograd(model, seen, goodness, wrong, threshold=1.0):
    """The gradients of all local losses, added up, with what enters each layer detached."""
    pair = []
    for y in (seen.y, wrong):
        x = seen.x.clone()
        x[..., :3] = nn.functional.one_hot(y, 3).to(x)
        pair.append(x.reshape(-1, x.shape[-1]))
    total = 0.0
    for dense, active in zip(list(model)[::2], list(model)[1::2]):
        goods = []
        for number, z in enumerate(pair):
            h = active(dense(z))
            goods.append(h.square().sum(1) if goodness == "sum" else h.square().mean(1))
            pair[number] = (h / h.norm(dim=1, keepdim=True)).detach()
        right, wrong = (each.reshape(-1, len(seen.y)).mean(0) - threshold for each in goods)
        total = total - (nn.functional.logsigmoid(right) + nn.functional.logsigmoid(-wrong)).mean()
    return dict(zip(dict(model.named_parameters()), torch.autograd.grad(total, list(model.parameters()))))


@pytest.mark.parametrize("steps", [None, 4])
@pytest.mark.parametrize("goodness", ["mean", "sum"])
def test_each_layer_has_the_gradient_of_its_own_loss(goodness, steps):
    """P7.1: autograd with the input of each layer detached, so nothing passes between layers."""
    model, seen = chain((6, 7, 5, 3), nn.Sigmoid, last=True), batch(6, steps=steps)
    shift = torch.randint(1, 3, (7,), generator=torch.Generator().manual_seed(3))  # as `assign` draws
    grads = assign(ForwardForward(goodness), model, seen, Goodness()).grads
    wanted = by_autograd(model, seen, goodness, (seen.y + shift) % 3)
    assert grads.keys() == wanted.keys()
    assert all(torch.allclose(grads[name], wanted[name], rtol=1e-12, atol=1e-15) for name in wanted)


@given(st.integers(0, 2), st.integers(-3, 3), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_scale_of_a_layer_changes_nothing_above(number, power, seed):
    """P7.2: by powers of two, so that not even rounding differs."""
    model, seen = chain((6, 7, 5, 4, 3), nn.ReLU, last=True, seed=seed), batch(6)
    before = assign(ForwardForward(), model, seen, Goodness()).grads
    with torch.no_grad():
        for p in model[2 * number].parameters():
            p.mul_(2.0**power)
    after = assign(ForwardForward(), model, seen, Goodness()).grads
    for name in after:
        if int(name.partition(".")[0]) != 2 * number:
            assert torch.equal(before[name], after[name]), name


def test_labels_that_say_nothing_teach_nothing():
    """P7.3: where the goodness of every sample is the threshold, p = 1/2 and a layer's update is 0 on average.

    A rotation keeps the length of features; weights of the labels are 0. What the features get cancels in each pair;
    what the labels' own weights get is 0 once every label has been right and wrong equally often.
    """
    rng = torch.Generator().manual_seed(0)
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=rng, dtype=torch.float64))[0]
    model = nn.Sequential(nn.Linear(8, 5, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.cat([torch.zeros(5, 3, dtype=torch.float64), rotation], 1))
    x = torch.randn(30, 8, generator=rng, dtype=torch.float64)
    x[:, 3:] /= x[:, 3:].norm(dim=1, keepdim=True)
    total = 0.0
    for y in range(3):  # every sample with every label
        for seed in range(1, 400):
            seen = rules.Batch(x, torch.full((30,), y))
            grad = assign(ForwardForward("sum", classes=3), model, seen, Goodness(1.0), seed=seed).grads["0.weight"]
            assert grad[:, 3:].abs().max() < 1e-15
            total = total + grad / 1197
    one = grad[:, :3].abs().max()
    assert total[:, :3].abs().max() < 0.1 * one  # 1197 batches of 30 draws: 0.03 of one, times three


@pytest.mark.parametrize("goodness", ["mean", "sum"])
def test_an_evaluation_makes_a_pass_for_each_label(goodness):
    model, seen = chain((6, 7, 5, 3), nn.Sigmoid, last=True), batch(6)
    run = ForwardForward(goodness).runs(model)(seen)
    assert run.output.shape == (1, 7, 3)
    for label in range(3):
        z = torch.cat([torch.eye(3, dtype=torch.float64)[label].expand(7, 3), seen.x[:, 3:]], 1)
        goods = []
        for dense in list(model)[::2]:
            h = torch.sigmoid(dense(z))
            goods.append(h.square().sum(1) if goodness == "sum" else h.square().mean(1))
            z = h / h.norm(dim=1, keepdim=True)
        assert torch.allclose(run.output[0, :, label], (goods[1] + goods[2]) / 2, rtol=1e-12)
    assert ForwardForward().runs(chain((6, 3), last=True))(seen).output.shape == (1, 7, 3)
    assert ForwardForward(classes=5).runs(model)(batch(6, steps=2)).output.shape == (2, 7, 5)


@pytest.mark.parametrize("goodness", ["mean", "sum"])
def test_it_keeps_the_contract(goodness):
    rule = rules.LearningRule(Goodness(), ForwardForward(goodness), SGD(0.01))
    report = check_rule(rule)
    assert report.passed, str(report)


def test_two_forward_passes_are_billed():
    model, seen = chain((6, 7, 5, 3), last=True), batch(6)
    cost = assign(ForwardForward(), model, seen, Goodness()).cost
    weights = 42 + 35 + 15
    assert (cost.forwards, cost.backwards, cost.layer_evaluations) == (2, 0, 6)
    assert (cost.synaptic_operations, cost.error_operations, cost.weight_operations) == (14 * weights, 0, 14 * weights)


def test_it_learns_and_is_evaluated_by_goodness():
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(90) % 3
    x = torch.cat([torch.zeros(90, 3), torch.randn(90, 6, generator=rng) * 0.3 + 2 * torch.eye(3, 6)[y]], 1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(9, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU())
    rule = rules.LearningRule(Goodness(), ForwardForward(classes=3), Adam(0.01))
    trainer = rules.Trainer(model, rule)
    before = trainer.evaluate([(x, y)])
    list(trainer.fit([(x, y)], epochs=150))
    after = trainer.evaluate([(x, y)])
    assert after["accuracy"] > 0.6  # a third by chance; it keeps rising and falling by some tenths
    assert after["loss"] < before["loss"]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="unknown goodness 'total'; .*valid: mean, sum"):
        ForwardForward("total")
    with pytest.raises(ValueError, match="classes=1: give at least 2, the right label and a wrong one"):
        ForwardForward(classes=1)
    with pytest.raises(
        ValueError, match=r"one of 3 labels \(the width of the last layer\) .* a sample has 2: give classes="
    ):
        assign(ForwardForward(), chain((2, 4, 3)), batch(2), Goodness())
    with pytest.raises(ValueError, match="labels run from 0 to 2, but the output has 2 classes"):
        assign(ForwardForward(classes=2), chain(), batch(), Goodness())
    with pytest.raises(ValueError, match="ForwardForward knows the error at the output alone"):
        rules.LearningRule(rules.make("tcl").objective, ForwardForward(), SGD(0.1))
    with pytest.raises(rules.MissingNeed, match="chain: .*layer 0 is Conv1d, neither a dense layer"):
        rules.Trainer(
            nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 3)),
            rules.LearningRule(Goodness(), ForwardForward(), SGD(0.1)),
        )


def test_the_loss_is_the_logistic_loss_of_the_right_label_and_the_mean_of_the_others():
    run = rules.Run(torch.tensor([[[1.5, 0.2, 0.7]], [[2.5, 0.4, 0.1]]]))  # means 2.0, 0.3, 0.4
    p = torch.sigmoid(torch.tensor([2.0, 0.3, 0.4]) - 1)
    wanted = -p[1].log() - ((1 - p[0]).log() + (1 - p[2]).log()) / 2
    assert float(Goodness()(run, rules.Batch(run.output, torch.tensor([1])))) == pytest.approx(float(wanted), rel=1e-6)
    first = rules.Batch(run.output, torch.tensor([1]), lengths=torch.tensor([1]))
    assert float(Goodness(0.0)(run, first)) == pytest.approx(
        float(Goodness(0.0)(rules.Run(run.output[:1]), first._replace(lengths=None)))
    )
    with pytest.raises(ValueError, match="goodness tells a right label from wrong ones, and the output has 1"):
        Goodness()(rules.Run(torch.zeros(1, 2, 1)), rules.Batch(None, torch.tensor([0, 0])))
