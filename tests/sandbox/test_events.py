"""Spikes as pairs: packed and read back, beside a plain search in the dense array."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sandbox.events
from sandbox import Events
from sandbox.events import packed, places, recorded, words_of


@st.composite
def rasters(draw):
    """Spikes `[T, ...]` of any density, none and all among them; cells that are no multiple of a word or of a byte."""
    steps = draw(st.integers(1, 40))
    shape = draw(st.sampled_from([(), (1,), (3,), (8,), (13,), (2, 5), (3, 1, 4), (64,)]))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    density = draw(st.sampled_from([0.0, 0.01, 0.03, 0.2, 0.7, 1.0]))
    return torch.from_numpy((rng.random((steps, *shape)) < density).astype(np.float32))


@settings(deadline=None)
@given(rasters())
def test_events_are_the_spikes(spikes):
    found = Events.of(spikes, dt=0.1)
    at = spikes.reshape(len(spikes), -1).nonzero()
    assert torch.equal(found.step, at[:, 0])
    assert torch.equal(found.cell, at[:, 1])
    assert torch.equal(found.dense(), spikes)
    assert torch.equal(found.counts(), spikes.sum(0).long())
    assert len(found) == int(spikes.sum())
    assert torch.equal(found.t, (at[:, 0] + 1).double() * 0.1)
    shuffled = torch.randperm(len(at), generator=torch.Generator().manual_seed(0))
    again = Events.of_pairs(at[shuffled, 0], at[shuffled, 1], len(spikes), spikes.shape[1:])
    assert torch.equal(again.dense(), spikes)
    where = spikes.nonzero()
    assert all(torch.equal(axis, where[:, n + 1]) for n, axis in enumerate(again.index))


@settings(deadline=None)
@given(rasters(), st.integers(1, 12))
def test_parts_of_a_recording_are_the_whole(spikes, length):
    parts = [recorded(spikes[a : a + length], a) for a in range(0, len(spikes), length)]
    found = Events(tuple(parts), len(spikes), spikes.shape[1:])
    assert torch.equal(found.dense(), spikes)
    assert torch.equal(found.step, Events.of(spikes).step)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 200), st.sampled_from([0.0, 0.03, 0.5, 1.0]), st.integers(0, 99))
def test_bits_are_those_of_the_marks(steps, cells, density, seed):
    marks = (np.random.default_rng(seed).random((steps, cells)) < density).astype(np.uint8)
    words = words_of(marks)
    assert words.shape == (steps, -(-cells // 64))
    for t in range(steps):
        bits = [int(words[t, c // 64]) >> (c % 64) & 1 for c in range(64 * words.shape[1])]
        assert bits == [*marks[t].tolist(), *[0] * (len(bits) - cells)]


def test_a_packed_spike_takes_four_bytes_and_a_cell_at_most_a_bit():
    rare, often = torch.zeros(1000, 800), torch.ones(1000, 800)
    rare[::100, ::100] = 1
    assert Events.of(rare).nbytes == 4 * 80
    assert Events.of(often).nbytes == 1000 * 800 // 8


@pytest.mark.parametrize("compiled", [True, False])
@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 200), st.sampled_from([0.0, 0.02, 0.4, 1.0]), st.integers(0, 99))
def test_places_are_those_of_a_plain_search(compiled, steps, cells, density, seed):
    marks = (np.random.default_rng(seed).random((steps, cells)) < density).astype(np.uint8)
    wanted = np.flatnonzero(marks).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sandbox.events, "LONG", 0 if compiled else 10**9)
        found = places(words_of(marks), cells, len(wanted))
        assert found.tolist() == wanted
        assert found.dtype == np.int32
        if wanted:
            assert places(words_of(marks), cells, len(wanted) - 1) is None
        few = packed(words_of(marks), cells, 0)
    assert few.count == len(wanted)
    assert few.places(cells).tolist() == wanted
    assert few.data.nbytes == min(4 * len(wanted), steps * -(-cells // 8))


@pytest.mark.parametrize("value", [0.5, -1.0, float("nan"), 2.0])
def test_graded_outputs_are_not_events(value):
    spikes = torch.zeros(3, 2)
    spikes[1, 1] = value
    with pytest.raises(ValueError, match="events are spikes of 0 or 1: record variables instead"):
        Events.of(spikes)
