"""Alphabets against sets of values, drawn and put together."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.inspection import Alphabet, alphabet_of
from sandbox.inspection.alphabet import joined

UNITS = st.sampled_from([1.0, 0.5, 0.25, 1 / 3, 0.1, 0.7])


def signals(low, high):
    return st.lists(st.integers(low, high), min_size=1, max_size=30)


@settings(deadline=None)
@given(signals(-5, 40), UNITS)
def test_multiples_of_a_unit(counts, unit):
    """As float32 holds them; the unit that is found divides all values, and is the greatest only for bits and trits."""
    found = alphabet_of(torch.tensor(counts) * unit)
    sizes = {abs(n) for n in counts} - {0}
    if not sizes:
        assert found == Alphabet("silent")
    elif all(float(n * unit).is_integer() for n in sizes):
        kind = "integer" if max(sizes) * unit > 1 else "ternary" if min(counts) < 0 else "binary"
        assert (found.kind, found.unit) == (kind, 1)
    elif len(sizes) == 1:
        assert found.kind == ("ternary" if min(counts) < 0 else "binary")
    elif all(n % min(sizes) == 0 for n in sizes):
        assert found.kind == "integer"
        assert round(found.largest / found.unit) == max(sizes) // min(sizes)


@settings(deadline=None)
@given(signals(0, 9), signals(0, 9), st.sampled_from([1.0, 0.25]))
def test_two_parts_are_joined_as_the_whole(first, second, unit):
    """Where one unit divides the other; otherwise the whole may be finer than what is known of its parts."""
    parts = [torch.tensor(counts) * unit for counts in (first, second)]
    a, b = map(alphabet_of, parts)
    whole = alphabet_of(torch.cat(parts))
    silent, real = ("silent" in (a.kind, b.kind)), ("real" in (a.kind, b.kind))
    if not real and (silent or max(a.unit, b.unit) % min(a.unit, b.unit) == 0):
        assert joined(a, b) == joined(b, a) == whole


def test_real_numbers():
    rng = torch.Generator().manual_seed(0)
    assert alphabet_of(torch.rand(100, generator=rng)).kind == "real"
    assert alphabet_of(torch.tensor([1.0, 2000.0])).kind == "real"  # pixels of 12 bits: no sum of spikes
    assert joined(Alphabet("binary", 0.3, 0.3), Alphabet("binary", 0.2, 0.2)).kind == "real"
    assert joined(Alphabet("real", largest=2.0), Alphabet("binary", 1.0, 1.0)) == Alphabet("real", largest=2.0)
    assert str(Alphabet("real")) == "real"
    assert str(Alphabet("ternary", 0.5, 0.5)) == "ternary x 0.5"
