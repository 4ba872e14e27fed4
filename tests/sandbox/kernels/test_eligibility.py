"""Eligibility traces in a compiled loop and by products, against the recursion that defines them, step by step."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.contract import Local
from rules.credit.online import Online, traces
from rules.credit.online.traces import Kept, PerSynapse, Stretch, by_products, constant, paid
from sandbox import kernels
from sandbox.neurons import LIF, CubaLIF
from tests.rules.credit.online.nets import assigned, batch, distance, net

pytest.importorskip("numba")
EXACT = 1e-12  # float64: sums of some hundred products, each right to 1e-16
STEPS, SAMPLES, CELLS, WIDTH = 7, 3, 5, 4


def case(count, places, leak, alike=False, own=True, dtype=torch.float64, density=0.5, seed=0, begun=True):
    """Random traces, and what drives them."""
    rng = torch.Generator().manual_seed(seed)

    def some(*shape):
        return torch.rand(*shape, generator=rng, dtype=dtype) - 0.3

    each = (STEPS, SAMPLES, CELLS, places)
    local = Local(some(count, count, *each), some(count, *each), some(count + 1, *each))
    factor = torch.tensor(0.8, dtype=dtype) if leak else None
    columns = some(STEPS, SAMPLES, places, WIDTH)
    columns *= torch.rand(columns.shape, generator=rng, dtype=dtype) < density
    stretch = Stretch(columns, local, some(*each), factor, None)
    if alike:
        stretch = constant(stretch, traces.Linear(some(count, count), some(count)))
    value = some(SAMPLES, count, places, WIDTH, 1 if alike and not own else CELLS)
    low = some(SAMPLES, places, WIDTH, CELLS) if leak else None
    return (value, low, stretch) if begun else (torch.zeros_like(value), None, stretch)


def by_steps(value, low, stretch):
    """The definition: `eps <- kept eps + driven pre`, `e = shown . (eps, pre)`, `low <- leak low + e`, `grad += S low`."""
    kept, driven, shown = (part.movedim(-1, -2) for part in stretch.local)  # [..., T, B, L, C]
    value = value.expand(*value.shape[:-1], CELLS).movedim(1, 0)  # [k, B, L, K, C]
    low = torch.zeros_like(value[0]) if low is None else low
    leak = 0.0 if stretch.leak is None else stretch.leak
    grad = value.new_zeros(CELLS, WIDTH)
    for t, pre in enumerate(stretch.columns[..., None]):
        now = (part[..., t, :, :, None, :] for part in (kept, driven, shown))
        keep, drive, show = now
        e = (show[:-1] * value).sum(0) + show[-1] * pre
        value = (keep * value[None]).sum(1) + drive * pre
        low = leak * low + e
        grad += torch.einsum("bcl,blkc->ck", stretch.signal[t], low)
    return value.movedim(0, 1), None if stretch.leak is None else low, grad


def agree(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert float((one - other).norm()) <= EXACT * float(other.norm())


def loop(value, low, stretch):
    from sandbox.kernels.eligibility import moved

    return moved(value.clone(), None if low is None else low.clone(), stretch)


@settings(max_examples=20, deadline=None)
@given(
    count=st.integers(1, 3),
    places=st.integers(1, 3),
    leak=st.booleans(),
    alike=st.booleans(),
    own=st.booleans(),
    begun=st.booleans(),
    density=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 100),
)
def test_both_ways_are_the_recursion(count, places, leak, alike, own, begun, density, seed):
    some = case(count, places, leak, alike, own, density=density, seed=seed, begun=begun)
    wanted = by_steps(*some)
    for way in (by_products, loop):
        agree(way(*some), wanted)
        value, low, stretch = some
        assert agree(way(value, low, stretch._replace(last=True))[2:], wanted[2:]) is None


def test_what_a_call_owes_is_added_when_the_sequence_goes_on():
    """The traces are those of a call that adds its last steps at once, and count as many bytes."""
    value, low, stretch = case(2, 1, True)
    trace, kept = PerSynapse(), Kept(value, low)
    at_once, grad, _ = trace.credited(kept, stretch, False)
    later, same, _ = trace.credited(kept.unshared(), stretch._replace(last=True), False)
    assert later.bytes == at_once.bytes
    agree((same,), (grad,))
    agree((paid(later).value, paid(later).low), (at_once.value, at_once.low))
    assert torch.equal(later.value, value)


@pytest.mark.parametrize("alike", [False, True])
def test_any_number_of_threads_gives_the_same_bits(alike):
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(loop(*case(2, 1, True, alike, False, torch.float32)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize(
    "options",
    [{"filter": "readout"}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({}, {"rate": 0.1}))],
    ids=str,
)
@pytest.mark.parametrize("neuron", [LIF(), LIF(reset="subtract"), CubaLIF()], ids=["LIF", "subtract", "CubaLIF"])
def test_a_rule_finds_the_same_gradient_in_both(neuron, options, monkeypatch):
    rule, model, given = Online(**options), net(neuron), batch()
    with kernels.using("plain"):
        wanted = assigned(rule, model, given)
    used, way = [], traces.FUSED[-1]
    monkeypatch.setattr(traces, "FUSED", [lambda *given: used.append(way(*given)) or used[-1]])
    with kernels.using("numba"):
        found = assigned(rule, model, given)
    assert used
    assert all(each is not None for each in used)
    assert distance(found.grads, wanted.grads) < EXACT


def test_other_dtypes_and_small_traces_are_left_to_torch():
    assert loop(*case(1, 1, True, dtype=torch.bfloat16)) is None
    assert traces.FUSED[-1](*case(1, 1, True)) is None
