"""A few levels: the grid, its scales, what is used of it, where it helps, and the gradient."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules.plasticity import SGD, Levels
from rules.plasticity.projected import quantised, scale_of, utilisation
from tests.rules.plasticity.projected.small import PLAIN, stepped, weight

SCALES = ["mean", "max", "percentile", "none"]


def published(w, gamma, bits):
    """The quantiser number by number, as the paper writes it; Python rounds halves to even, as torch does."""
    s = 2**bits - 1
    return gamma * (2 / s * round(s / 2 * (min(max(w / gamma, -1.0), 1.0) + 1.0)) - 1.0)


@given(
    values=st.lists(st.floats(-3, 3), min_size=1, max_size=12),
    gamma=st.floats(0.01, 2),
    bits=st.integers(1, 8),
)
@settings(deadline=None)
def test_the_quantiser_is_that_of_the_paper(values, gamma, bits):
    half = (2**bits - 1) / 2
    kept = [v for v in values if abs((v / gamma * half + half) % 1 - 0.5) > 1e-9]  # ties may round either way
    found = quantised(torch.tensor(kept, dtype=torch.float64), torch.tensor(gamma, dtype=torch.float64), bits)
    assert found.tolist() == pytest.approx([published(v, gamma, bits) for v in kept], abs=1e-12)


@given(
    seed=st.integers(0, 10_000),
    bits=st.integers(1, 8),
    scale=st.sampled_from(SCALES),
    per=st.sampled_from(["channel", "layer"]),
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e3]),
)
@settings(deadline=None)
def test_the_grid(seed, bits, scale, per, size):
    """At most 2^b values of each gamma, symmetric, within it; quantising twice changes nothing."""
    w = weight(4, 300, seed=seed, size=size).detach()
    gamma = scale_of(w, scale, per)
    found = quantised(w, gamma, bits)
    for row, of in zip(found, gamma.expand(4, 1)):
        assert len(row.unique()) <= 2**bits
        assert float(row.abs().max()) <= float(of)
    steps = (found / gamma).double() * (2**bits - 1)
    assert torch.allclose(steps, steps.round(), atol=1e-3, rtol=0)  # float32
    assert bool((steps.round() % 2 == 1).all())  # odd ones alone, so that the grid is symmetric
    assert torch.equal(quantised(found, gamma, bits), found)


@pytest.mark.parametrize("bits", range(1, 9))
def test_levels_are_exactly_symmetric_and_end_at_gamma(bits):
    gamma = torch.tensor(0.3)
    levels = quantised(torch.linspace(-1, 1, 100_001), gamma, bits).unique()
    assert len(levels) == 2**bits
    assert torch.equal(levels, -levels.flip(0))
    assert float(levels.max()) == float(gamma)


def test_scales_are_those_of_the_paper():
    w = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    rows = w.flatten(1)
    assert torch.allclose(scale_of(w)[:, 0, 0], rows.abs().mean(1))
    assert torch.equal(scale_of(w, "max").flatten(), rows.abs().amax(1))
    ends = torch.stack([rows.quantile(0.01, dim=1).abs(), rows.quantile(0.99, dim=1).abs()])
    assert torch.allclose(scale_of(w, "percentile").flatten(), ends.amax(0))
    assert scale_of(w, "mean", "layer").shape == (1, 1, 1)
    assert float(scale_of(w, "mean", "layer")) == pytest.approx(float(w.abs().mean()))
    assert float(scale_of(w, "none")) == 1.0


def test_a_channel_of_zeros_stays_zero():
    p = nn.Parameter(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))
    optimizer = Levels(bits=2, inner=PLAIN)([p])
    assert torch.equal(p[0], torch.zeros(2))
    stepped(optimizer, p, torch.ones(2, 2))
    assert bool(p.isfinite().all())


def test_rescaling_uses_all_levels_of_normal_weights():
    """69 of 256, 6 of 16, 2 of 4 levels without it, on 40,000 weights of standard deviation 0.07."""
    w = weight(200, 200, size=0.07).detach()
    one = scale_of(w, "none")
    used = {bits: round(utilisation(w, one, bits) * 2**bits) for bits in (8, 4, 2)}
    assert abs(used[8] - 69) <= 8  # two ends of the distribution, which reach 4 standard deviations or more
    assert (used[4], used[2]) == (6, 2)
    gamma = scale_of(w, "mean", "layer")
    assert [utilisation(w, gamma, bits) for bits in (8, 4, 2)] == [1.0, 1.0, 1.0]


def test_where_rescaling_helps():
    """Some 65 times less error at 2 bits, 1.3 at 4, and more of it at 8."""
    w = weight(200, 200, size=0.07).detach()
    gamma = scale_of(w, "mean", "layer")

    def gain(bits):
        return float((quantised(w, scale_of(w, "none"), bits) - w).square().mean()) / float(
            (quantised(w, gamma, bits) - w).square().mean()
        )

    assert gain(2) == pytest.approx(65, rel=0.1)
    assert gain(4) == pytest.approx(1.3, rel=0.1)
    assert gain(8) < 1


def test_the_gradient_passes_inside_of_gamma_its_ends_included():
    p = nn.Parameter(torch.tensor([[2.0, -2.0, 0.5, 1.0]]))
    optimizer = Levels(bits=4, scale="max", gradient="inside", inner=PLAIN)([p])
    stepped(optimizer, p, torch.ones(1, 4))
    assert torch.allclose(optimizer.held(p), torch.tensor([[1.9, -2.1, 0.4, 0.9]]))
    q = nn.Parameter(torch.tensor([[2.0, 0.5, 0.5, 1.0]]))  # gamma is 1
    optimizer = Levels(bits=4, gradient="inside", inner=PLAIN)([q])
    stepped(optimizer, q, torch.ones(1, 4))
    assert torch.allclose(optimizer.held(q), torch.tensor([[2.0, 0.4, 0.4, 0.9]]))


def test_by_default_the_gradient_passes_as_it_is():
    p = nn.Parameter(torch.tensor([[2.0, 0.5, 0.5, 1.0]]))  # gamma is 1
    optimizer = Levels(bits=4, inner=PLAIN)([p])
    stepped(optimizer, p, torch.ones(1, 4))
    assert torch.allclose(optimizer.held(p), torch.tensor([[1.9, 0.4, 0.4, 0.9]]))


def test_the_gradient_of_the_authors_code_is_divided_by_gamma():
    p = nn.Parameter(torch.tensor([[2.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]))
    optimizer = Levels(bits=4, gradient="scaled", inner=SGD(0.1))([p])
    stepped(optimizer, p, torch.ones(2, 4))
    moved = torch.tensor([[2.0, 1.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]) - optimizer.held(p)
    assert torch.allclose(moved, torch.tensor([[0.1], [0.2]]).expand(2, 4))


@pytest.mark.parametrize("bits", [0, 9, -1])
def test_bits_outside_of_one_to_eight_are_refused(bits):
    with pytest.raises(ValueError, match=re.escape(f"bits={bits}: give a whole number from 1 to 8")):
        Levels(bits=bits)


@pytest.mark.parametrize(("option", "value"), [("scale", "median"), ("per", "row"), ("gradient", "straight")])
def test_unknown_choices_are_refused(option, value):
    with pytest.raises(ValueError, match=f"unknown {option} '{value}'"):
        Levels(**{option: value})


def test_a_mean_clips_what_the_docstring_says():
    w = weight(200, 200).detach()
    assert float((w.abs() > scale_of(w, "mean", "layer")).float().mean()) == pytest.approx(0.42, abs=0.01)
    assert math.isclose(1 / 2.5e-4, 4000)  # mean of |U(-5e-4, 5e-4)|


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_takes_the_level_that_float32_takes_at_eight_bits(dtype):
    """Within the rounding of the value itself, `eps` of its size; products in half precision were off by a level."""
    held = weight(64, 64, size=1.0).detach().to(dtype)
    gamma = scale_of(held)
    exact = quantised(held.float(), gamma.float(), 8)
    for found in (quantised(held, gamma, 8), quantised(held, gamma, 8, out=torch.empty_like(held))):
        assert found.dtype == dtype
        assert torch.equal(found, exact.to(dtype))
