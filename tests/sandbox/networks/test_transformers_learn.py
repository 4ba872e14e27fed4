"""Spiking transformers under rules: steps of several kinds, and gradients against a loop by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import rules
from rules.forward import map_tensors
from sandbox import make_model
from sandbox.networks.population import Population
from tests.sandbox.networks.deep import SHAPE, B, T, drawn, lively

PLAIN = ("spikformer", "spikingformer", "spikingformer_cml", "qkformer", "snn_vit", "svformer")
OTHERS = ("spikformer", "spikingformer_cml", "qkformer", "snn_vit")


@pytest.mark.parametrize("name", PLAIN)
def test_the_trainer_lowers_the_loss(name):
    y = torch.arange(12) % 3
    x = (drawn(3, *SHAPE)[y] + 0.1 * drawn(12, *SHAPE, seed=1)).expand(T, 12, *SHAPE)
    trainer = rules.Trainer(make_model(name), rules.make("bptt", lr=0.02), seed=0, health=None, confirm=False)
    losses = [trainer.step((x, y)).loss for _ in range(6)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_with_random_feedback_changes_the_weights(name):
    model = make_model(name)
    before = [p.clone() for p in model.parameters()]
    info = rules.Trainer(model, "fa", seed=0, confirm=False, health=None).step((drawn(T, B, *SHAPE), torch.arange(B)))
    assert info.loss > 0
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert sum(changed) > len(changed) / 2


def still(model):
    """Let normalisations keep their statistics, as rules that make several passes want."""
    lively(model)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.train(False)
    return model


@pytest.mark.parametrize("name", PLAIN)
def test_a_step_from_forward_passes_alone(name):
    model = still(make_model(name))
    before = [p.clone() for p in model.parameters()]
    trainer = rules.Trainer(model, rules.make("spsa", lr=0.1, draws=1), seed=0, confirm=False, health=None)
    trainer.step((drawn(T, B, *SHAPE), torch.arange(B)))
    assert any(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", [*PLAIN[:-1], "ms_resnet", "sew_resnet"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluating", "training"])
def test_sltt_is_a_loop_by_hand_whose_state_is_detached(name, training):
    """In float64; in training too, where a normalisation has the statistics of each step and each sequence."""
    model = still(make_model(name, shape=SHAPE)).double().train(training)
    x, y = drawn(T, B, *SHAPE).double(), torch.arange(B)
    before = copy.deepcopy(model.state_dict())
    rule = rules.make("sltt", objective="ce_rate")
    found = rule.credit.assign(model, rule.objective, rules.Batch(x, y), (), torch.Generator())
    model.load_state_dict(before)  # running statistics
    carry, total = None, 0.0
    for step in x:
        run = model(step[None], carry)
        carry = map_tensors(torch.Tensor.detach, run.carry)
        loss = nn.functional.cross_entropy(run.output[0], y) / T
        loss.backward()
        total += float(loss)
    assert found.loss == pytest.approx(total, rel=1e-12)
    for where, p in model.named_parameters():
        torch.testing.assert_close(found.grads[where], p.grad, msg=lambda m, where=where: f"{where}: {m}")
    assert sum(bool(gradient.any()) for gradient in found.grads.values()) > 0.9 * len(found.grads)


@pytest.mark.parametrize("name", ["spikingformer", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_sltt_lowers_the_loss(name):
    y = torch.arange(12) % 3
    x = (drawn(3, *SHAPE)[y] + 0.1 * drawn(12, *SHAPE, seed=1)).expand(T, 12, *SHAPE)
    trainer = rules.Trainer(make_model(name), rules.make("sltt", lr=0.02), seed=0, health=None, confirm=False)
    losses = [trainer.step((x, y)).loss for _ in range(6)]
    assert losses[-1] < 0.5 * losses[0]


def test_sltt_refuses_a_model_that_sees_whole_sequences():
    with pytest.raises(
        rules.MissingNeed, match=r"carry: .*is a \w+, which sees the whole sequence at once; build the model without it"
    ):
        rules.Trainer(make_model("svformer"), "sltt", seed=0)


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_are_those_of_a_loop_by_hand(name):
    """In float64, one step after the other, every neuron by its formula, with autograd through all of it."""
    model = still(make_model(name)).double()
    x, y = drawn(T, B, *SHAPE).double(), torch.arange(B)
    bptt, loss = rules.BPTT(detach_reset=True), rules.OBJECTIVES["ce_mean"]()
    found = bptt.assign(model, loss, rules.Batch(x, y), (), torch.Generator()).grads
    for module in model.modules():
        if isinstance(module, Population) and type(module.neuron).__name__ == "PLIF":
            module.forward = by_hand(module)
    output = model(x).output
    nn.functional.cross_entropy(output.mean(0), y).backward()
    for where, p in model.named_parameters():
        torch.testing.assert_close(found[where], p.grad, msg=lambda m, where=where: f"{where}: {m}")
    assert sum(bool(gradient.any()) for gradient in found.values()) > 0.9 * len(found)


@pytest.mark.parametrize("name", PLAIN[:-1])
def test_gradients_with_recomputed_states_are_the_same(name):
    model = still(make_model(name)).double()
    batch, loss = rules.Batch(drawn(T, B, *SHAPE).double(), torch.arange(B)), rules.OBJECTIVES["ce_mean"]()
    whole, again = (
        rules.BPTT(checkpoint=steps).assign(model, loss, batch, (), torch.Generator()).grads for steps in (None, 2)
    )
    for where, gradient in whole.items():
        torch.testing.assert_close(again[where], gradient, msg=lambda m, where=where: f"{where}: {m}")


def by_hand(cells):
    """The LIF of these models, `v + (i - v) / tau`, its reset detached, and the surrogates as the papers give them."""
    unit = cells.neuron.v_threshold
    given = cells.neuron.surrogate

    class Fire(torch.autograd.Function):
        @staticmethod
        def forward(ctx, v):
            ctx.save_for_backward(v)
            return (v >= unit).to(v.dtype)

        @staticmethod
        def backward(ctx, error):
            (v,) = ctx.saved_tensors
            if given.name == "sigmoid":
                s = torch.sigmoid(4 * (v - unit))
                return error * 4 * s * (1 - s)
            return error / (1 + (torch.pi * (v - unit)) ** 2)

    def forward(currents, carry=None, record=False):
        rate = 1 / cells.present().tau_mem
        v, made = torch.zeros_like(currents[0]), []
        for current in currents:
            v = v + (current - v) * rate
            fires = Fire.apply(v)
            v = v * (1 - fires.detach())
            made.append(fires)
        return torch.stack(made), None, None

    return forward
