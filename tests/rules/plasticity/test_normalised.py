"""Weights of a constant sum: by loops over cells, over training, resume, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import rules
from rules.diagnostics.monitor import bounded
from rules.plasticity import Memristor, Normalised
from rules.synapses import weights_in_order
from sandbox import build
from sandbox.neurons import LIF

ROUND = 1e-12  # float64 sums of some ten weights


def drawn(shape, seed, low=-0.2, high=1.0):
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=rng, dtype=torch.float64) * (high - low) + low


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    cells=st.integers(1, 5),
    inputs=st.integers(1, 6),
    total=st.one_of(st.none(), st.floats(0.1, 50)),
    high=st.one_of(st.none(), st.floats(0.3, 2)),
)
def test_equals_a_loop_over_cells(seed, cells, inputs, total, high):
    assume(total is None or high is None or total <= inputs * high)
    p = nn.Parameter(drawn((cells, inputs), seed, low=0.01))
    optimizer = Normalised(total, high=high, lr=0.5)([p])
    optimizer.settle()
    start = p.detach().clone()
    if total is not None:
        assert start.sum(1).tolist() == pytest.approx([total] * cells, rel=ROUND)
    p.grad = drawn((cells, inputs), seed + 1)
    optimizer.step()
    for cell in range(cells):
        row = [float(w - 0.5 * g) for w, g in zip(start[cell], p.grad[cell], strict=True)]
        row = [max(w, 0.0) if high is None else min(max(w, 0.0), high) for w in row]
        wanted, now = float(start[cell].sum()), sum(row)
        row = [w * wanted / now for w in row] if now else start[cell].tolist()
        assert p[cell].tolist() == pytest.approx(row, rel=ROUND, abs=ROUND)


def test_kernels_are_scaled_by_map_and_vectors_are_left():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 4)).double()
    optimizer = Normalised(2.0, low=-1.0, lr=0.1)(net.parameters())
    optimizer.settle()
    biases = [net[0].bias.clone(), net[2].bias.clone()]
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    for layer, before in zip((net[0], net[2]), biases, strict=True):
        assert layer.weight.abs().flatten(1).sum(1).tolist() == pytest.approx([2.0] * len(layer.weight), rel=ROUND)
        assert torch.equal(layer.bias, before - 0.1)


def test_a_transposed_convolution_has_its_cells_in_dimension_1():
    net = nn.Sequential(nn.ConvTranspose1d(2, 3, 2, bias=False)).double()
    sums = net[0].weight.detach().abs().sum((0, 2))
    optimizer = Normalised(low=-9.0, lr=0.1).informed(net.named_parameters(), None, weights_in_order(net))
    optimizer.settle()
    net[0].weight.grad = drawn((2, 3, 2), 0)
    optimizer.step()
    assert net[0].weight.abs().sum((0, 2)).tolist() == pytest.approx(sums.tolist(), rel=ROUND)


def test_what_is_loaded_before_the_first_step_says_the_sums():
    p = nn.Parameter(torch.ones(1, 2).double())
    optimizer = Normalised(lr=0.1)([p])
    with torch.no_grad():
        p.mul_(3)
    optimizer.settle()
    p.grad = torch.tensor([[1.0, 0.0]]).double()
    optimizer.step()
    assert float(p.sum()) == pytest.approx(6.0, rel=ROUND)


def trainer(seed=0):
    model = build((4,), 3, hidden=(6,), neuron=LIF(tau_mem=5.0, v_threshold=0.1), seed=seed)
    return rules.Trainer(model, rules.make("stdp", normalise=True, lr=1e-2), seed=3)


def test_a_trainer_goes_on_bit_for_bit():
    x = (torch.rand(40, 8, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    one, other = trainer(), trainer(seed=5)
    for _ in range(2):
        one.step((x, None))
    other.begin((x, None))
    other.load_state_dict(one.state_dict())
    for _ in range(2):
        one.step((x, None))
        other.step((x, None))
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q)
    weight = one.model.layers[0].synapse.weight
    start = trainer().model.layers[0].synapse.weight.abs()  # as the optimizer begins
    assert not torch.equal(weight, start)
    torch.testing.assert_close(weight.sum(1), start.sum(1), rtol=1e-5, atol=0)  # float32


def test_a_schedule_and_frozen_weights():
    p, q = (nn.Parameter(torch.ones(1, 2).double()) for _ in range(2))
    q.requires_grad_(False)
    optimizer = Normalised(2.0, lr=1.0)([p, q])
    optimizer.settle()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    p.grad, q.grad = torch.tensor([[1.0, 0.0]]).double(), torch.ones(1, 2).double()
    optimizer.step()
    assert p.tolist() == [[1.0, 1.0]]
    assert q.tolist() == [[1.0, 1.0]]


def test_sparse_weights_are_healthy_and_full_ones_are_not():
    """A receptive field leaves most weights at 0; weights at the upper bound carry no information."""
    p = nn.Parameter(torch.tensor([[1.0, 0.5] + [0.0] * 18]))
    optimizer = Normalised(high=1.0)([p])
    optimizer.settle()

    assert not list(bounded({"w": p}, optimizer, 0.5))
    with torch.no_grad():
        p[0, 2:] = 1.0
    (finding,) = bounded({"w": p}, optimizer, 0.5)
    assert str(finding).startswith("w is at its bounds (0.95)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"total": 0.0}, r"total=0.0: give the sum of the absolute weights of a cell, above 0"),
        ({"low": 1.0, "high": 0.5}, r"low=1.0, high=0.5: give a lower bound below the upper one"),
        ({"inner": Memristor()}, r"writes to devices, which cannot be scaled: take it as the plasticity itself"),
        ({"inner": "adm"}, r"unknown inner plasticity 'adm'; nearest: 'adam'"),
    ],
)
def test_settings_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Normalised(**options)


def test_cells_that_begin_with_nothing():
    with pytest.raises(
        ValueError,
        match="1 of 2 cells begin with weights that are all 0, and nothing can be scaled: draw the weights",
    ):
        Normalised()([nn.Parameter(torch.tensor([[1.0], [0.0]]))])


def test_no_matrix():
    with pytest.raises(ValueError, match="no parameter is a weight matrix, whose cells have sums"):
        Normalised()([nn.Parameter(torch.ones(3))])


def test_the_state_of_other_weights():
    one, other = Normalised()([nn.Parameter(torch.ones(2, 3))]), Normalised()([nn.Parameter(torch.ones(4, 3))])
    with pytest.raises(
        ValueError, match=r"the state has sums of shapes \[\(4, 1\)\], and these weights have \[\(2, 1\)"
    ):
        one.load_state_dict(other.state_dict())


def test_bounds_without_sums():
    with pytest.raises(
        ValueError, match="high=1.0 without normalise=True, or acts='at_once', which keep weights within bounds"
    ):
        rules.make("stdp", high=1.0)


@pytest.mark.parametrize(
    ("dtype", "precision"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-11), (torch.float32, 1e-6)]
)
def test_sums_stay_in_every_precision(dtype, precision):
    """Of weights that are rounded: half a unit in the last place each, and the band in which nothing is scaled."""
    rng = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.rand(3, 50, generator=rng).to(dtype))
    optimizer, start = Normalised(lr=1.0)([p]), p.detach().float().sum(1)
    for _ in range(12):
        p.grad = torch.full_like(p, -0.02)
        optimizer.step()
        torch.testing.assert_close(p.detach().float().sum(1), start, rtol=6 * precision, atol=0)


def test_small_weights_are_scaled_up():
    p = nn.Parameter(torch.tensor([[1e-4, 3e-4]], dtype=torch.float16))
    Normalised(total=1.0)([p])
    torch.testing.assert_close(p.detach().float(), torch.tensor([[0.25, 0.75]]), rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"total": 10.0, "high": 1.0}, "total=10 with 6 weights between 0 and 1 for each cell, which sum up to 0 to 6"),
        ({"total": 1.0, "low": 0.5}, "total=1 with 6 weights between 0.5 and inf for each cell, which sum up to 3 to"),
    ],
)
def test_sums_that_bounds_do_not_reach(options, said):
    with pytest.raises(ValueError, match=said):
        Normalised(**options)([nn.Parameter(torch.rand(2, 6) + 0.5)])


def test_transposed_convolutions_in_groups_are_refused():
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3, groups=2))
    weights = weights_in_order(model)
    with pytest.raises(ValueError, match="a transposed convolution in groups"):
        Normalised().informed(weights.items(), None, weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sum_that_is_nearly_0_keeps_the_weights(dtype):
    p = nn.Parameter(torch.tensor([[1.0, 1.0, 2.0]], dtype=dtype))
    optimizer = Normalised(lr=1.0)([p])
    optimizer.settle()
    with torch.no_grad():
        p[0, 0] = torch.finfo(dtype).smallest_normal / 2
    p.grad = torch.tensor([[0.0, 20.0, 20.0]], dtype=dtype)
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(p.detach(), before)


def test_sums_beyond_the_range_of_the_type():
    p = nn.Parameter(torch.full((1, 4), 30000.0, dtype=torch.float16))
    optimizer = Normalised(lr=1.0)([p])
    optimizer.settle()
    p.grad = torch.tensor([[20000.0, 0.0, 0.0, 0.0]], dtype=torch.float16)
    optimizer.step()
    wanted = torch.tensor([[1.0, 3.0, 3.0, 3.0]]) * 12000
    torch.testing.assert_close(p.detach().float(), wanted, rtol=2e-3, atol=0)  # three roundings to 11 bits


def test_a_copy_goes_on_by_itself():
    x = (torch.rand(40, 8, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    one = trainer()
    one.step((x, None))
    other = copy.deepcopy(one)
    one.step((x, None))
    other.step((x, None))
    for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(p, q)
