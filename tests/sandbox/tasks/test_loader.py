"""A batch is a function of seed, epoch and place, so a run that resumes sees what it would have seen."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rules.contract import Batch
from sandbox.tasks.base import Split
from sandbox.tasks.encode import AsRecorded, Constant, Poisson
from sandbox.tasks.loader import Loader

NOISY = Poisson(steps=6, max_rate=500.0)


def split(count):
    """Each sample carries its own number as its class."""
    return Split(torch.linspace(0.1, 0.9, count * 2).view(count, 2), torch.arange(count))


def loader(count=11, batch_size=3, encoder=NOISY, **options):
    return Loader(split(count), encoder, batch_size, **options)


def same(one, other):
    pairs = list(zip(one, other, strict=True))
    return all(torch.equal(a.x, b.x) and torch.equal(a.y, b.y) for a, b in pairs)


def test_batches_are_time_first_and_the_last_one_is_smaller():
    batches = list(loader())
    assert all(isinstance(batch, Batch) for batch in batches)
    assert [tuple(batch.x.shape) for batch in batches] == [(6, 3, 2)] * 3 + [(6, 2, 2)]


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 2**31), epoch=st.integers(0, 999))
def test_an_epoch_shows_every_sample_once(count, batch_size, seed, epoch):
    batches = loader(count, batch_size, seed=seed)
    batches.set_epoch(epoch)
    seen = list(batches)
    assert sorted(torch.cat([batch.y for batch in seen]).tolist()) == list(range(count))
    assert len(batches) == len(seen)


@given(start=st.integers(0, 4), seed=st.integers(0, 99), epoch=st.integers(0, 99))
def test_resuming_in_the_middle_sees_the_same_batches(start, seed, epoch):
    whole, resumed = loader(seed=seed), loader(seed=seed)
    whole.set_epoch(epoch)
    resumed.set_epoch(epoch)
    assert same(list(whole)[start:], resumed.iterate(start))


def test_resuming_encodes_nothing_before_the_start():
    calls = []

    def counting(x, generator):
        calls.append(len(x))
        return Constant(steps=1)(x, generator)

    assert len(list(loader(encoder=counting).iterate(2))) == 2
    assert calls == [3, 2]


def test_a_second_pass_is_the_same_and_another_epoch_or_seed_is_not():
    batches = loader()
    first = list(batches)
    assert same(first, batches)
    batches.set_epoch(1)
    assert not same(first, batches)
    assert not same(first, loader(seed=1))


def test_a_new_epoch_does_not_reach_into_a_running_one():
    batches = loader()
    expected, running = list(batches), iter(batches)
    begun = [next(running)]
    batches.set_epoch(1)
    assert same(expected, begun + list(running))


def test_noise_differs_between_batches_and_epochs():
    alike = Split(torch.full((8, 50), 0.5), torch.zeros(8, dtype=torch.int64))
    batches = Loader(alike, NOISY, 4, shuffle=False)
    one, two = (batch.x for batch in batches)
    batches.set_epoch(1)
    assert not torch.equal(one, two)
    assert not torch.equal(one, next(iter(batches)).x)


def test_global_dice_are_neither_read_nor_moved():
    torch.manual_seed(1)
    first, after = list(loader()), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(after, torch.rand(1))
    torch.manual_seed(2)
    assert same(first, loader())


def test_without_shuffling_the_order_is_that_of_the_split():
    labels = torch.cat([batch.y for batch in loader(shuffle=False)])
    assert labels.tolist() == list(range(11))


def test_features_stay_with_their_label():
    data = split(11)
    for batch in loader(encoder=Constant(steps=2)):
        assert torch.equal(batch.x[1], data.x[batch.y])


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_samples_is_refused(batch_size):
    with pytest.raises(ValueError, match=re.escape(f"batch_size={batch_size}: give a whole number, at least 1")):
        loader(batch_size=batch_size)


def test_noise_differs_between_purposes():
    """What models are selected by is not what they are tested by, nor what they learn from."""
    alike = Split(torch.full((8, 50), 0.5), torch.zeros(8, dtype=torch.int64))
    purposes = ({}, {"purpose": "validation"}, {"purpose": "test"}, {"purpose": "training samples"})
    shown = [next(iter(Loader(alike, NOISY, 8, shuffle=False, **purpose))).x for purpose in purposes]
    for number, one in enumerate(shown):
        assert not any(torch.equal(one, other) for other in shown[number + 1 :])
    assert torch.equal(shown[1], next(iter(Loader(alike, NOISY, 8, shuffle=False, purpose="validation"))).x)


def test_answers_of_steps_and_lengths_go_with_their_samples():
    x = torch.rand(11, 6, 2)
    split = Split(x, x[..., 0], torch.arange(11) % 6 + 1, by_step=True)
    for batch in Loader(split, AsRecorded(steps=4), 3):
        assert batch.y is None
        assert torch.equal(batch.targets, batch.x[..., 0])
        assert batch.lengths.max() <= 4
    seen = torch.cat([batch.lengths for batch in Loader(split, AsRecorded(), 3)])
    assert sorted(seen.tolist()) == sorted(split.lengths.tolist())
