"""By events or by a matrix product: the same output and the same gradients, up to the order of summation."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rules import Surrogate
from sandbox import LIF, build, calibrate
from sandbox.synapses import EventLinear, product, using
from sandbox.synapses.events import Events, active, columns, rows

DTYPES = {torch.float64: 1e-12, torch.float32: 1e-5}  # a few hundred roundings, of terms that partly cancel


def passes(synapse: nn.Module, x: torch.Tensor, error: torch.Tensor, mode: str) -> list[torch.Tensor]:
    """Output and gradients."""
    x = x.detach().requires_grad_()
    with using(mode):
        y = synapse(x)
        return [y, *torch.autograd.grad(y, (x, *synapse.parameters()), error)]


def same(synapse: nn.Module, x: torch.Tensor, error: torch.Tensor) -> None:
    for ours, dense in zip(*(passes(synapse, x, error, mode) for mode in ("events", "dense")), strict=True):
        tolerance = DTYPES[x.dtype]
        size = float(dense.detach().abs().max()) if dense.numel() else 0.0
        torch.testing.assert_close(ours, dense, rtol=tolerance, atol=tolerance * size)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(0, 40),
    samples=st.integers(1, 30),
    inner=st.integers(1, 40),
    out=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    errors=st.sampled_from([0.0, 0.1, 1.0]),
    graded=st.booleans(),
    bias=st.booleans(),
    dtype=st.sampled_from(list(DTYPES)),
    seed=st.integers(0, 99),
)
def test_events_say_what_the_product_says(steps, samples, inner, out, density, errors, graded, bias, dtype, seed):
    rng = torch.Generator().manual_seed(seed)
    synapse = EventLinear(inner, out, bias=bias).to(dtype)
    with torch.no_grad():
        for p in synapse.parameters():
            p.normal_(generator=rng)
    x = (torch.rand(steps, samples, inner, generator=rng) < density).to(dtype)
    if graded:
        x = x * torch.randn(x.shape, generator=rng, dtype=dtype)
    error = torch.randn(steps, samples, out, generator=rng, dtype=dtype)
    same(synapse, x, error * (torch.rand(error.shape, generator=rng) < errors))


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_leave_the_bits_alone(threads, rng):
    synapse = EventLinear(50, 30)
    x, error = (torch.rand(1200, 50, generator=rng) < 0.1).float(), torch.randn(1200, 30, generator=rng)
    alone = passes(synapse, x, error, "events")
    torch.set_num_threads(threads)
    for ours, before in zip(passes(synapse, x, error, "events")[:3], alone[:3], strict=True):  # torch sums the bias
        assert torch.equal(ours, before)


def test_two_threads_at_once(rng):
    torch.set_num_threads(2)
    synapse = EventLinear(60, 40)
    x, error = (torch.rand(700, 60, generator=rng) < 0.1).float(), torch.randn(700, 40, generator=rng)
    alone, found = passes(synapse, x, error, "events"), []
    work = [
        threading.Thread(target=lambda: found.extend(passes(synapse, x, error, "events") for _ in range(10)))
        for _ in range(2)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(found) == 20
    assert all(torch.equal(a, b) for each in found for a, b in zip(each, alone, strict=True))


@pytest.mark.parametrize(
    "shaped",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x[:, :1].expand(6, 20, 10),
        lambda x: x[::2, 1:],
        lambda x: x[0, 0],
        lambda x: x[..., ::2].repeat(1, 1, 2),
    ],
    ids=["transposed", "expanded", "strided", "one sample", "repeated"],
)
def test_inputs_that_do_not_lie_in_a_row(shaped, rng):
    synapse = EventLinear(10, 7).double()
    x = shaped((torch.rand(6, 20, 10, generator=rng) < 0.3).double())
    same(synapse, x, torch.randn(*x.shape[:-1], 7, generator=rng, dtype=torch.float64))


def test_an_error_that_is_one_number_everywhere(rng):
    synapse = EventLinear(10, 7).double()
    x = (torch.rand(6, 20, 10, generator=rng) < 0.3).double()
    same(synapse, x, torch.ones((), dtype=torch.float64).expand(6, 20, 7))


@pytest.mark.parametrize("where", ["input", "weight", "error"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_spreads_as_in_the_product(where, value, rng):
    """Zero times infinity is not zero: where a weight or an error is not finite, nothing may be left out."""
    synapse = EventLinear(6, 5)
    x, error = (torch.rand(30, 6, generator=rng) < 0.3).float(), torch.randn(30, 5, generator=rng)
    with torch.no_grad():
        {"input": x, "weight": synapse.weight, "error": error}[where][2, 3] = value
    for ours, dense in zip(*(passes(synapse, x, error, mode) for mode in ("events", "dense")), strict=True):
        torch.testing.assert_close(ours, dense, equal_nan=True, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("surrogate", ["triangle", "rect"])
def test_errors_that_are_zero_are_left_out(surrogate, rng, monkeypatch):
    """Behind a surrogate of bounded support; the product that leaves them out is the one that is taken."""
    synapse = EventLinear(40, 30).double()
    current = torch.randn(500, 30, generator=rng, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(Surrogate(surrogate).spike(10 * current).sum(), current)[0]
    assert 0.0 < float((slope != 0).double().mean()) < 0.2
    x = torch.rand(500, 40, generator=rng, dtype=torch.float64)
    dense = passes(synapse, x, slope, "dense")
    monkeypatch.setattr(product, "crossover", lambda *shape: 0.4)
    monkeypatch.setattr("sandbox.synapses.linear.WORTH_A_LOOK", 0)
    taken = []
    for name, ours in (("rows", rows), ("columns", columns)):
        monkeypatch.setattr(product, name, lambda *given, name=name, ours=ours: taken.append(name) or ours(*given))
    for a, b in zip(passes(synapse, x, slope, "auto"), dense, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert taken == ["rows", "columns"]  # the gradients; the dense input was weighed by the product


def test_a_network_learns_the_same(rng):
    """Forward and backward through two layers of neurons, in float64, where the order of sums moves no spike."""
    net = build((20,), 3, (15, 12), LIF(tau_mem=5.0, surrogate=Surrogate("triangle"))).double()
    x = (torch.rand(12, 6, 20, generator=rng) < 0.2).double()
    calibrate(net, x, rate=0.2)
    found = []
    for mode in ("events", "dense"):
        with using(mode):
            found.append(torch.autograd.grad(net(x).output.square().mean(), list(net.parameters())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)  # rounding grows along the recursion


def test_a_list_of_events_is_the_matrix(rng):
    x = torch.randn(9, 7, generator=rng) * (torch.rand(9, 7, generator=rng) < 0.4)
    events = active(x)
    assert isinstance(events, Events)
    assert torch.equal(rows(events, torch.eye(7)), x)
    assert torch.equal(columns(events, torch.eye(9), 7), x.t())
