"""Intervals of perplexity and bits: pieces cover the text, bounds hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.perplexity import Perplexity
from sandbox.measures import said_of_text
from sandbox.runs.judging import PIECES, bounds, pieces


def measured(nats, counts):
    found = Perplexity("character")
    found.nats, found.counts = list(nats), list(counts)
    return found


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=250), st.integers(1, 120))
def test_pieces_are_consecutive_and_hold_everything(counts, most):
    nats = np.arange(len(counts)) * (np.array(counts) > 0)
    of_nats, of_counts = pieces(nats.astype(float), counts, most)
    kept = sum(count > 0 for count in counts)
    assert sum(of_nats) == pytest.approx(nats.sum())
    assert sum(of_counts) == sum(counts)
    assert len(of_counts) == min(kept, most)
    assert min(of_counts, default=1) > 0
    edges = np.cumsum([len(part) for part in np.array_split(np.arange(kept), most)])
    assert (
        np.cumsum(of_counts).tolist()
        == np.cumsum([c for c in counts if c])[edges[edges > 0] - 1][: len(of_counts)].tolist()
    )


def test_bounds_are_those_of_a_plain_bootstrap_of_the_ratio():
    """BCa and percentiles of 4000 resamples of 100 nearly symmetric pieces: equal to a twentieth of the width."""
    rng = np.random.default_rng(0)
    counts = rng.integers(20, 60, size=PIECES)
    nats = counts * (1.5 + 0.3 * rng.standard_normal(PIECES))
    found = bounds(measured(nats, counts))
    again = np.array([nats[r].sum() / counts[r].sum() for r in rng.integers(PIECES, size=(4000, PIECES))]) / math.log(2)
    low, high = np.percentile(again, [2.5, 97.5])
    width = high - low
    assert found["bits_per_character_low"] == pytest.approx(low, abs=0.05 * width)
    assert found["bits_per_character_high"] == pytest.approx(high, abs=0.05 * width)
    assert found["perplexity_low"] == pytest.approx(2 ** found["bits_per_character_low"])
    assert found["perplexity_high"] == pytest.approx(2 ** found["bits_per_character_high"])


def test_blocks_that_are_alike_have_an_interval_of_nothing_and_few_have_none():
    found = bounds(measured([2.0, 4.0, 1.0], [2, 4, 1]))
    assert found["bits_per_character_low"] == found["bits_per_character_high"] == pytest.approx(1 / math.log(2))
    assert bounds(measured([2.0, 4.0], [2, 4])) == {}
    assert bounds(measured([2.0, 4.0, 0.0], [2, 4, 0])) == {}
    assert bounds(measured([math.inf, 4.0, 1.0], [2, 4, 1]))["perplexity_high"] == math.inf


def test_neighbours_that_are_alike_make_the_interval_wider():
    """1000 blocks in ten passages of their own difficulty, in 100 pieces: to treat blocks as independent would be far too sure."""
    passages = np.repeat(np.random.default_rng(0).normal(2, 0.5, size=10), 100)
    whole = bounds(measured(passages * 10, [10] * 1000))
    alone = np.std(passages) / math.sqrt(1000) / math.log(2) * 2 * 1.96
    assert whole["bits_per_character_high"] - whole["bits_per_character_low"] > 2 * alone


def test_numbers_are_said_with_their_bounds():
    assert said_of_text({"accuracy": 0.5}) == {}
    assert said_of_text({"perplexity": None, "perplexity_low": 1.0, "perplexity_high": None}) == {
        "perplexity": "nan [1.00, nan]"
    }
