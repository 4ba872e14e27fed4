"""Spiking transformers under rules: steps of several kinds, and gradients against a loop by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import rules
import sandbox
from sandbox import make_model
from sandbox.networks.network import Population
from tests.sandbox.networks.deep import SHAPE, B, T, drawn, lively

PLAIN = ("spikformer", "spikingformer", "spikingformer_cml", "qkformer", "snn_vit", "svformer")


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


@pytest.mark.parametrize("name", PLAIN[:-1])
def test_spatial_credit_is_a_window_of_one_step(name):
    """SLTT wants a chain of layers, and says what gives its gradient elsewhere."""
    model, batch = make_model(name), (drawn(T, B, *SHAPE), torch.arange(B))
    with pytest.raises(rules.MissingNeed, match="SLTT.*is bptt with window=1"):
        rules.Trainer(model, "sltt", seed=0).step(batch)
    rule = replace(rules.make("bptt", objective="tet"), credit=rules.BPTT(window=1))
    assert rules.Trainer(still(model), rule, seed=0, confirm=False, health=None).step(batch).loss > 0


def test_a_window_of_one_step_is_sltt_on_a_chain():
    net = sandbox.build((4,), 3, (6, 5), sandbox.LIF(tau_mem=3.0), seed=1).double()
    batch = rules.Batch(3 * drawn(7, 5, 4).double(), torch.arange(5) % 3)
    sltt, loss = rules.make("sltt").credit, rules.OBJECTIVES["tet"]()
    found = [
        credit.assign(net, loss, batch, credit.init(net, torch.Generator()), torch.Generator()).grads
        for credit in (sltt, rules.BPTT(window=1))
    ]
    for name, gradient in found[0].items():
        assert gradient.any()
        torch.testing.assert_close(found[1][name], gradient)


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
