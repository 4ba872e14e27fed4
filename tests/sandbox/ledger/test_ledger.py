"""Work and energy checked against published numbers, brute force, and their own laws."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules import Batch
from sandbox import build
from sandbox.ledger import CMOS_45NM, NEUROMC, SCHEDULES, Synapses, Work, inference, training, work


def only(layer, x):
    (found,) = work(nn.Sequential(layer), x, len(x))
    return found


def test_spikingformer_by_its_released_log():
    """arXiv 2304.11954, Spikingformer-8-512 at four steps: first convolution and head multiply, all else accumulates."""
    layers = [
        Work("first", 0, 346_816_512, 0, 1.0),
        Work("all others", 0, 0, 6.51754094076244e9, 0.2),
        Work("head", 0, 513_000, 0, 1.0),
    ]
    assert inference(layers) * 1e-9 == pytest.approx(7.463502601886196, rel=1e-12)
    wider = [Work("graded", 0, 0.520993768e9, 0, 1.0), Work("spikes", 0, 0, 12.5137e9, 0.2)]
    assert inference(wider) * 1e-9 == pytest.approx(13.6589, abs=5e-5)


def test_its_second_convolution():
    """3,699,376,128 dense pairs of which 25.831 % are active are 0.95560 G accumulations."""
    assert pytest.approx(0.95560e9, rel=1e-4) == 3_699_376_128 * 0.25831
    assert inference([Work("second", 3_699_376_128, 0, 3_699_376_128 * 0.25831, 0.25831)]) == pytest.approx(
        0.86004e9, rel=1e-4
    )


def test_neurobench_by_the_example_of_its_documentation():
    layer = nn.Linear(3, 3, bias=False)
    layer.weight.data = torch.tensor([[1.3, 0, -3.2], [0, 1.2, -5.1], [-1.1, 2.7, 0]])
    found = only(layer, torch.tensor([[0.0, 1.3, -1.0]]))
    assert (found.dense, found.multiplied, found.accumulated) == (9, 4, 0)


@pytest.mark.parametrize("active", [0, 3, 10])
def test_a_binary_layer_accumulates_five_times_for_each_spike(active):
    x = torch.zeros(1, 10)
    x[:, :active] = 1
    found = only(nn.Linear(10, 5), x)
    assert (found.dense, found.multiplied, found.accumulated) == (50, 0, 5 * active)
    assert found.spikes == active / 10


def test_zeroing_half_of_the_weights_halves_the_effective_pairs():
    layer = nn.Linear(64, 64)
    before = only(layer, torch.ones(1, 64)).accumulated
    with torch.no_grad():
        layer.weight.view(-1)[::2] = 0
    assert only(layer, torch.ones(1, 64)).accumulated == before / 2


@settings(max_examples=25, deadline=None)
@given(
    channels=st.integers(1, 3),
    out=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    size=st.integers(3, 6),
    seed=st.integers(0, 99),
)
def test_convolutions_by_brute_force(channels, out, kernel, stride, padding, size, seed):
    rng = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(channels, out, kernel, stride, padding, bias=False)
    with torch.no_grad():
        layer.weight.copy_((torch.rand(layer.weight.shape, generator=rng) < 0.7).float())
    x = (torch.rand(2, channels, size, size, generator=rng) < 0.4).float()
    padded = nn.functional.pad(x, [padding] * 4)
    pairs = 0
    for b, o, i, j in torch.cartesian_prod(*(torch.arange(n) for n in layer(x).shape)).tolist():
        window = padded[b, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        pairs += int(((window != 0) & (layer.weight[o] != 0)).sum())
    assert only(layer, x).accumulated == pairs / 2


def test_a_network_of_spikes_multiplies_nowhere_but_at_a_graded_input():
    net = build((4,), 3, (8, "8r"))
    x = torch.rand(10, 5, 4, generator=torch.Generator().manual_seed(0)) * 5
    found = {each.layer: each for each in work(net, x)}
    assert found["layers.0.synapse"].accumulated == 0 < found["layers.0.synapse"].multiplied
    spiking = [name for name in found if name != "layers.0.synapse"]
    assert all(found[name].multiplied == 0 for name in spiking)
    assert found["layers.1.cells.recurrent"].dense == 10 * 8 * 8
    assert 0 < found["layers.1.synapse"].spikes < 1


def test_looking_leaves_the_model_and_the_dice_alone():
    net, x = build((4,), 3, (8,)).train(), torch.rand(5, 2, 4)
    before = torch.get_rng_state()
    work(net, x)
    assert net.training
    assert torch.equal(before, torch.get_rng_state())
    assert not any(module._forward_hooks for module in net.modules())


LAYER = Synapses(700, 128, 100)


def test_engine_constants():
    assert NEUROMC.ac == pytest.approx(0.582, abs=5e-4)
    assert NEUROMC.mac == pytest.approx(1.360, abs=1e-12)
    assert (CMOS_45NM.mac, CMOS_45NM.ac) == (4.6, 0.9)


def test_the_worked_example():
    """700 to 128, T = 100, batch 1: 5.22, 12.19 and 5.22 uJ dense; 0.26, 2.44 and 0.05 where zeros are skipped.

    The example counts synapses alone; half a percent is its rounding to 0.582.
    """
    bare = replace(NEUROMC, soma_forward=0.0, soma_backward=0.0)
    plain = replace(SCHEDULES["bptt"], recursion=False)
    dense = training([LAYER], plain, bare, first=False)
    assert [part * 1e-6 for part in dense] == pytest.approx([5.22, 12.19, 5.22], rel=5e-3)
    skipping = training([replace(LAYER, spikes=0.05, errors=0.2)], plain, bare, first=False)
    assert [part * 1e-6 for part in skipping] == pytest.approx([0.26, 2.44, 0.05], abs=5e-3)


def test_it_is_linear_in_time_batch_and_weights():
    bare = replace(NEUROMC, soma_forward=0.0, soma_backward=0.0)
    one = training([LAYER], replace(SCHEDULES["bptt"], recursion=False), bare, first=False)
    for change in ({"steps": 200}, {"batch": 2}):
        twice = training([replace(LAYER, **change)], replace(SCHEDULES["bptt"], recursion=False), bare, first=False)
        assert twice == pytest.approx([2 * part for part in one])
    half = training([replace(LAYER, weights=0.5)], replace(SCHEDULES["bptt"], recursion=False), bare, first=False)
    assert half == pytest.approx([part / 2 for part in one])


def test_without_spikes_neurons_still_cost():
    silent = training([replace(LAYER, spikes=0.0)])
    assert silent.weight == 0 < silent.forward == LAYER.steps * LAYER.outputs * NEUROMC.soma_forward


def test_rules_are_ordered_by_what_they_leave_out():
    two = [Synapses(700, 256, 100), Synapses(256, 20, 100)]
    cost = {name: training(two, schedule).total for name, schedule in SCHEDULES.items()}
    assert training(two).forward < cost["three factors, local"] < cost["bptt"]
    assert cost["sampled steps, no path in time"] < cost["bptt"]
    assert cost["presynaptic trace"] > cost["sampled steps, no path in time"]


@pytest.mark.parametrize("name", ["spikes", "errors", "weights"])
def test_shares_are_shares(name):
    with pytest.raises(ValueError, match=f"{name}=1.5: give a share between 0 and 1"):
        replace(LAYER, **{name: 1.5})


@pytest.mark.parametrize("mode", ["circular", "reflect", "replicate"])
def test_what_is_padded_with_the_input_itself_counts(mode):
    """Ones all around: every window of 3 x 3 is full, where zeros would leave edges out."""
    found = only(nn.Conv2d(1, 1, 3, padding=1, padding_mode=mode), torch.ones(1, 1, 4, 4))
    assert found.accumulated == found.dense == 16 * 9
    assert only(nn.Conv2d(1, 1, 3, padding=1), torch.ones(1, 1, 4, 4)).accumulated == 100


def test_recurrent_modules_multiply_all_their_pairs():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.GRU(5, 7)

        def forward(self, x):
            return self.cells(x)[0]

    (found,) = work(Recurrent(), torch.zeros(4, 2, 5))
    assert found.multiplied == found.dense == 4 * 3 * (5 * 7 + 7 * 7)


def test_transposed_convolutions_multiply_all_their_pairs():
    found = only(nn.ConvTranspose2d(2, 3, 3), torch.zeros(5, 2, 4, 4))
    assert found.multiplied == found.dense > 0


def test_samples_are_counted_by_their_labels():
    """A batch without time, `[B, features]`, whose second axis is not a batch."""
    x, y = torch.ones(16, 8), torch.zeros(16, dtype=torch.int64)
    (found,) = work(nn.Linear(8, 3), Batch(x, y))
    assert found.dense == found.accumulated == 8 * 3


def test_modes_are_put_back_one_by_one():
    net = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    net[0].eval()
    work(net, torch.ones(1, 3))
    assert [module.training for module in net.modules()] == [True, False, True]
