"""Views of event frames: events are moved or lost, never made, and what is done twice or not at all is the same."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.views import VIEWS, Cutout, EventDrop, Identity, OneOf, RandomFlip, Roll, Rotation
from rules.views.events import rotated

FAST = settings(deadline=None, max_examples=40)
SHAPES = st.tuples(st.integers(1, 3), st.integers(1, 4), st.just(2), st.integers(2, 7), st.integers(2, 7))


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def counts(shape, seed):
    """Frames of whole numbers, so that sums are exact."""
    return torch.randint(0, 4, shape, generator=dice(seed)).float()


@FAST
@given(SHAPES, st.integers(0, 99), st.floats(-180, 180))
def test_a_rotation_is_that_of_a_loop_over_events(shape, seed, degrees):
    x, angle = counts(shape, seed), math.radians(degrees)
    found = rotated(x, torch.full((shape[1],), angle, dtype=torch.float64))
    wanted = torch.zeros(shape)
    *_, height, width = shape
    for row in range(height):
        for column in range(width):
            up, right = (height - 1) / 2 - row, column - (width - 1) / 2
            turned = complex(right, up) * complex(math.cos(angle), math.sin(angle))  # anticlockwise, y upwards
            to = (
                math.floor((height - 1) / 2 - turned.imag + 0.5 - 1e-9),
                math.floor(turned.real + (width - 1) / 2 + 0.5 - 1e-9),
            )
            if 0 <= to[0] < height and 0 <= to[1] < width:
                wanted[..., to[0], to[1]] += x[..., row, column]
    assert torch.equal(found, wanted)
    assert (found.sum((2, 3, 4)) <= x.sum((2, 3, 4))).all()


@FAST
@given(SHAPES, st.integers(0, 99))
def test_rotations_by_right_angles_lose_nothing(shape, seed):
    x = counts((*shape[:3], shape[3], shape[3]), seed)
    for turns in range(-2, 3):
        found = rotated(x, torch.full((shape[1],), turns * math.pi / 2, dtype=torch.float64))
        assert torch.equal(found, x.rot90(turns, (3, 4)))


def test_angles_are_uniform_and_of_each_sample():
    x = torch.zeros(1, 1000, 1, 61, 61)
    x[..., 30, 60] = 1  # thirty pixels right of the centre
    row = Rotation(30.0)(x, dice()).nonzero()[:, 3]
    assert len(row) == 1000  # none left the frame
    angle = torch.asin((30 - row) / 30.0)  # to half a pixel, about a degree
    assert angle.abs().max() <= math.radians(31.5)
    deviation = math.radians(30) / math.sqrt(3)  # of a uniform angle
    assert float(angle.mean()) == pytest.approx(0, abs=5 * deviation / math.sqrt(1000))
    assert float(angle.std()) == pytest.approx(deviation, rel=5 * 0.45 / math.sqrt(1000))  # its standard error
    assert torch.equal(Rotation(0.0)(x, dice()), x)


@FAST
@given(SHAPES, st.integers(0, 99))
def test_a_flip_twice_is_nothing(shape, seed):
    x, flip = counts(shape, seed), RandomFlip(1.0)
    assert torch.equal(flip(flip(x, dice()), dice()), x)
    assert torch.equal(flip(x, dice()), x.flip(-1))


@FAST
@given(SHAPES, st.integers(0, 99))
def test_counts_are_kept_or_reduced(shape, seed):
    x = counts(shape, seed)
    for view in (RandomFlip(), Roll(2), OneOf((RandomFlip(), Roll(3), Identity()))):
        assert torch.equal(view(x, dice(seed)).sum((2, 3, 4)), x.sum((2, 3, 4)))
    for view in (Rotation(), Cutout(1), EventDrop(0.3), VIEWS["events"](shift=1, cutout=1)[0]):
        seen = view(x, dice(seed))
        assert (seen.sum((2, 3, 4)) <= x.sum((2, 3, 4))).all()
        assert seen.min() >= 0
        assert torch.equal(seen, seen.round())


def test_a_choice_takes_each_view_as_often_and_only_that():
    x = torch.ones(2, 3000, 2, 3, 3)
    seen = OneOf((Identity(), EventDrop(1.0), Cutout(1)))(x, dice())
    kinds = seen[0].sum((1, 2, 3)).long().bincount()
    assert kinds.nonzero()[:, 0].tolist() == [0, 16, 18]  # all gone, one pixel gone, all there
    assert (kinds[[0, 16, 18]] - 1000).abs().max() < 5 * 26  # binomial: five standard deviations
    assert torch.equal(seen[0], seen[1])  # one choice for all steps of a sample


def test_samples_that_are_left_alone_stay():
    x = counts((3, 40, 2, 5, 5), 0)
    seen = OneOf((Identity(), EventDrop(1.0)))(x, dice())
    gone = seen.sum((0, 2, 3, 4)) == 0
    assert 0 < int(gone.sum()) < 40
    assert torch.equal(seen[:, ~gone], x[:, ~gone])
