"""Weights of one bit in the feed-forward part of a spiking transformer, and the shortcuts around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import rules
from rules.plasticity import Sign
from rules.plasticity.projected import model_size
from sandbox.networks.feed_forward import weights_outside
from sandbox.networks.models.spikingformer import spikingformer
from tests.sandbox.networks.deep import SHAPE, B, T, drawn, lively


def binary(model):
    """A projection of the feed-forward weights alone, and their names."""
    kept = weights_outside(model)
    names = [name for name in rules.synapses.weights_in(model) if name not in kept]
    return Sign(gradient="inside", keep=kept, inner="sgd", lr=0.1), names


def test_one_bit_weights_have_two_values_a_channel_and_others_stay():
    model = spikingformer(SHAPE, 10, around="each")
    plasticity, names = binary(model)
    before = {name: p.clone() for name, p in model.named_parameters()}
    plasticity(list(model.named_parameters()))
    assert len(names) == 4
    for name, p in model.named_parameters():
        if name in names:
            latent = before[name].flatten(1)
            size = latent.abs().mean(1, keepdim=True)
            torch.testing.assert_close(p.flatten(1), torch.where(latent >= 0, size, -size))
            assert all(len(row.unique()) == 2 for row in p.flatten(1))
        else:
            assert torch.equal(p, before[name])


def test_products_with_one_bit_weights_count_spikes():
    """`W s = alpha (2 popcount(s & M) - popcount(s))`, to rounding of alpha."""
    model = spikingformer(SHAPE, 10, around="each")
    plasticity, names = binary(model)
    plasticity(list(model.named_parameters()))
    w = model.get_parameter(names[0]).detach().flatten(1)
    s = (drawn(50, w.shape[1]) < 0.3).float()
    both, ones = (s.bool()[:, None] & (w > 0)[None]).sum(-1), s.sum(-1, keepdim=True)
    torch.testing.assert_close(s @ w.T, w.abs()[:, 0] * (2 * both - ones))


def test_the_gradient_of_latent_weights_is_cut_beyond_one():
    latent = torch.tensor([[0.5, -1.5, 1.0, -0.2]])
    given = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    assert Sign(gradient="inside").pull(given, latent, ()).tolist() == [[1.0, 0.0, 3.0, 4.0]]


def test_the_size_of_weights_folds_into_the_normalisation():
    """`BN(alpha sign(W) s)` is that of `sign(W) s` with the mean over alpha, and the gain times alpha."""
    model = spikingformer(SHAPE, 10, around="each")
    plasticity, names = binary(model)
    plasticity(list(model.named_parameters()))
    lively(model).double()
    x = drawn(T, B, *SHAPE, seed=1).double()
    before = model(x).output
    for name in names:
        convolution = model.get_submodule(name.removesuffix(".weight"))
        norm = model.get_submodule(name.removesuffix(".0.weight") + ".1")
        alpha = convolution.weight.detach().abs().flatten(1)[:, 0]
        convolution.weight.data = convolution.weight.sign()
        convolution.bias.data /= alpha
        norm.running_mean /= alpha
        norm.weight.data *= alpha
    torch.testing.assert_close(model(x).output, before)


def test_packed_weights_take_a_bit_each_and_a_number_a_channel():
    model = spikingformer(SHAPE, 10, around="each")
    plasticity, names = binary(model)
    optimizer = plasticity(list(model.named_parameters()))
    sizes = {name: model.get_parameter(name) for name in names}
    bits = sum(p.numel() + 32 * len(p) for p in sizes.values())
    others = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in sizes.values())
    assert model_size(model, optimizer).bits == bits + 32 * others


def test_models_without_inner_shortcuts_say_so():
    with pytest.raises(ValueError, match='build one with sandbox.make_model\\("spikingformer", around="each"\\)'):
        weights_outside(spikingformer(SHAPE, 10))


def test_one_bit_models_learn():
    model = spikingformer(SHAPE, 10, around="each")
    plasticity, names = binary(model)
    rule = replace(rules.make("bptt"), plasticity=plasticity)
    trainer = rules.Trainer(model, rule, seed=0, confirm=False, health=None)
    shown = model.get_parameter(names[0]).clone()
    for _ in range(2):
        trainer.step((drawn(T, B, *SHAPE), torch.arange(B)))
    after = model.get_parameter(names[0])
    assert not torch.equal(shown, after)
    assert all(len(row.unique()) == 2 for row in after.flatten(1))
