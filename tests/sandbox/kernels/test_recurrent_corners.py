"""Recurrent layers in one loop: second and several gradients, changes in place, NaN and infinity."""

from __future__ import annotations

import pytest
import torch

import sandbox.synapses as synapses
from rules.spikes.surrogate import differentiating
from sandbox.kernels import using
from sandbox.kernels.launch import recurrent_ops
from sandbox.neurons import ALIF, LIF, EscapeLIF
from sandbox.neurons.learnable import learnable
from sandbox.synapses import EventLinear

from .conftest import DOUBLE, driven
from .test_recurrent import population


@pytest.mark.parametrize("way", ["dense", "events"])
@pytest.mark.parametrize(
    "neuron",
    [LIF(), pytest.param(ALIF(tau_mem=learnable(10.0, (5,))), marks=pytest.mark.slow), EscapeLIF()],
    ids=["lif", "learned", "noisy"],
)
def test_second_derivatives_and_those_of_several_errors_are_those_of_the_plain_loop(neuron, way):
    cells = population(neuron, kind=EventLinear).double()
    x, found = driven(neuron, (3, 5), 15).requires_grad_(), []
    wanted = [x, *cells.parameters()]
    errors = torch.rand(3, 15, 3, 5, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    for mode in ("plain", "numba"):
        with using(mode), synapses.using(way), differentiating(generator=torch.Generator().manual_seed(7)):
            output, (state, _), _ = cells(x)
        loss = (errors[0] * output).sum() + torch.tanh(state.v / 50).sum()
        slopes = torch.autograd.grad(loss, wanted, create_graph=True)
        twice = torch.autograd.grad(sum(s.square().sum() for s in slopes), wanted, retain_graph=True)
        batched = torch.autograd.grad(output, wanted, errors, is_grads_batched=True)
        found.append([*slopes, *twice, *batched])
    for plain, ours in zip(*found, strict=True):
        assert plain.any()
        # a second derivative magnifies roundings once more than a first
        torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-10 * float(plain.abs().max()))


def test_what_is_changed_in_place_before_the_backward_pass_is_noticed_or_does_not_count():
    """Currents are not read again; weights, spikes and first outputs are."""
    cells, x = population(LIF()), driven(LIF(), (3, 5), steps=20)
    x.requires_grad_()
    with using("numba"):
        want = torch.autograd.grad(cells(x)[0].sum(), x)[0]
        output = cells(x)[0]
        with torch.no_grad():
            x.mul_(2)
        assert torch.equal(torch.autograd.grad(output.sum(), x, retain_graph=True)[0], want)
        with torch.no_grad():
            cells.recurrent.weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            torch.autograd.grad(output.sum(), x)


@pytest.mark.parametrize("way", ["dense", "events", 0.9])
@pytest.mark.parametrize("where", ["current", "weight", "error"])
def test_not_a_number_and_infinity_spread_as_in_the_plain_loop(way, where):
    """Zero times infinity is not a number, by events as in a dense product."""
    cells, x = population(LIF(), kind=EventLinear), driven(LIF(), (3, 5), steps=6)
    if where == "weight":
        with torch.no_grad():
            cells.recurrent.weight[1, 2] = torch.inf
    if where == "current":
        x[2, 0, 1], x[3, 1, 0] = torch.inf, torch.nan
    error, found = torch.ones_like(x), []
    if where == "error":
        error[3, 1, 2], error[4, 0, 0] = torch.inf, torch.nan
    for mode in ("plain", "numba"):
        leaf = x.clone().requires_grad_()
        with using(mode), synapses.using(way):
            output, (state, _), _ = cells(leaf)
        found.append([output, state.v, *torch.autograd.grad(output, [leaf, *cells.parameters()], error)])
    assert any(not each.isfinite().all() for each in found[0])
    for plain, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-10, equal_nan=True)


def test_an_infinite_error_at_silent_cells_is_not_skipped():
    """As where a cell without memory passes none of it on to the first step."""
    errors, spikes = torch.zeros(3, 4), torch.zeros(3, 4)
    errors[2, 1] = torch.inf
    found = [recurrent_ops.of_weight(way, errors, torch.zeros(4), spikes, 4) for way in ("dense", "events", "0.3")]
    assert found[0][1].isnan().all()
    for each in found[1:]:
        torch.testing.assert_close(each, found[0], rtol=0, atol=0, equal_nan=True)
