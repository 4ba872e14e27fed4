"""Pools of spikes and of currents in patch embeddings: when they agree, where errors go, and how many neurons there are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sandbox import scan
from sandbox.networks.embeddings import downsampled, halving
from sandbox.networks.kinds import transformer_neurons
from sandbox.networks.models.spikingformer import spikingformer, spikingformer_cml
from sandbox.networks.parts import Neurons
from tests.sandbox.networks.deep import SHAPE, B, T, drawn, lively

BITS = {0.0, 1.0}


def test_pools_see_bits_or_with_cml_currents():
    for make, bits in ((spikingformer, True), (spikingformer_cml, False)):
        model, found = lively(make(SHAPE, 10)), []
        for module in model.modules():
            if isinstance(module, nn.MaxPool2d):
                module.register_forward_pre_hook(
                    lambda _, inputs, found=found: found.append(set(inputs[0].unique().tolist()))
                )
        model(drawn(T, B, *SHAPE))
        assert [each <= BITS for each in found] == [bits, bits]


def test_pools_of_currents_and_of_spikes_agree_in_a_first_step_only():
    cells = transformer_neurons(None).usual
    u = 4 * drawn(6, 2, 3, 8, 8)
    pool = halving()

    def pooled(x):
        return pool(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    before, after = scan(cells, pooled(u))[0], pooled(scan(cells, u)[0])
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before, after)


@pytest.mark.parametrize(("cml", "place"), [(False, 1), (True, 2)])
def test_errors_reach_the_first_spike_or_the_largest_current(cml, place):
    u = torch.tensor([[0.0, 3.0, 5.0]]).reshape(1, 1, 1, 1, 3).requires_grad_()
    out = routed(cml, u)  # windows of the columns 0, 1 and 1, 2
    assert out[..., 1] == 1
    out[..., 1].sum().backward()
    assert u.grad.flatten().nonzero().flatten().tolist() == [place]


@pytest.mark.parametrize(("cml", "place"), [(False, 1), (True, 2)])
def test_in_a_silent_window_errors_reach_the_first_place_or_the_largest_current(cml, place):
    u = torch.tensor([[0.0, 0.3, 0.6]]).reshape(1, 1, 1, 1, 3).requires_grad_()
    out = routed(cml, u)
    assert not out.any()
    out[..., 1].sum().backward()
    assert u.grad.flatten().nonzero().flatten().tolist() == [place]


def routed(cml, u):
    """Pool spikes, or currents, of a map whose convolution is the identity."""
    for part in downsampled(nn.Identity(), 1, True, transformer_neurons(None), cml):
        u = part.run(u).output
    return u


def test_pools_of_currents_leave_a_quarter_of_the_neurons():
    found = {}
    for make in (spikingformer, spikingformer_cml):
        model, sizes = make(SHAPE, 10), []
        for part in model.parts:
            if isinstance(part, Neurons):
                part.cells.register_forward_hook(lambda _, inputs, out, sizes=sizes: sizes.append(out[0][0, 0].numel()))
        model(drawn(T, B, *SHAPE))
        found[make] = sizes
    assert found[spikingformer][:2] == found[spikingformer_cml][:2]
    assert found[spikingformer][2:] == [4 * n for n in found[spikingformer_cml][2:]]
