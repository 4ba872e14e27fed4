"""Parts that mix steps: gates as their formulas say, windows, rotations, and what they cost in time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules import Meter
from sandbox import scan
from sandbox.networks.along_time import StepAttention, rotated
from sandbox.networks.models.speech import cell
from sandbox.networks.models.spikcommander import REST
from sandbox.networks.parts import Neurons, Stateless
from sandbox.networks.population import Population
from sandbox.networks.temporal_gates import TemporalGates, windowed
from tests.sandbox.networks.deep import Largest

T, B, H, D = 11, 3, 2, 4


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spikes(*shape, rate=0.3, seed=0):
    return (drawn(*shape, seed=seed) < rate).double()


class Shown(nn.Module):
    """A part that puts out the same signal whatever enters."""

    def __init__(self, signal):
        super().__init__()
        self.signal = signal

    def run(self, x, carry=None, record=False, lengths=None):
        return Stateless(nn.Identity()).run(self.signal)


def population(rest=REST):
    return Population(cell(rest), 1.0)


def gates(q, k, v, first=(), second=(), **options):
    """Temporal gates that are shown these queries, keys and values `[T, B, H D]`."""
    sources = {"query": [Shown(q)], "key": [Shown(k)], "value": [Shown(v)]}
    cells = (population(), population(), population())
    made = TemporalGates(sources, H, cells, (list(first), list(second)), **{"kernel": (3, 1), **options}).double()
    for weight in (made.across.weight, made.along.weight):
        nn.init.constant_(weight, 0.4)
    return made


def attention(q, k, v):
    sources = {"query": [Shown(q)], "key": [Shown(k)], "value": [Shown(v)]}
    return StepAttention(sources, H, (population(0.0), population(0.0)), population(0.0))


# --- attention in linear time ---


@pytest.mark.parametrize("view", ["local", "global"])
def test_gates_are_those_of_the_formula(view):
    """Against loops over steps; a neuron from rest with one step fires at a current of 1/2."""
    reach = 2
    q, k, v = (spikes(T, B, H * D, rate=rate, seed=seed) for seed, rate in enumerate((0.2, 0.3, 0.5)))
    part = gates(q, k, v, views=(view,), reach=reach)
    sums = (q + k).unflatten(2, (H, D))
    if view == "local":
        rows = [sums[max(t - reach, 0) : t + reach + 1].sum(0) for t in range(T)]
        wanted, _ = scan(cell(REST), torch.stack(rows) / (D * (2 * reach + 1)) ** 0.5)
    else:
        wanted = (sums.sum(0, keepdim=True) / (D * T) ** 0.5 >= 0.5).double()
    assert 0.05 < wanted.mean() < 0.95
    assert torch.equal(part(q), (wanted * v.unflatten(2, (H, D))).flatten(2))


def test_the_global_gate_does_not_know_the_order_of_steps():
    q, k, v = (spikes(T, B, H * D, rate=rate, seed=seed) for seed, rate in enumerate((0.2, 0.3, 0.5)))
    order = torch.randperm(T, generator=torch.Generator().manual_seed(0))
    for views, same in ((("global",), True), (("local",), False)):
        found = [gates(a, b, v, views=views, reach=1)(q) for a, b in ((q, k), (q[order], k[order]))]
        assert found[0].any()
        assert torch.equal(*found) == same


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(0, 14), st.integers(0, 99))
def test_windowed_sums(steps, half, seed):
    """Those of a loop, and of all steps where the window holds them; whole numbers are exact in float32."""
    x = spikes(steps, 2, 3, seed=seed).float()
    found = windowed(x, half)
    for t in range(steps):
        assert torch.equal(found[t], x[max(t - half, 0) : t + half + 1].sum(0))
    if half >= steps:
        assert torch.equal(found, x.sum(0).expand_as(x))


def test_each_view_matters():
    q, k, v = (spikes(T, B, H * D, rate=rate, seed=seed) for seed, rate in enumerate((0.2, 0.3, 0.5)))
    found = {}
    for views in (("local",), ("global",), ("value",), ("local", "global", "value")):
        found[views] = gates(q, k, v, views=views)(q)
    *single, all_ = found.values()
    assert all(each.any() for each in single)
    assert torch.equal(sum(single), all_)


@pytest.mark.parametrize(("kind", "factor"), [("gates", 2), ("attention", 4)])
def test_products_and_memory_grow_with_steps(kind, factor):
    """Gates: twice at twice the steps, and no array of steps by steps; attention between steps: four times."""
    counts, largest = [], []
    for steps in (64, 128):
        signal = spikes(steps, 1, H * D)
        dense = [[Stateless(nn.Linear(H * D, H * D)), Neurons(population())] for _ in range(2)]
        part = gates(signal, signal, signal, *dense) if kind == "gates" else attention(signal, signal, signal)
        with torch.no_grad(), Meter(part) as meter, Largest() as made:
            part(signal)
        counts.append(meter.cost(1, 0).synaptic_operations)
        largest.append(made.entries)
    assert counts[0] == (64 * (2 * (H * D) ** 2 + H * D * (H + 3)) if kind == "gates" else 2 * H * D * 64**2)
    assert counts[1] / counts[0] == factor
    assert largest[1] == (128 * H * D + H * D if kind == "gates" else H * 128**2)


# --- attention between steps ---


def test_attention_between_steps_is_that_of_the_formula():
    """Against loops over steps and heads; rotations as products of complex numbers."""
    q, k, v = (spikes(T, B, H * D, rate=0.5, seed=seed).unflatten(2, (H, D)) for seed in range(3))
    turn = torch.polar(torch.ones(T, D // 2).double(), torch.outer(torch.arange(T), torch.tensor([1.0, 0.01])).double())

    def again(x):
        turned = torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * turn[:, None, None]).flatten(-2)
        return scan(cell(), turned)[0]

    products = torch.einsum("tbhd,sbhd,sbhe->tbhe", again(q), again(k), v)
    wanted, _ = scan(cell(), products / D**0.5)
    found = attention(*(each.flatten(2) for each in (q, k, v)))(q.flatten(2))
    assert 0.1 < wanted.mean() < 0.9
    assert torch.equal(found, wanted.flatten(2))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 4), st.integers(2, 30), st.integers(0, 999))
def test_products_of_rotated_vectors_depend_on_the_distance_alone(pairs, steps, seed):
    """Of two vectors that stay the same, to rounding of angles in float64; lengths stay too."""
    q, k = (drawn(2 * pairs, seed=seed + n).expand(steps, -1) - 0.5 for n in range(2))
    products = rotated(q) @ rotated(k).T
    torch.testing.assert_close(products[1:, 1:], products[:-1, :-1], atol=1e-12, rtol=0)
    torch.testing.assert_close(products.diag(), (q @ k.T).diag(), atol=1e-12, rtol=0)
    torch.testing.assert_close(rotated(q).norm(dim=-1), q.norm(dim=-1), atol=1e-12, rtol=0)
    assert steps < 3 or not torch.allclose(products[0, :1], products[0, 1:2], atol=1e-6)
