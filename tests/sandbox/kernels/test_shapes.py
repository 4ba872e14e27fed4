"""Any number of steps and cells, in any layout, from any valid state; and what is not valid is refused as ever."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox import scan, simulate
from sandbox.kernels import using
from sandbox.neurons import LIF, AdEx, LIFState

from .conftest import DOUBLE, agree, answer

CELL = LIF(tau_mem=5.0, t_refractory=1.0, reset="subtract")
LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "strided": lambda x: torch.stack([x, x], -1)[..., 0],
    "reversed": lambda x: x.flip(0),
    "constant in time": lambda x: x[:1].expand(x.shape),
    "one for all": lambda x: x[:, :1, :1].expand(x.shape),
}


@settings(max_examples=10, deadline=None)
@given(
    steps=st.integers(1, 9),
    shape=st.sampled_from([(), (1,), (0,), (3,), (1, 1), (4, 0), (2, 5), (3, 1, 4), (70, 5)]),
    memory=st.sampled_from([None, 0]),
)
def test_any_shape(steps, shape, memory):
    currents = 3 + 2 * torch.randn(steps, *shape, generator=torch.Generator().manual_seed(steps), dtype=DOUBLE)
    plain, ours = answer("plain", CELL, currents), answer("numba", CELL, currents, memory=memory)
    assert torch.equal(plain.spikes, ours.spikes)
    assert all(torch.equal(value, ours.variables[name]) for name, value in plain.variables.items())
    assert [g.shape for g in plain.gradients] == [g.shape for g in ours.gradients]
    agree(ours, plain, 1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout, rng):
    base = 3 + 2 * torch.randn(7, 4, 5, generator=rng, dtype=DOUBLE)
    gradients = []
    for mode in ("plain", "numba"):
        x = base.clone().requires_grad_()
        with using(mode):
            spikes, state = scan(CELL, LAYOUTS[layout](x))
        gradients.append((spikes, *torch.autograd.grad((spikes * base).sum() + state.v.sum(), x)))
    assert torch.equal(gradients[0][0], gradients[1][0])
    torch.testing.assert_close(gradients[1][1], gradients[0][1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("memory", [1, 10**9])
def test_states_kept_sparsely_are_states_computed_again(memory, rng):
    """The same operations on the same numbers: the same bits."""
    currents = 3 * torch.rand(23, 6, generator=rng, dtype=DOUBLE)
    whole = answer("numba", CELL, currents)
    sparse = answer("numba", CELL, currents, memory=memory)
    assert all(torch.equal(a, b) for a, b in zip(whole.gradients, sparse.gradients))


def test_a_state_handed_back_continues_exactly_and_is_not_written_to(rng):
    currents = 3 * torch.rand(40, 2, 3, generator=rng, dtype=DOUBLE)
    with using("numba"):
        whole, end = scan(CELL, currents)
        first, middle = scan(CELL, currents[:17])
        kept = LIFState(*(x.clone() for x in middle))
        second, last = scan(CELL, currents[17:], middle)
    assert torch.equal(whole, torch.cat([first, second]))
    assert all(torch.equal(a, b) for a, b in zip(end, last))
    assert all(torch.equal(a, b) for a, b in zip(kept, middle))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: scan(LIF(), x[:0]), r"currents have shape \(0, 2\); wanted \[T, ...\]"),
        (lambda x: scan(LIF(), x.long()), r"currents have dtype torch.int64"),
        (lambda x: scan(LIF(), x * 1j), r"currents have dtype torch.complex"),
        (lambda x: scan(LIF(), x, LIFState(torch.zeros(5))), "state.v is torch.float32 of shape .*; the currents want"),
        (lambda x: scan(LIF(), x, LIFState(torch.zeros(2, dtype=DOUBLE))), "state.v is torch.float64 of shape"),
        (lambda x: scan(LIF(), x, AdEx().initial_state((2,), x)), "state is a AdExState; LIF wants a LIFState"),
        (lambda x: scan(LIF(), x.where(x > 0.5, torch.nan)), "currents hold nan at .*; wanted finite"),
        (lambda x: simulate(LIF(), x, record=("w",)), "LIF has no variable 'w'"),
        (lambda x: scan(LIF(), x.to("meta")), "."),
    ],
)
def test_bad_input_is_refused_as_by_the_plain_loop(make, message, rng):
    with using("numba"), pytest.raises((ValueError, RuntimeError, NotImplementedError), match=message):
        make(torch.rand(3, 2, generator=rng))


def test_a_state_of_a_device_that_does_not_fit_is_refused(rng):
    with using("numba"), pytest.raises(RuntimeError):
        scan(LIF(), torch.rand(3, 2, generator=rng), LIFState(torch.zeros(2, device="meta")))
