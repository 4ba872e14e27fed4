"""Structured pruning: ranks of feature maps, which stay, and chains of layers without the others."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from rules.plasticity.projected import dense_scores, feature_scores, kept, prune_channels

RNG = torch.Generator().manual_seed(0)


def outer(height, width):
    """A map that fires in some rows and columns alone."""
    rows = (torch.rand(height, generator=RNG) < 0.5).float()
    columns = (torch.rand(width, generator=RNG) < 0.5).float()
    rows[0] = columns[0] = 1.0
    return torch.outer(rows, columns)


def test_the_score_is_the_numerical_rank():
    """0 for silent maps, 1 for products of rows and columns, min(h, w) for generic ones."""
    steps, samples = 16, 4
    spikes = torch.zeros(steps, samples, 3, 16, 12)
    for sample in range(samples):
        spikes[:, sample, 1] = outer(16, 12)
        spikes[:, sample, 2] = (torch.rand(steps, 16, 12, generator=RNG) < 0.5).float()
    assert feature_scores(spikes).tolist() == [0.0, 1.0, 12.0]


def test_rounding_adds_nothing_to_the_rank():
    """A large map that fires in two steps of three: in float32 its second singular value would be above 1e-6."""
    rows, columns = torch.rand(96, generator=RNG) < 0.7, torch.rand(96, generator=RNG) < 0.7
    spikes = torch.zeros(3, 1, 1, 96, 96)
    spikes[:2, 0, 0] = torch.outer(rows.float(), columns.float())
    assert feature_scores(spikes).tolist() == [1.0]


@pytest.mark.parametrize("relative", [False, True])
def test_the_score_is_invariant_to_permutations_and_to_scale(relative):
    spikes = (torch.rand(3, 5, 6, 10, 8, generator=RNG) < 0.1).float()
    scores = feature_scores(spikes, relative=relative)
    rows, columns = torch.randperm(10, generator=RNG), torch.randperm(8, generator=RNG)
    assert torch.equal(feature_scores(spikes[..., rows, :][..., columns], relative=relative), scores)
    assert torch.equal(feature_scores(0.25 * spikes, relative=relative), scores)
    assert torch.equal(scores, feature_scores(spikes.double(), relative=relative))


def test_the_score_is_a_mean_over_samples():
    maps = torch.zeros(1, 4, 1, 5, 5)
    maps[0, 0, 0], maps[0, 1, 0] = torch.eye(5), outer(5, 5)
    assert feature_scores(maps).tolist() == [6 / 4]
    assert torch.equal(feature_scores(maps), torch.linalg.matrix_rank(maps[0, :, 0]).float().mean()[None])


def test_an_absolute_tolerance_leaves_out_what_a_relative_one_counts():
    maps = 1e-8 * torch.eye(3).view(1, 1, 1, 3, 3)
    assert feature_scores(maps).tolist() == [0.0]
    assert feature_scores(maps, relative=True).tolist() == [3.0]


def test_units_of_dense_layers_are_ranked_by_times_and_samples():
    """Our variant: silent 0, the same in every sample 1, each sample otherwise more."""
    spikes = torch.zeros(6, 8, 3)
    spikes[:3, :, 1] = 1.0
    spikes[..., 2] = (torch.rand(6, 8, generator=RNG) < 0.5).float()
    found = dense_scores(spikes)
    assert found[:2].tolist() == [0.0, 1.0]
    assert found[2] == torch.linalg.matrix_rank(spikes[..., 2])
    ever = feature_scores(spikes[..., None, None])
    assert set(ever.tolist()) <= {n / 8 for n in range(9)}  # with maps of one number: the share that fires at all


@pytest.mark.parametrize(("share", "count"), [(0.0, 10), (0.5, 5), (0.55, 5), (0.9, 1), (0.93, 1), (0.3, 7)])
def test_the_share_that_stays_is_rounded_up(share, count):
    assert len(kept(torch.arange(10.0), share)) == count


def test_the_highest_scores_stay_in_their_order_and_of_equal_ones_the_first():
    assert kept(torch.tensor([1.0, 5.0, 1.0, 4.0, 1.0]), 0.4).tolist() == [0, 1, 3]


def net():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 5, 3, bias=False),
            nn.BatchNorm2d(5),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(5 * 16, 10),
            nn.ReLU(),
            nn.Linear(10, 3),
        )
        model(torch.randn(20, 2, 6, 6))  # statistics of its own
    return model


def test_without_their_maps_networks_do_what_they_do_with_maps_that_nobody_reads():
    model = net()
    first, second = [0, 2, 5], [1, 4]
    small = prune_channels(model, {"0": first, "3": torch.tensor(second)})
    with torch.no_grad():
        for n in set(range(6)) - set(first):
            model[3].weight[:, n] = 0.0
        for n in set(range(5)) - set(second):
            model[7].weight[:, 16 * n : 16 * (n + 1)] = 0.0
    x = torch.randn(4, 2, 6, 6, generator=RNG)
    for each in (model, small):
        each.eval()
    assert torch.allclose(small(x), model(x), atol=1e-5)
    assert [tuple(p.shape) for p in small.parameters()][:4] == [(3, 2, 3, 3), (3,), (3,), (3,)]
    assert small[7].weight.shape == (10, 32)
    for each in (model, small):
        each.train()
    assert torch.allclose(small(x), model(x), atol=1e-5)


def test_the_network_itself_stays_as_it_was():
    model = net()
    before = [p.detach().clone() for p in model.parameters()]
    small = prune_channels(model, {"0": [1]})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert all(p.requires_grad for p in small.parameters())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: prune_channels(net(), {"3": []}), "layer '3' would keep none of its 5 feature maps"),
        (lambda: prune_channels(net(), {"1": [0]}), "unknown convolution '1'"),
        (lambda: prune_channels(net(), {"0": [6]}), "layer '0' has the feature maps 0 to 5"),
        (lambda: prune_channels(net(), {"0": [1, 1]}), "give each at most once"),
        (lambda: prune_channels(net()[:5], {"3": [0]}), "leave it out of keep"),
        (lambda: prune_channels(nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)), {"0": [0]}), "convolves in 2 groups"),
        (lambda: prune_channels(nn.Sequential(nn.Conv2d(1, 2, 1), nn.PReLU()), {"0": [0]}), "layer '1' is a PReLU"),
        (lambda: prune_channels(nn.Conv2d(1, 2, 1), {"0": [0]}), "Conv2d is not an nn.Sequential"),
        (lambda: kept(torch.ones(3), 1.0), "pruned=1.0: give the share of the features that goes"),
        (lambda: feature_scores(torch.zeros(2, 2, 2)), "give [T, B, F, H, W]"),
        (lambda: dense_scores(torch.zeros(2, 2)), "give [T, B, F]"),
    ],
)
def test_what_cannot_be_pruned_is_refused(act, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        act()


@pytest.mark.parametrize("mixing", [nn.ChannelShuffle(2), nn.GroupNorm(2, 4, affine=False), nn.Softmax2d()])
def test_modules_that_mix_maps_are_refused(mixing):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), mixing, nn.Conv2d(4, 2, 3))
    with pytest.raises(ValueError, match=f"layer '1' is a {type(mixing).__name__}, which may mix feature maps"):
        prune_channels(net, {"0": [0, 1]})
