"""Neurons that count: integers in training, windows that move, gradients, and exact binary inference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from rules.diagnostics.work import work
from sandbox import Circuit, binary_inference, build, calibrate, firing_report, scan, simulate
from sandbox.neurons import ASN, GLIF, ILIF, KLIF, NASN, NILIF, PSN, LeakyIntegrator, learnable


def drawn(*shape, seed=0, by=3.0, dtype=torch.float64):
    return by * torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("plain", "adaptive"), [(ILIF(), ASN(alpha=0.0)), (NILIF(), NASN(alpha=0.0))])
@pytest.mark.parametrize("window", ["ceiling", "fractional"])
def test_a_window_at_zero_is_the_cell_without_one(plain, adaptive, window):
    """Outputs and states, bit for bit, and the gradients of the input."""
    adaptive = replace(adaptive, window=window)
    x = drawn(20, 50, dtype=torch.float32)
    given = [x.clone().requires_grad_() for _ in range(2)]
    (ours, end), (theirs, other) = scan(adaptive, given[0]), scan(plain, given[1])
    assert torch.equal(ours, theirs)
    assert torch.equal(end.v, other.v)
    for each in (ours, theirs):
        each.sum().backward()
    assert torch.equal(given[0].grad, given[1].grad)
    assert 0 < float(ours.detach().max()) == 4 * plain.unit


@settings(deadline=None, max_examples=60)
@given(alpha=st.floats(-6, 6), levels=st.integers(1, 9), seed=st.integers(0, 99), centre=st.floats(-8, 8))
def test_every_element_hands_its_gradient_to_the_membrane_or_to_alpha(alpha, levels, seed, centre):
    u = (centre + drawn(40, seed=seed)).requires_grad_()
    marked = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    cell = ASN(levels, alpha=marked, alpha_scale=1.0)
    error = drawn(40, seed=seed + 1)
    (cell.counted(u) * error).sum().backward()
    low = math.ceil(alpha)
    inside = (u.detach() >= low) & (u.detach() <= low + levels)
    assert torch.equal(u.grad, error * inside)
    assert float(marked.grad) == pytest.approx(float(error[~inside].sum()), abs=1e-9)  # order of the sum


def test_gradients_at_both_ends():
    """All inside: none for alpha. All above: a times the sum for alpha, none for the membrane."""
    for u, mine in ((torch.full((6,), 2.2), 0.0), (torch.full((6,), 99.0), 6 * 0.5)):
        alpha = torch.tensor(0.0, requires_grad=True)
        u.requires_grad_()
        ASN(alpha=alpha, alpha_scale=0.5).counted(u).sum().backward()
        assert float(alpha.grad) == mine
        assert float(u.grad.sum()) == (6 if mine == 0 else 0)


def test_the_scale_of_alphas_gradient_is_that_of_learned_quantisers():
    """1 / sqrt(cells levels), with the cells of one sample, whatever the batch."""
    alpha = torch.tensor(0.0, requires_grad=True)
    ASN(alpha=alpha).counted(torch.full((3, 50), 99.0)).sum().backward()
    assert float(alpha.grad) == pytest.approx(150 / math.sqrt(50 * 4))


@pytest.mark.parametrize("make", [ILIF, NILIF, lambda: ASN(alpha=-2.0), lambda: NASN(alpha=1.0)])
@pytest.mark.parametrize("hidden", [(7, 6), ("4c3", 6)])
def test_integers_are_as_many_binary_steps(make, hidden):
    """To 1e-6 in float32 and rounding in float64: weights times counts are sums of weights times bits, and a constant."""
    shape = (2, 5, 5) if "4c3" in hidden else (4,)
    for dtype, allowed in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        net = build(shape, 3, hidden, make(), seed=1).to(dtype)
        x = torch.rand(6, 3, *shape, generator=torch.Generator().manual_seed(0)).to(dtype)
        run = binary_inference(net, x)
        whole = net(x).output
        assert len(run.bits) == 2
        for bits in run.bits:
            assert bits.unique().tolist() == [0.0, 1.0]
            assert len(bits) == 6 * 4
        assert float((run.output - whole).abs().max() / whole.abs().max()) < allowed


def test_spikes_come_first_within_a_step():
    """A thermometer, so that the order is the same every time."""
    net = build((1,), 1, (1,), ILIF())
    with torch.no_grad():
        net.layers[0].synapse.weight.fill_(3.0)
    bits = binary_inference(net, torch.ones(1, 1, 1)).bits[0]
    assert bits.flatten().tolist() == [1.0, 1.0, 1.0, 0.0]


@settings(deadline=None, max_examples=40)
@given(alpha=st.floats(-4, 4), seed=st.integers(0, 99))
def test_the_gap_of_a_fractional_window(alpha, seed):
    """Training with it and inference with its ceiling differ by at most ceil(alpha) - alpha in a clipped element."""
    u = drawn(200, seed=seed)
    trained, deployed = (ASN(alpha=alpha, window=w).counted(u) for w in ("fractional", "ceiling"))
    assert float((trained - deployed).abs().max()) <= math.ceil(alpha) - alpha + 1e-12


def test_a_network_with_a_fractional_window_says_its_gap():
    net = build((4,), 3, (20,), ASN(alpha=-0.6, window="fractional"), seed=1)
    x = torch.rand(6, 3, 4) * 4
    assert float((binary_inference(net, x).output - net(x).output).abs().max()) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("window", ["ceiling", "fractional"])
@pytest.mark.parametrize("mean", [-3.0, 0.0, 4.0])
def test_the_window_follows_the_data(mean, window):
    """U ~ N(m, 1), loss (S - U)^2: the middle of the window ends within 0.75 of m; without learning it is 3 x worse.

    The window that counts is that of the ceiling, where this is used, on average over the last quarter of training: all
    alphas with the same ceiling are equal, so that alpha wanders among them.
    """
    rng = torch.Generator().manual_seed(0)
    net = build((1,), 1, (200,), ASN(beta=0.0, window=window))
    cells = net.layers[0].cells
    alpha = cells.learned.raw["alpha"]
    optimizer = torch.optim.Adam([alpha], lr=0.05)

    def loss():
        u = mean + torch.randn(1, 20, 200, generator=rng)
        return (cells(u)[0] - u).square().mean()

    still, lows = float(loss()), []
    for _ in range(1500):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        lows.append(math.ceil(float(alpha)) if window == "ceiling" else float(alpha))
    moved = sum(float(loss()) for _ in range(20)) / 20
    low = sum(lows[-200:]) / 200
    print(f"m {mean:g}: low {low:.2f}, error {moved:.3f}, at alpha = 0 {still:.3f}")
    assert abs(low + 2 - mean) < 0.75
    if mean == -3:
        assert still >= 3 * moved


def test_rules_that_draw_bits_refuse_counts():
    with pytest.raises(
        rules.MissingNeed, match="layers.0.cells is made of ILIF, which puts out up to 4 spikes in a st"
    ):
        rules.Trainer(build((4,), 3, (5,), ILIF(), LeakyIntegrator()), "binary_stochastic")


def counting():
    return build((4,), 2, (3,), ILIF())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ILIF(levels=0), "levels=0: give the largest number of spikes in a step, from 1 to 255"),
        (lambda: NASN(levels=256), "levels=256: give the largest"),
        (lambda: ILIF(beta=1.0), "beta=1.0: give the share of the membrane that is kept, from 0 to below 1"),
        (lambda: ASN(alpha=129.0), "alpha=129.0: give the window's lower end, from -128 to 128"),
        (lambda: ASN(alpha=learnable(float("nan"))), "alpha=.*nan"),
        (lambda: ASN(alpha_scale=-1.0), "alpha_scale=-1.0: give a factor of at least 0"),
        (lambda: ASN(window="floor"), "unknown window 'floor'"),
        (lambda: simulate(ILIF(), torch.ones(4, 1), record="events"), "up to 4 spikes a step, which are not events"),
        (lambda: Circuit(ILIF(), 3), "ILIF puts out up to 4 spikes in a step, and a circuit knows one"),
        (lambda: binary_inference(torch.nn.Linear(4, 3), torch.ones(2, 1, 4)), "Linear is not a network of sandbox"),
        (
            lambda: binary_inference(build((4,), 2, (3,)), torch.ones(2, 1, 4)),
            r"no layer of this network counts \(ILIF",
        ),
        (lambda: binary_inference(counting(), torch.ones(2, 1, 5)), r"x has shape \(2, 1, 5\): .*\[T, B, 4\]"),
        (lambda: binary_inference(counting(), torch.ones(2, 4)), r"x has shape \(2, 4\): give time, samples and the"),
        (lambda: binary_inference(build((1, 4, 4), 2, ("3x3",), ILIF()), torch.ones(2, 1, 1, 4, 4)), "Residual"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [ILIF, NILIF])
def test_the_cost_of_a_count_is_its_spikes(make):
    """Accumulations behind a counting layer are those of its binary inference: spikes times the weights of each."""
    net = build((4,), 3, (20,), make(), seed=1)
    x = torch.rand(6, 5, 4, generator=torch.Generator().manual_seed(0))
    bits = binary_inference(net, x).bits[0]
    behind = work(net, x)[1]
    assert behind.multiplied == 0
    assert behind.accumulated == pytest.approx(float(bits.sum()) * 3 / 5)
    assert behind.spikes == pytest.approx(4 * float(bits.mean()))


@pytest.mark.parametrize("make", [ILIF, NILIF, NASN, PSN, GLIF, KLIF])
def test_rates_of_cells_that_count_are_shares(make):
    """`calibrate` brings them to the share that was asked for, to 0.01."""
    net = build((4,), 3, (200,), make(), seed=0)
    report = calibrate(net, torch.rand(16, 30, 4, generator=torch.Generator().manual_seed(0)), rate=0.1)
    assert report == {"layers.0": pytest.approx(0.1, abs=0.01)}
    assert firing_report(net, torch.zeros(16, 2, 4))["layers.0"] <= 0.25  # of a threshold below 0


def test_counts_are_those_of_the_cells_and_not_guessed():
    """All cells at their largest count are four spikes each; pixels of sixteen grey values are no spikes."""
    net = build((1,), 3, (10,), ILIF(), seed=1)
    with torch.no_grad():
        net.layers[0].synapse.weight.fill_(9.0)
        net.layers[1].synapse.weight.fill_(1.0)
    found = work(net, torch.ones(1, 1, 1))[1]
    assert (found.accumulated, found.spikes) == (4 * 10 * 3, 4)
    pixels = torch.arange(17.0).reshape(1, 1, 17) / 16
    first = work(build((17,), 3, (10,), ILIF(levels=32), seed=1), pixels)[0]
    assert (first.multiplied, first.accumulated) == (16 * 10, 0)


def test_a_batch_without_samples():
    assert scan(ASN(), torch.zeros(5, 0, 3))[0].shape == (5, 0, 3)


def test_a_counting_read_out_and_a_synapse_that_is_not_affine():
    net = build((4,), 3, (5,), ILIF(), ILIF(), seed=1)
    x = torch.rand(2, 1, 4)
    assert torch.allclose(binary_inference(net, x).output, net(x).output)
    net.layers[1].synapse = torch.nn.Sequential(torch.nn.LayerNorm(5), net.layers[1].synapse)
    with pytest.raises(ValueError, match="Sequential is not affine in its input: behind it a count is not the sum"):
        binary_inference(net, 9 * x)


def test_a_learned_window_stays_in_its_range():
    cell = ASN(alpha=torch.tensor(-700.0))
    assert float(cell.counted(torch.tensor([-9999.0]))) == -128 == float(cell.offset)
