"""Binary weights: two values a channel, their size, and where the gradient passes."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules.plasticity import Sign
from rules.plasticity.projected import model_size
from tests.rules.plasticity.projected.small import PLAIN, batches, stepped, trainer, weight


@given(seed=st.integers(0, 10_000), size=st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_a_channel_holds_two_values_plus_and_minus_its_mean_magnitude(seed, size):
    p = weight(5, 3, 4, seed=seed, size=size)
    latent = p.detach().clone()
    optimizer = Sign()([p])
    for row, before in zip(p.detach(), latent):
        alpha = before.abs().mean()
        assert torch.equal(row.abs(), row.abs().flatten()[0].expand_as(row))
        assert torch.allclose(row.abs(), alpha)
        assert torch.equal(row > 0, before >= 0)
    assert torch.equal(optimizer.held(p), latent)


def test_training_keeps_exactly_two_values_in_each_channel():
    made = trainer(Sign(ends=True, lr=0.01))
    for batch in batches(20):
        made.step(batch)
    for p in made.optimizer.state:
        assert all(len(row.unique()) == 2 for row in p.detach())


def test_a_product_is_a_sum_with_signs_times_one_scale():
    p = weight(6, 20)
    Sign()([p])
    spikes = (torch.rand(20, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    alpha = p.detach().abs()[:, 0]
    counts = ((p.detach() > 0) & (spikes > 0)).sum(1) - ((p.detach() < 0) & (spikes > 0)).sum(1)
    assert torch.allclose(p.detach() @ spikes, alpha * counts, atol=1e-6)


def test_zero_of_either_sign_counts_as_positive():
    p = nn.Parameter(torch.tensor([[0.0, -0.0, -1.0, 1.0]]))
    Sign()([p])
    assert torch.equal(p, torch.tensor([[0.5, 0.5, -0.5, 0.5]]))


def test_the_gradient_passes_where_the_latent_weight_is_at_most_one():
    p = nn.Parameter(torch.tensor([[1.0, -1.0, 1.0001, -2.0, 0.3]]))
    optimizer = Sign("inside", inner=PLAIN)([p])
    stepped(optimizer, p, torch.ones(1, 5))
    assert torch.allclose(optimizer.held(p), torch.tensor([[0.9, -1.1, 1.0001, -2.0, 0.2]]))


def test_by_default_it_passes_everywhere():
    p = nn.Parameter(torch.tensor([[1.0, -2.0, 0.3]]))
    optimizer = Sign(inner=PLAIN)([p])
    stepped(optimizer, p, torch.ones(1, 3))
    assert torch.allclose(optimizer.held(p), torch.tensor([[0.9, -2.1, 0.2]]))


def test_storage_is_a_bit_a_weight_and_a_scale_a_channel():
    model = nn.Linear(100, 10)
    optimizer = Sign()(model.parameters())
    assert model_size(model, optimizer).bits == 1000 + 10 * 32 + 10 * 32  # weights, scales, biases
