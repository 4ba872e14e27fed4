"""Global generators that belong to one holder, and seeds derived by name."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from rules.generators import Globals
from rules.seeds import derived, seeded
from rules.state import to_plain


def draw():
    return float(torch.rand(())), float(np.random.rand()), float(np.random.randn()), random.random(), random.gauss(0, 1)


def outside():
    words = np.random.get_state()
    return torch.get_rng_state().tolist(), words[1].tolist(), words[2:], random.getstate()


@pytest.mark.parametrize("waiting", [False, True])
def test_outside_nothing_changes(waiting):
    np.random.seed(5)
    if waiting:  # of a pair of normal numbers the second waits in NumPy's state
        np.random.randn()
    before = outside()
    with Globals(0).inside():
        draw()
    assert outside() == before


def test_inside_one_block_continues_the_last():
    mine, whole = Globals(3), Globals(3)
    parts = []
    for _ in range(3):
        with mine.inside():
            parts.append((float(torch.rand(())), float(np.random.rand()), random.random()))
        torch.rand(4), np.random.rand(4), random.random()  # not theirs
    with whole.inside():
        assert parts == [(float(torch.rand(())), float(np.random.rand()), random.random()) for _ in range(3)]


def test_a_block_that_raises_can_be_repeated():
    mine = Globals(1)
    before = outside()
    first = []

    def halfway():
        with mine.inside():
            first.extend(draw())
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        halfway()
    assert outside() == before
    with mine.inside():
        assert list(draw()) == first


def test_the_state_is_plain_and_continues_exactly(tmp_path):
    mine = Globals(2)
    with mine.inside():
        draw()
    torch.save(to_plain(mine.state_dict(), "state"), tmp_path / "state.pt")
    other = Globals(99)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    with mine.inside():
        wanted = [draw() for _ in range(700)]  # beyond one fill of the 624 words
    with other.inside():
        assert [draw() for _ in range(700)] == wanted


def test_purposes_have_streams_of_their_own():
    purposes = ("rule", "devices", "evaluation", "torch", "numpy", "python")
    seeds = [derived(seed, purpose) for seed in range(50) for purpose in purposes] + list(range(50))
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    one, other = (torch.randn(10_000, generator=seeded(0, purpose)) for purpose in purposes[:2])
    assert abs(float(torch.corrcoef(torch.stack([one, other]))[0, 1])) < 4 / 100  # four standard errors, 1 / sqrt(n)


def test_a_holder_that_begins_again_is_as_a_new_one():
    used = Globals(0)
    for seed in (7, 2**62 + 5):
        with used.inside():
            draw()
        used.restart(seed)
        with used.inside():
            again = draw()
        with Globals(seed).inside():
            assert draw() == again
