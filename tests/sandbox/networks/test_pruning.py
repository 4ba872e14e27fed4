"""Natural pruning: what is removed, that nothing else changes, and what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rules import Batch
from sandbox.networks.models import orrc_resnet, sew_resnet
from sandbox.networks.parts import Joined
from sandbox.networks.pruning import gated, prune_silent, remove

T, SHAPE = 4, (1, 8, 8)


def batches(count=2, size=5):
    return [Batch(torch.rand(T, size, *SHAPE, generator=torch.Generator().manual_seed(seed))) for seed in range(count)]


def network(axis="channel", shut=True, **options):
    """A network whose neurons fire, with a gate in its shortcut that is shut or open."""
    net = orrc_resnet(SHAPE, 4, shortcut=axis, steps=T, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 2.0)
            nn.init.constant_(module.bias, 1.0)
    (block,) = gated(net).values()
    for p in block.shortcut[1].parameters():
        nn.init.constant_(p, 0.0 if shut else 1.0)
    with torch.no_grad():
        net(batches()[0].x)
    return net.train()


def places(net):
    return [module for module in net.modules() if isinstance(module, Joined)]


@pytest.mark.parametrize("axis", ["time", "channel", "space"])
@pytest.mark.parametrize("connect", ["or", "add"])
def test_a_silent_shortcut_goes_and_outputs_stay(axis, connect):
    net = network(axis, connect=connect)
    before = {name: p.clone() for name, p in net.state_dict().items()}
    found = prune_silent(net, batches())
    assert found.removed == ("parts.5",)
    assert found.samples == 10
    assert [block.shortcut for block in places(found.model)] == [None]
    for batch in batches(4):  # also others than those it was pruned on: the gate has no weights
        assert torch.equal(found.model.eval()(batch.x).output, net.eval()(batch.x).output)
    assert all(torch.equal(p, before[name]) for name, p in net.state_dict().items())
    assert places(net)[0].shortcut is not None
    counts = [sum(p.numel() for p in each.parameters()) for each in (net, found.model)]
    assert (found.parameters, found.parameters - found.parameters_saved) == tuple(counts)


def test_operations_are_pairs_of_inputs_and_weights():
    found = prune_silent(network("channel"), batches())
    convolution, gate = T * 16 * 32 * 4 * 4, 2 * 2 * 32 * 8  # 4 x 4 places; two pooled vectors through two layers
    assert found.operations_saved == convolution + gate
    stem, first, second = (T * places * pairs * 9 for places, pairs in ((64, 16), (64, 16 * 16), (16, 32 * 32)))
    half = T * 16 * 16 * 32 * 9
    assert found.operations == stem + 4 * first + half + 3 * second + T * 32 * 4 + found.operations_saved


def test_an_open_gate_stays():
    net = network(shut=False)
    found = prune_silent(net, batches())
    assert found.removed == ()
    assert found.shortcuts[0].rate > 0
    assert "parts.5: kept, fired" in str(found)
    assert found.parameters_saved == found.operations_saved == 0


def test_modes_stay_as_they_are_and_pruning_runs_in_evaluation():
    net = network()
    statistics = [module.running_mean.clone() for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    prune_silent(net, batches())
    assert net.training
    after = [module.running_mean for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(torch.equal(a, b) for a, b in zip(statistics, after, strict=True))


def test_a_shortcut_that_fires_below_the_rate_is_removed_only_if_no_output_changes():
    net = network(shut=False)
    with pytest.raises(ValueError, match=r"outputs of \d+ samples are others: shortcuts that fired [\d,]+ times were"):
        prune_silent(net, batches(), rate=1.0)
    nn.init.zeros_(net.parts[-1].module[-1].weight)  # now nothing changes an output
    found = prune_silent(net, batches(), rate=1.0)
    assert found.removed == ("parts.5",)
    assert "parts.5: removed, fired" in str(found)
    assert prune_silent(net, batches(), rate=0.0).removed == ()


def test_a_loader_that_changes_its_samples_is_found_out():
    net = network()

    class Changing:
        calls = 0

        def __iter__(self):
            self.calls += 1
            return iter([Batch(batches()[0].x * self.calls)])

    with pytest.raises(ValueError, match="did not yield the same samples twice: fix its order and its noise"):
        prune_silent(net, Changing())


def ending_in_a_gate():
    net = network()
    (block,) = gated(net).values()
    del block.shortcut[-1]
    return net


@pytest.mark.parametrize("item", [lambda x: (x, torch.zeros(5)), lambda x: x], ids=["pairs", "inputs"])
def test_batches_are_what_a_loader_yields(item):
    found = prune_silent(network(), [item(batch.x) for batch in batches()])
    assert (found.removed, found.samples) == (("parts.5",), 10)


def test_a_shortcut_inside_a_removed_one_goes_with_it():
    net = network()
    (block,) = gated(net).values()
    inner = Joined([nn.Identity()], [nn.Identity()], block.join)
    block.shortcut.insert(0, inner)
    remove(net, ["parts.5", "parts.5.shortcut.0"])
    assert places(net)[0].shortcut is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: prune_silent(sew_resnet(SHAPE), batches()), "Stack has no gated shortcut, .*a gate is a neuron on a"),
        (lambda: prune_silent(nn.Linear(1, 1), batches()), "models that have some are orrc_resnet with shortcut="),
        (lambda: prune_silent(orrc_resnet(SHAPE, backbone="channel"), batches()), "has no gated shortcut"),
        (lambda: prune_silent(ending_in_a_gate(), batches()), "the shortcut of parts.5 ends in a Gate, .* put neurons"),
        (lambda: prune_silent(network(), []), "the loader yields no samples"),
        (lambda: prune_silent(network(), batches(), rate=-1.0), "rate=-1.0: give spikes per neuron and step"),
        (lambda: remove(sew_resnet(SHAPE, connect="iand"), ["parts.3"]), "parts.3 joins its branches by iand"),
    ],
)
def test_what_cannot_be_pruned_is_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
