"""Parallel spiking neurons: the filter, its mask, single steps, gradients, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rules
from rules.spikes.surrogate import differentiating
from sandbox import LIF, build, scan, simulate
from sandbox.neurons import PSN, MaskedPSN, SlidingPSN
from sandbox.neurons.parallel import banded

T, CELLS = 12, 7


def drawn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def psn(steps=T, seed=0):
    return PSN(steps, weight=drawn(steps, steps, seed=seed), v_threshold=1 + 0.1 * drawn(steps, seed=seed + 1))


def test_the_filter_of_a_leaky_membrane_is_a_lif_without_reset():
    """W[i, j] = (1/tau) (1 - 1/tau)^(i - j); both in float64, so that only rounding is left of the 1e-5 allowed."""
    tau = 3.0
    lag = torch.arange(40)[:, None] - torch.arange(40)
    weight = torch.where(lag >= 0, (1 - 1 / tau) ** lag.clamp(min=0).double() / tau, 0.0)
    lif = LIF(tau_mem=-1 / math.log(1 - 1 / tau), reset="none")
    currents = 1 + 2 * drawn(40, 200)
    ours, theirs = simulate(PSN(40, weight=weight), currents), simulate(lif, currents)
    assert torch.equal(ours.spikes, theirs.spikes)
    assert 0 < ours.spikes.mean() < 1
    assert float((ours.v - theirs.v).abs().max()) < 1e-12


@settings(deadline=None, max_examples=40)
@given(order=st.integers(1, T), at=st.integers(0, T - 1), seed=st.integers(0, 99))
def test_a_full_mask_hides_what_is_late_and_what_is_old(order, at, seed):
    cell = MaskedPSN(T, order, weight=drawn(T, T, seed=seed))
    x = drawn(T, CELLS, seed=seed)
    v = simulate(cell, x).v
    later, older = x.clone(), x.clone()
    later[at + 1 :] += 10
    older[: max(at - order + 1, 0)] += 10
    assert torch.equal(simulate(cell, later).v[: at + 1], v[: at + 1])
    assert torch.allclose(simulate(cell, older).v[at], v[at], rtol=0, atol=1e-12)  # another order of the sum
    inside = x.clone()
    inside[at] += 10
    assert not torch.allclose(simulate(cell, inside).v[at], v[at])


@pytest.mark.parametrize("masked", [0.0, 0.3, 1.0])
def test_the_mask_in_between(masked):
    """At 0 the cell is PSN; in between, inputs outside of the mask count `1 - masked`."""
    whole = psn()
    cell = MaskedPSN(T, 3, masked, weight=whole.weight, v_threshold=whole.v_threshold)
    x = drawn(T, CELLS)
    inside = (torch.ones(T, T).tril() * torch.ones(T, T).triu(-2)).double()
    expected = (whole.weight * (inside + (1 - inside) * (1 - masked))) @ x
    assert torch.allclose(simulate(cell, x).v, expected, rtol=0, atol=1e-12)
    if masked == 0:
        assert torch.equal(simulate(cell, x).spikes, simulate(whole, x).spikes)
    assert cell.causal is (masked == 1)


@settings(deadline=None, max_examples=40)
@given(
    order=st.integers(1, 9), cut=st.integers(0, T), seed=st.integers(0, 99), kind=st.sampled_from(["masked", "sliding"])
)
def test_single_steps_pieces_and_products_agree(order, cut, seed, kind):
    """All spikes are the same: all at once, in two pieces, step by step, and for a convolution in place of a matrix."""
    x = drawn(T, 2, 3, seed=seed)
    if kind == "masked":
        cells = [MaskedPSN(T, min(order, T), weight=drawn(T, T, seed=seed))]
    else:
        cells = [SlidingPSN(order, by=by, weight=drawn(order, seed=seed)) for by in ("gemm", "conv")]
    whole, _ = scan(cells[0], x)
    for cell in cells:
        assert torch.equal(scan(cell, x)[0], whole)
        rows, state = [], None
        for piece in [x[:cut], x[cut:]] if 0 < cut < T else x.split(1):
            row, state = scan(cell, piece, state)
            rows.append(row)
        assert torch.equal(torch.cat(rows), whole)


def test_a_sliding_filter_moves_with_its_input():
    """Spikes move with the input, away from the beginning; the number of parameters does not depend on T."""
    cell, x, by = SlidingPSN(4, weight=drawn(4)), drawn(30, CELLS), 5
    moved = torch.cat([torch.zeros(by, CELLS, dtype=torch.float64), x])
    assert torch.equal(scan(cell, moved)[0][by:], scan(cell, x)[0])
    net = build((3,), 2, (5,), SlidingPSN(4))
    learned = [p.numel() for name, p in net.named_parameters() if "learned" in name]
    assert sum(learned) == 4 + 1
    for steps in (1, 3, 50):
        assert net(torch.rand(steps, 2, 3)).output.shape == (steps, 2, 2)


def test_the_banded_matrix_is_a_convolution():
    weight, x = drawn(3), drawn(8, 1)
    padded = torch.cat([torch.zeros(2, 1, dtype=torch.float64), x])
    expected = [sum(weight[i] * padded[t + i, 0] for i in range(3)) for t in range(8)]
    assert torch.allclose((banded(weight, 8) @ padded)[:, 0], torch.stack(expected), rtol=0, atol=1e-14)


def test_the_gradient_is_one_transposed_product():
    """dL/dx = W' (dL/ds g(v - b)), with the surrogate g."""
    cell, x = psn(), drawn(T, CELLS).requires_grad_()
    error = drawn(T, CELLS, seed=5)
    (scan(cell, x)[0] * error).sum().backward()
    u = cell.weight @ x.detach() - cell.v_threshold[:, None]
    assert torch.allclose(x.grad, cell.weight.T @ (error * cell.surrogate.grad(u)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["psn", "masked", "sliding"])
def test_gradients_of_a_smooth_pass_are_finite_differences(kind):
    def run(x, weight, threshold):
        cell = {
            "psn": lambda: PSN(5, weight=weight, v_threshold=threshold),
            "masked": lambda: MaskedPSN(5, 2, weight=weight, v_threshold=threshold),
            "sliding": lambda: SlidingPSN(5, weight=weight[0], v_threshold=threshold[0]),
        }[kind]()
        with differentiating(smooth=True):
            return scan(cell, x)[0]

    given = drawn(5, 3), drawn(5, 5, seed=1), drawn(5, seed=2)
    assert torch.autograd.gradcheck(run, [each.requires_grad_() for each in given])


def test_an_annealed_mask_closes_in_the_first_eighth_of_training():
    """min(1, 8 epoch / (epochs - 1)), as in the authors' code; until the end it does not count as causal."""
    cell = MaskedPSN(T, 3, masked=0.0, annealed=True)
    assert [cell.at_epoch(epoch, 17).masked for epoch in (0, 1, 2, 16)] == [0.0, 0.5, 1.0, 1.0]
    assert not cell.at_epoch(16, 17).causal
    assert replace(cell, masked=1.0, annealed=False).causal
    still = MaskedPSN(T, 3, masked=0.25)
    assert still.at_epoch(5, 10) is still


def test_each_layer_draws_a_filter_of_its_own():
    """Uniform in +-1 / sqrt(T), thresholds 1; a seed of `build` gives the same again."""
    made = [dict(build((3,), 2, (5, 5), PSN(16), seed=seed).named_parameters()) for seed in (0, 0, 1)]
    first, second = (made[0][f"layers.{n}.cells.learned.values.weight"] for n in (0, 1))
    assert float(first.abs().max()) <= 1 / 4 < 1.1 * float(first.abs().max())
    assert not torch.equal(first, second)
    assert torch.equal(first, made[1]["layers.0.cells.learned.values.weight"])
    assert not torch.equal(first, made[2]["layers.0.cells.learned.values.weight"])
    assert torch.equal(made[0]["layers.0.cells.learned.values.v_threshold"], torch.ones(16))


def test_what_networks_of_them_offer():
    """Rules that continue sequences, or look at single cells, are refused by the name of the cell."""
    whole, sliding = build((3,), 2, (5,), PSN(4)), build((3,), 2, (5,), SlidingPSN(4))
    assert rules.optional.offers(whole) == {"gradient", "bits", "layers", "features"}
    assert rules.optional.offers(sliding) == {"gradient", "bits", "layers", "features", "carry"}
    with pytest.raises(rules.MissingNeed, match="layers.0.cells is made of PSN, which does not run each cell by"):
        rules.Trainer(whole, "eprop")
    with pytest.raises(rules.MissingNeed, match="layers.0.cells is made of PSN, which sees the whole sequence at once"):
        rules.Trainer(whole, rules.make("bptt", objective="tet", every=2))
    with pytest.raises(ValueError, match="PSN sees the whole sequence at once and cannot hear its own output"):
        build((3,), 2, ("5r",), PSN(4))
    with pytest.raises(ValueError, match="none continues from its carry: pass all steps in one call, or use Sliding"):
        whole(torch.rand(4, 2, 3), whole(torch.rand(4, 2, 3)).carry)
    assert build((3,), 2, ("5r",), sliding.layers[0].cells.neuron)(torch.rand(6, 2, 3)).output.shape == (6, 2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scan(PSN(4), torch.zeros(5, 1)), r"PSN\(steps=4\) got 5 steps: .* build it with steps=5, or use Sli"),
        (lambda: scan(PSN(4), torch.zeros(3, 1)), r"PSN\(steps=4\) got 3 steps"),
        (lambda: scan(PSN(4), torch.zeros(4, 1), scan(PSN(4), torch.zeros(4, 1))[1]), "none continues from a state"),
        (lambda: scan(MaskedPSN(4, 2), torch.zeros(5, 1)), "step 5 of a MaskedPSN with steps=4: its filter has no mo"),
        (lambda: scan(MaskedPSN(4, 2, 0.5), torch.zeros(1, 1)), r"MaskedPSN\(steps=4\) got 1 steps: it sees a whole"),
        (lambda: MaskedPSN(4, 2, 1.5), "masked=1.5: give the strength of the mask, from 0"),
        (lambda: MaskedPSN(4, 5), "order=5 of 4 steps: .* give at most order=4, or more steps"),
        (lambda: scan(PSN(), torch.zeros(4, 1)), "all must have 16, as by default; build it with steps=4"),
        (lambda: PSN(0), "steps=0: give a whole number, at least 1"),
        (lambda: SlidingPSN(0), "order=0: give a whole number, at least 1"),
        (lambda: PSN(4, weight=torch.zeros(3, 4)), r"PSN.weight has shape \(3, 4\); wanted \(4, 4\)"),
        (lambda: SlidingPSN(4, by="fft"), "unknown by 'fft'"),
        (lambda: simulate(PSN(4), torch.zeros(4, 1), record="u"), "PSN has no variable 'u'; it has: v"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_is_recorded_goes_on_with_the_thresholds_of_its_steps():
    cell = MaskedPSN(6, 2, weight=drawn(6, 6), v_threshold=torch.arange(1.0, 7.0).double())
    x = drawn(6, CELLS)
    whole = simulate(cell, x).v
    _, state = scan(cell, x[:2])
    assert torch.allclose(simulate(cell, x[2:], state=state).v, whole[2:], rtol=0, atol=1e-12)


def test_a_long_sequence_is_filtered_in_pieces():
    """The same numbers as a convolution, and no matrix of all steps: 16,000 squared would take 2 GB in float64."""
    x = drawn(16_000, 1)
    found = [simulate(SlidingPSN(5, by=by, weight=drawn(5)), x).v for by in ("gemm", "conv")]
    assert torch.allclose(*found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cells", [64, 65_536])
def test_gradients_of_gradients(cells):
    """Of products in blocks and surrogates in pieces as of small ones: the second derivative of sum((W x)^2)."""
    x = drawn(8, cells).requires_grad_()
    cell = PSN(8, weight=drawn(8, 8), v_threshold=torch.zeros(8, dtype=torch.float64))
    u, _ = cell.filtered(x, None, cell.weight, cell.v_threshold)
    (slope,) = torch.autograd.grad(u.square().sum(), x, create_graph=True)
    (bent,) = torch.autograd.grad(slope.sum(), x)
    assert torch.allclose(bent, 2 * (cell.weight.T @ cell.weight).sum(0)[:, None].expand_as(x), rtol=1e-9)
