"""Eligibility traces of each weight in a compiled loop, against the loop in torch that defines them."""

from __future__ import annotations

import pytest
import torch

from rules.contract import Local
from rules.credit.online import Online, traces
from rules.credit.online.traces import PerSynapse, Stretch
from sandbox import kernels
from sandbox.neurons import LIF, CubaLIF
from tests.rules.credit.online.nets import assigned, batch, distance, net

pytest.importorskip("numba")
EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16
STEPS, SAMPLES, CELLS, WIDTH = 7, 3, 5, 4


def case(count, places, leak, dtype=torch.float64):
    """Random traces, and what drives them."""
    rng = torch.Generator().manual_seed(count)

    def some(*shape):
        return torch.rand(*shape, generator=rng, dtype=dtype) - 0.3

    each = (STEPS, SAMPLES, CELLS, places)
    local = Local(some(count, count, *each), some(count, *each), some(count + 1, *each))
    factor = torch.tensor(0.8, dtype=dtype) if leak else None
    stretch = Stretch(some(STEPS, SAMPLES, places, WIDTH), local, some(*each), factor, None)
    value, low = some(SAMPLES, count, CELLS, places, WIDTH), some(SAMPLES, CELLS, places, WIDTH) if leak else None
    return value, low, stretch


def both(value, low, stretch):
    """Traces and gradient of the compiled loop, and of the one in torch."""
    from sandbox.kernels.eligibility import credited

    found = []
    for way in (credited, PerSynapse().by_steps):
        own = [None if part is None else part.clone() for part in (value, low)]
        grad = way(*own, stretch)
        found.append([grad, *(part for part in own if part is not None)])
    return found


@pytest.mark.parametrize("leak", [True, False])
@pytest.mark.parametrize("places", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_the_compiled_loop_is_that_of_torch(count, places, leak):
    found, wanted = both(*case(count, places, leak))
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).norm() / other.norm()) < EXACT


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_of_threads_gives_the_same_bits(count):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(both(*case(count, 1, True, torch.float32))[0])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


def test_three_state_variables_are_left_to_torch():
    from sandbox.kernels.eligibility import credited

    assert credited(*case(3, 1, True)) is None


@pytest.mark.parametrize(
    "options",
    [{"filter": "readout"}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"rate": 0.1}))],
    ids=str,
)
@pytest.mark.parametrize("neuron", [LIF(), CubaLIF()], ids=["LIF", "CubaLIF"])
def test_a_rule_finds_the_same_gradient_in_both(neuron, options, monkeypatch):
    rule, model, given = Online(**options), net(neuron), batch()
    with kernels.using("plain"):
        wanted = assigned(rule, model, given)
    used, way = [], traces.FUSED[-1]
    monkeypatch.setattr(traces, "FUSED", [lambda *given: used.append(way(*given)) or used[-1]])
    with kernels.using("numba"):
        found = assigned(rule, model, given)
    assert used
    assert all(grad is not None for grad in used)
    assert distance(found.grads, wanted.grads) < EXACT


def test_small_traces_are_left_to_torch():
    assert traces.FUSED[-1](*case(1, 1, True)) is None
