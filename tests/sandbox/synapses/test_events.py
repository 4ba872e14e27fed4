"""Events of a matrix beside a search entry by entry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.synapses import EventLinear, using
from sandbox.synapses.events import active, heard, rows
from sandbox.synapses.product import events_of

WIDTHS = st.one_of(st.integers(1, 200), st.sampled_from([64, 128, 256, 320, 784]))


@settings(deadline=None, max_examples=200)
@given(
    samples=st.integers(0, 9),
    width=WIDTHS,
    density=st.sampled_from([0.0, 0.02, 0.2, 0.7, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    transposed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_events_are_the_entries_that_are_not_zero(samples, width, density, dtype, transposed, seed):
    rng = np.random.default_rng(seed)
    there = rng.random((samples, width)) < density
    x = np.where(there, rng.choice([1.0, 0.5, -0.0, np.nan, -np.inf, 1e-40], (samples, width)), 0.0)
    x = torch.from_numpy(x).to(dtype)
    found = active(x.t().contiguous().t() if transposed else x)
    row, column = np.nonzero(there)
    assert found.start.tolist() == [0, *np.cumsum(there.sum(1)).tolist()]
    assert found.at.tolist() == column.tolist()
    assert torch.equal(found.value.isnan(), x[row, column].isnan())
    assert torch.equal(found.value.nan_to_num(), x[row, column].nan_to_num())
    assert torch.equal(found.value.signbit(), x[row, column].signbit())


@settings(deadline=None, max_examples=50)
@given(width=WIDTHS, density=st.sampled_from([0.0, 0.05, 0.5]), seed=st.integers(0, 99))
def test_a_step_of_a_loop_adds_the_rows_of_the_events(width, density, seed):
    rng = torch.Generator().manual_seed(seed)
    x = (torch.rand(3, width, generator=rng, dtype=torch.float64) < density).double()
    source, current = (torch.rand(*shape, generator=rng, dtype=torch.float64) for shape in ((width, 5), (3, 5)))
    out = torch.empty(3, 5, dtype=torch.float64)
    assert heard(x, source, None, current, out) == int(x.sum())
    assert torch.equal(out, current + rows(active(x), source))


@pytest.mark.parametrize("width", [63, 64, 65, 127, 129])
def test_every_column_of_a_row_is_found_at_the_edges_of_words(width):
    found = active(torch.eye(width))
    assert found.at.tolist() == list(range(width))


def test_a_product_by_events_tells_those_of_its_input():
    x = (torch.rand(6, 5, 8, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    synapse, flat = EventLinear(8, 3), x.flatten(0, 1)
    with using("events"):
        y = synapse(flat).reshape(6, 5, 3)
    found = events_of(y, flat)
    assert all(torch.equal(a, b) for a, b in zip(found, active(flat), strict=True))
    assert events_of(y, flat.clone()) is None  # another input
    assert events_of(2 * y, flat) is None
    assert events_of(y.detach(), flat) is None
    with using("dense"):
        assert events_of(synapse(flat), flat) is None
