"""What is measured on a model is what a count by hand finds, and the model stays as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rules import RULES, Batch, make
from rules.diagnostics.work import work
from sandbox import LIF, build
from sandbox.hardware import estimate, measure
from sandbox.neurons import PSN, MaskedPSN, SlidingPSN

B, T = 5, 6
X = torch.rand(T, B, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 3
Y = torch.arange(B) % 3


@pytest.fixture
def net():
    return build((1, 8, 8), 3, ("4c3p2", "10r", "12s50", "7b"))


def test_sizes_of_every_kind_of_layer(net):
    found = {layer.name: layer for layer in measure(net, Batch(X, Y)).layers}
    conv, recurrent = found["layers.0.synapse.0"], found["layers.1.cells.recurrent"]
    assert (conv.inputs, conv.outputs, conv.places, conv.kernel) == (1, 4, (8, 8), (3, 3))
    assert (recurrent.inputs, recurrent.outputs, recurrent.steps, recurrent.batch) == (10, 10, T, B)
    assert 0.3 < found["layers.2.synapse"].weights < 0.7
    assert [name for name, layer in found.items() if layer.normed] == ["layers.3.synapse.0"]
    assert [layer.passes for layer in found.values()] == [False, *[True] * (len(found) - 1)]
    assert [layer.graded for layer in found.values()] == [True, *[False] * (len(found) - 1)]


def test_pairs_are_those_of_the_ledger(net):
    """`sandbox.ledger.work` counts them for each sample; sparse layers count the weights that exist."""
    counted = {each.layer: each for each in work(net, Batch(X, Y))}
    for layer in measure(net, Batch(X, Y)).layers:
        assert layer.macs * layer.weights == pytest.approx(B * counted[layer.name].dense)
        assert layer.spikes == pytest.approx(counted[layer.name].spikes)


def test_a_constant_input_is_counted_at_every_step():
    x = (torch.rand(B, 4) * 4).expand(T, B, 4)
    first = measure(build((4,), 3, (8,)), Batch(x, Y)).layers[0]
    assert (first.steps, first.macs) == (T, T * B * 4 * 8)


def test_errors_by_hand():
    """Rectified units pass errors where they are active: r_g is the share of those."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    x = torch.randn(1, B, 4)
    hidden, out = measure(model, Batch(x, Y)).layers
    active = float((model[0](x) > 0).float().mean())
    assert (hidden.errors, out.errors) == (pytest.approx(active), 1.0)
    assert out.spikes == hidden.errors
    assert 0 < active < 1


def test_rates_of_spikes_and_the_share_that_fires(net):
    layers = measure(build((4,), 3, (20, 20)), Batch(torch.rand(T, B, 4) * 4, Y)).layers
    assert layers[0].fires == layers[1].spikes > 0
    assert layers[2].fires == 1.0


def test_the_model_and_the_dice_are_left_alone(net):
    before, dice = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    measure(net, Batch(X, Y))
    assert torch.equal(dice, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", RULES)
def test_the_loss_of_every_rule_passes_back(name):
    found = measure(build((1, 8, 8), 3, (8,)), Batch(X, Y), make(name).objective)
    assert "and one back" in found.source
    views = 2 if name == "stcl" else 1
    assert all((layer.steps, layer.batch) == (T, views * B) for layer in found.layers)


def test_what_is_not_counted_is_named():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.out = nn.GRU(4, 7), nn.Linear(7, 3)

        def forward(self, x):
            return self.out(self.cells(x)[0])

    found = measure(Recurrent(), Batch(torch.rand(T, B, 4), Y))
    assert found.source.endswith("; not counted: cells (GRU)")
    assert "not counted: cells (GRU)" in str(estimate(found))
    assert found.layers[0].macs == T * B * 7 * 3


def test_without_a_gradient_the_report_says_so():
    class Hard(nn.Module):
        def __init__(self):
            super().__init__()
            self.weigh = nn.Linear(4, 3)

        def forward(self, x):
            return self.weigh(x).detach().sign()

    found = measure(Hard(), Batch(torch.rand(T, B, 4), Y))
    assert found.layers[0].errors == 1.0
    assert "r_g = 1, because no error came back" in found.source


def test_a_model_without_synapses_is_refused():
    class Bare(nn.Module):
        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="Bare calls no nn.Linear, convolution or sparse synapse, so no work can"):
        measure(Bare(), Batch(torch.rand(T, B, 3), Y))


@pytest.mark.parametrize(("cells", "reach"), [(PSN(6), 6), (MaskedPSN(6, 2), 2), (SlidingPSN(3), 3), (LIF(), None)])
def test_parallel_cells_say_how_far_they_see(cells, reach):
    found = measure(build((4,), 3, (5,), cells), Batch(torch.rand(6, 2, 4), torch.tensor([0, 1])))
    assert [layer.reach for layer in found.layers] == [reach, None]


def test_a_batch_may_be_a_pair():
    net, x = build((4,), 3, (5,)), torch.rand(T, B, 4)
    assert measure(net, (x, Y)) == measure(net, Batch(x, Y))
    with pytest.raises(ValueError, match="this objective needs labels"):
        measure(net, x)
