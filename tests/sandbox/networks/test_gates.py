"""Attention gates: when they open, what they pool over, and that none of them mixes samples."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sandbox import PLIF, scan
from sandbox.networks.gates import AXES, Gate

T, B, C, SIDE = 4, 3, 8, 5


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def gate(axis, spiking, seed=0):
    """A gate with weights that open it for some of its entries."""
    made = Gate(axis, spiking, C, T)
    rng = torch.Generator().manual_seed(seed)
    for p in made.parameters():
        nn.init.normal_(p, 0.5, 1.0, generator=rng)
    return made


def by_hand(made, x):
    """Logits of `M(mean) + M(max)`, or of the convolution of both, with a loop over samples."""
    rows = []
    for sample in x.unbind(1):  # [T, C, H, W]
        if made.axis == "space":
            pair = torch.stack([sample.mean((0, 1)), sample.amax((0, 1))])
            rows.append(made.weigh(pair[None])[0])
            continue
        keep = 0 if made.axis == "time" else 1
        flat = sample.movedim(keep, 0).flatten(1)
        first, _, second = made.weigh
        total = sum(second.weight @ (first.weight @ pooled).relu() for pooled in (flat.mean(1), flat.amax(1)))
        rows.append(total)
    return torch.stack(rows)


@pytest.mark.parametrize("axis", AXES)
def test_logits_are_those_of_the_formula(axis):
    made, x = gate(axis, False), drawn(T, B, C, SIDE, SIDE)
    logits, wanted = made.logits(x), by_hand(made, x)
    shape = {"time": (T, B, 1, 1, 1), "channel": (1, B, C, 1, 1), "space": (1, B, 1, SIDE, SIDE)}[axis]
    assert logits.shape == shape
    flat = logits.squeeze() if axis != "time" else logits.squeeze().T
    torch.testing.assert_close(flat, wanted.squeeze())
    assert torch.equal(made(x), torch.relu(torch.sigmoid(logits) * x))


@pytest.mark.parametrize("axis", ["channel", "space"])
def test_gates_of_one_step_are_open_where_the_logit_is_at_least_two(axis):
    made, x = gate(axis, True), 2 * drawn(T, B, C, SIDE, SIDE)
    with torch.no_grad():  # some on either side
        [*made.parameters()][-1].mul_(2 / made.logits(x).median())
    logits = made.logits(x)
    assert set(made.openness(x).unique().tolist()) == {0.0, 1.0}
    assert torch.equal(made.openness(x), (logits >= 2).float())
    edge = torch.tensor([1.999, 2.0])[None]
    assert made.fires(edge)[0].tolist() == [[0.0, 1.0]]


def test_a_gate_over_time_runs_its_neuron_over_the_steps():
    made, x = gate("time", True), drawn(T, B, C, SIDE, SIDE)
    logits = made.logits(x)
    wanted, _ = scan(PLIF(tau_mem=2.0), logits)
    assert torch.equal(made.openness(x), wanted)
    assert 0 < wanted.mean() < 1


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("spiking", [False, True])
def test_gates_neither_mix_samples_nor_add_current(axis, spiking):
    made, x = gate(axis, spiking), drawn(T, B, C, SIDE, SIDE) - 0.2
    y = made(x)
    torch.testing.assert_close(y[:, 1:2], made(x[:, 1:2]), atol=1e-6, rtol=1e-5)  # sums of other batch sizes
    assert (y >= 0).all()
    assert (y <= x.relu()).all()


@pytest.mark.parametrize("axis", AXES)
def test_gradients_reach_the_weights_of_a_spiking_gate(axis):
    made = gate(axis, True)
    made(drawn(T, B, C, SIDE, SIDE)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in made.parameters())


def test_sizes_inside():
    assert sum(p.numel() for p in Gate("time", True, 64, 16).parameters()) == 128
    for channels in (64, 128, 256, 512):  # a reduction of 8 to 64
        assert Gate("channel", False, channels).weigh[0].out_features == 8
    assert Gate("space", False, 8, kernel=7).weigh.weight.shape == (1, 2, 7, 7)
    assert Gate("channel", False, 64, reduction=16).weigh[0].out_features == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Gate("spac", False, 8),
            "unknown axis of a gate 'spac'; nearest: 'space'; valid: time, channel, space",
        ),
        (lambda: Gate("channel", False, 8, reduction=0), "reduction=0: give a factor of at least 1"),
        (lambda: Gate("time", False, 8), "a gate over time has weights for each step: give the number of steps"),
        (lambda: Gate("time", True, 8, 4).run(torch.zeros(6, 1, 8, 2, 2)), "Gate has weights for each of 4 steps"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
