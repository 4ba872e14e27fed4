"""Moving digits: what no average tells, events of a few pixels by a loop, and the same bits in any order."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.views import VIEWS
from sandbox.config.experiment import Experiment
from sandbox.config.registry import Choice
from sandbox.tasks import TASKS
from sandbox.tasks.checked import checked
from sandbox.tasks.moving_digits_events import MovingDigitsEvents, Simulated, shifted
from sandbox.tasks.moving_digits_video import STEPS_OF, MovingDigitsVideo, moved
from tests.conftest import WHOLE_MNIST
from tests.sandbox.cameras.test_simulator import loop

FAST = settings(deadline=None, max_examples=25)
FEW = {"train": 12, "validation": 6, "test": 4}


def everything(split):
    return split.take(torch.arange(len(split)), torch.Generator())


@pytest.mark.parametrize("directions", STEPS_OF)
def test_averages_of_opposite_directions_have_one_distribution(directions):
    """All places of the first frame, each as likely: the averages of both ways are the same, as often. Whole numbers,
    so that sums are exact."""
    image, side, steps = np.zeros((5, 5)), 5, 4
    image[0, :3], image[1, 1] = [1, 2, 7], 9

    def averages(step):
        places = [(a, b) for a in range(side) for b in range(side)]
        return Counter(moved(image, place, step, steps).sum(0).tobytes() for place in places)

    steps_of = STEPS_OF[directions]
    half = directions // 2
    kinds = [averages(step) for step in steps_of]
    for k, step in enumerate(steps_of):
        assert steps_of[(k + half) % directions] == (-step[0], -step[1])
        assert kinds[k] == kinds[(k + half) % directions]
    assert len({frozenset(kind) for kind in kinds}) == half  # the axis is told


@FAST
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 4, 8]), st.integers(2, 9), st.integers(1, 5))
def test_videos_come_in_pairs_of_opposite_directions(seed, directions, steps, speed):
    task = MovingDigitsVideo(steps=steps, directions=directions, speed=speed, seed=seed, **FEW)
    for split in task.load()[:3]:
        x, y = everything(split)
        assert torch.equal(x[::2].flip(1), x[1::2])
        assert torch.equal(y[::2] + directions // 2, y[1::2])
        down, right = (speed * step for step in STEPS_OF[directions][int(y[0])])
        assert torch.equal(x[0, 1:, 0], torch.roll(x[0, :-1, 0], (down, right), (1, 2)))  # it moves as it is labelled
        assert x[0, 0].sum() > 10  # ink


def test_no_average_tells_the_direction():
    """By permutation: with the labels of each pair exchanged, the sums of averages for each class stay the same."""
    x, y = everything(MovingDigitsVideo(train=400).load().train)
    mean = x.double().mean(1)
    for k in (0, 1):
        one, other = mean[y == k].sum(0), mean[y == k + 2].sum(0)
        assert torch.allclose(one, other, rtol=0, atol=1e-12)  # sums of 200 averages in float64, added in two orders
    assert not torch.allclose(mean[y == 0].sum(0), mean[y == 1].sum(0), atol=1e-3)


def test_directions_are_even_and_places_uniform():
    data = MovingDigitsVideo(train=4000).load()
    counts = data.train.y.bincount()
    assert counts[0] == counts[2]
    assert counts[1] == counts[3]
    assert abs(int(counts[0]) - 1000) < 5 * 23  # 2,000 pairs: five standard deviations
    starts = np.array([data.train._drawn(row)[2] for row in range(0, 4000, 2)])
    assert np.abs(np.bincount(starts.ravel(), minlength=32) - 125).max() < 5 * 11.2
    assert starts.max() == 31


def test_shifts_by_parts_of_a_pixel_keep_the_ink():
    image = np.random.default_rng(0).random((5, 5))
    assert shifted(image, 1.3, 0.7, 9).sum() == pytest.approx(image.sum())
    assert np.array_equal(shifted(image, 2.0, 3.0, 9)[2:7, 3:8], image)


def test_a_few_pixels_are_those_of_a_loop(monkeypatch):
    """The frames that the camera is shown, of a patch in the middle, one event at a time."""
    from sandbox.tasks import moving_digits_events as ours

    seen = {}

    def look(light, times, on, off, **noise):
        seen.update(light=light, times=times, on=on, off=off)
        return simulated(light, times, on, off, **noise)

    simulated = ours.simulated
    monkeypatch.setattr(ours, "simulated", look)
    data = MovingDigitsEvents(noise=0.0, train=3).load()
    for row in range(3):
        found = data.train.events(row)
        patch = slice(15, 19)
        assert seen["light"].min() == 0.2  # the background
        assert 0.9 < seen["light"].max() <= 1
        wanted = loop(*(seen["light"][:, patch, patch], seen["times"], *(seen[k][patch, patch] for k in ("on", "off"))))
        here = (found.x >= 15) & (found.x < 19) & (found.y >= 15) & (found.y < 19)
        ours_ = Counter(zip((found.x[here] - 15).tolist(), (found.y[here] - 15).tolist(), found.p[here].tolist()))
        assert ours_ == Counter((x, y, p) for _, x, y, p in wanted)
        assert sum(ours_.values()) > 10
        x, _ = data.train.take(torch.tensor([row]), torch.Generator())
        assert x.sum() == found.number


def test_the_camera_is_one_and_its_thresholds_differ():
    on, off = MovingDigitsEvents(threshold=0.3, mismatch=0.03).thresholds()
    assert np.concatenate([on, off]).std() == pytest.approx(0.03, rel=5 / np.sqrt(2 * 2 * 34 * 34))
    assert np.array_equal(on, MovingDigitsEvents(steps=3).thresholds()[0])
    assert not np.array_equal(on, MovingDigitsEvents(seed=1).thresholds()[0])
    assert (MovingDigitsEvents(mismatch=0.0).thresholds()[0] == 0.3).all()
    assert MovingDigitsEvents(threshold=0.02, mismatch=1.0).thresholds()[0].min() == 0.01


def test_finer_thresholds_fire_more_and_noise_adds_its_rate():
    many, few, noisy = (
        everything(MovingDigitsEvents(train=4, **options).load().train)[0].sum()
        for options in ({"threshold": 0.15}, {}, {"noise": 20.0})
    )
    assert many > 1.5 * few
    added = 4 * 20 * 0.3 * 34**2  # pixels, in 0.3 s, each 20 Hz
    assert noisy - few == pytest.approx(added, abs=5 * np.sqrt(added))


@pytest.mark.parametrize(
    ("name", "options"), [("moving_digits_events", {"train": 5}), ("moving_digits_video", FEW | {"train": 6})]
)
def test_samples_depend_on_seed_split_and_number_alone(name, options):
    data, again, other = (TASKS[name](**options, seed=seed).load() for seed in (3, 3, 4))
    whole = everything(data.train)
    for a, b in zip(whole, everything(again.train)):
        assert torch.equal(a, b)
    assert not torch.equal(whole[0], everything(other.train)[0])
    x, y = data.train.take(torch.tensor([4, 1]), torch.Generator())
    assert torch.equal(x, whole[0][[4, 1]])
    assert torch.equal(y, whole[1][[4, 1]])


@pytest.mark.parametrize("make", [lambda **o: MovingDigitsVideo(**FEW, **o), lambda **o: MovingDigitsEvents(**o)])
def test_checksums_follow_seed_and_options(make):
    made = [make(seed=seed, steps=steps).load().checksum for seed, steps in ((0, 5), (0, 5), (1, 5), (0, 6))]
    assert made[0] == made[1]
    assert len(set(made)) == 3


def test_the_same_digit_moves_differently_in_each_split():
    still = MovingDigitsEvents().load().train.still
    first, second = (Simulated(still, MovingDigitsEvents(), split).events(0) for split in (0, 1))
    assert first.t.tolist() != second.t.tolist()


def test_samples_are_those_that_models_take():
    found = checked(MovingDigitsVideo(**FEW).load(), "moving_digits_video")
    assert (found.shape, found.outputs, found.measure) == ((1, 32, 32), 4, "accuracy")
    assert MovingDigitsEvents(reach=2).load().shape == (2, 32, 32)


def test_splits_share_no_digit():
    """Of the thousand digits, 600 / 200 / 200; two writers may have made the same image, but none did here."""
    data = MovingDigitsEvents().load()
    assert [len(split) for split in data[:3]] == [600, 200, 200]
    images = [image.tobytes() for split in data[:3] for image in split.still[0]]
    assert len(set(images)) == 1000


@pytest.mark.slow
@WHOLE_MNIST
def test_all_of_mnist():
    data = MovingDigitsEvents(digits="mnist", train=100).load()
    assert [len(split) for split in data[:3]] == [100, 5000, 10_000]
    assert everything(MovingDigitsVideo(digits="mnist", **FEW).load().train)[0].shape == (12, 10, 1, 32, 32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MovingDigitsVideo(steps=1), "steps=1: give at least 2 frames; one shows no motion"),
        (lambda: MovingDigitsVideo(directions=3), "directions=3: give 2, 4 or 8"),
        (lambda: MovingDigitsVideo(side=27), "side=27: give at least 28 pixels, the side of a digit"),
        (lambda: MovingDigitsVideo(speed=16), "speed=16 with side=32: both ways look the same"),
        (lambda: MovingDigitsVideo(speed=33), "speed=33 with side=32: both ways look the same, or it is more than a"),
        (lambda: MovingDigitsVideo(speed=0), "speed=0: give a whole number, at least 1"),
        (lambda: MovingDigitsVideo(train=7), "train=7: give an even number; videos come in pairs"),
        (lambda: MovingDigitsVideo(seed=-1), "seed=-1: give a whole number from 0 to below 2^32"),
        (lambda: MovingDigitsVideo(digits="minst"), "unknown digits 'minst'"),
        (lambda: MovingDigitsEvents(steps=0), "steps=0: give a whole number, at least 1"),
        (lambda: MovingDigitsEvents(reach=0), "reach=0: give a whole number, at least 1"),
        (lambda: MovingDigitsEvents(duration=0.01), "duration=0.01 ms: give a whole number of us, from 0.1 to 1000 ms"),
        (lambda: MovingDigitsEvents(duration=0.1001), "duration=0.1001 ms: give a whole number of us"),
        (
            lambda: MovingDigitsEvents(threshold=0.0),
            "threshold=0.0 with mismatch=0.03: give a threshold of at least 0.01",
        ),
        (lambda: MovingDigitsEvents(mismatch=-1.0), "threshold=0.3 with mismatch=-1.0: give a threshold"),
        (lambda: MovingDigitsEvents(background=0.0), "background=0.0: give a brightness above 0, at least 1e-06, and"),
        (lambda: MovingDigitsEvents(background=1e-300), "background=1e-300: give a brightness above 0, at least 1e-06"),
        (
            lambda: MovingDigitsEvents(threshold=100.0),
            "threshold=100.0 with background=0.2: from the background to ink, log brightness moves by 1.61, and no "
            "pixel of mean threshold fires: give a lower threshold, or a darker background",
        ),
        (lambda: MovingDigitsEvents(background=0.999999), "threshold=0.3 with background=0.999999: from the backgr"),
        (lambda: MovingDigitsEvents(reach=200), "reach=200: give at most 50 pixels; memory and time of a recording"),
        (lambda: MovingDigitsEvents(noise=-1.0), "noise=-1.0 Hz: give a rate from 0 to 1000 Hz"),
        (lambda: MovingDigitsEvents(train=0), "train=0: give a whole number, at least 1"),
        (
            lambda: MovingDigitsEvents(train=601).load(),
            "train=601: mnist_sample has 600 digits to learn from; give that",
        ),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make()


def test_an_experiment_shows_them_through_views_of_events():
    augment = Choice("events", {"shift": 1, "cutout": 6, "flip": False})
    plan = Experiment(task=Choice("moving_digits_events"), encoder=Choice("as_recorded"), augment=augment)
    view = plan.augmentation()
    assert view == VIEWS["events"](shift=1, cutout=6, flip=False)[0]
    x, _ = MovingDigitsEvents(train=4).load().train.take(torch.arange(4), torch.Generator())
    seen = view(x.transpose(0, 1), torch.Generator().manual_seed(0))
    assert seen.shape == (10, 4, 2, 34, 34)
    assert (seen.sum((0, 2, 3, 4)) <= x.sum((1, 2, 3, 4))).all()
